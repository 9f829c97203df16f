"""Keys of each type, and the principal of a token for ada."""

from session_service.api.auth.principal import Principal
from tests.support.issuer import make_key

ADA = Principal("user:ada", "ada")
RSA = make_key("rsa", "RS256")
EC = make_key("ec", "ES256")
ED = make_key("ed", "EdDSA")
