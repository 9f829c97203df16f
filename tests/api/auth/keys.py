"""Keys of each type, and the principals of tokens."""

from session_service.api.auth.principal import Principal
from tests.support.issuer import make_key


def learner(name: str) -> Principal:
    """Return the principal of a token without scopes."""
    return Principal(f"user:{name}", name, actor={"type": "learner", "subject": name})


ADA = learner("ada")
RSA = make_key("rsa", "RS256")
EC = make_key("ec", "ES256")
ED = make_key("ed", "EdDSA")
