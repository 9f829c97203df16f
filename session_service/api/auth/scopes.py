"""Reads the claims of a token that decide its access: its scopes, and the quizzes of a proctor."""

from typing import Any

from session_service.api.auth.principal import ANY, ERASE, PROCTOR, READ
from session_service.api.validation import Input
from session_service.sessions import codec
from session_service.sessions.models import ExternalId


def read_scopes(claims: dict[str, Any], service_scope: str) -> frozenset[str]:
    """Return the scopes of `scope` (RFC 8693: separated by spaces) and of `scp` (some issuers: a list).

    The operator's name for the scope of a service is returned as `sessions:any`. Others are left out.
    """
    found = set()
    for name in ("scope", "scp"):
        value = claims.get(name, "")
        listed = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
        found |= {scope for scope in listed if isinstance(scope, str)}
    known = found & {READ, PROCTOR, ERASE}
    return frozenset(known | {ANY} if service_scope in found else known)


def read_quizzes(claims: dict[str, Any], declared: Input) -> frozenset[ExternalId]:
    """Return the quizzes of `quiz_ids`: none if the claim is missing, or not as the contract declares it."""
    if declared.violations({"quiz_ids": claims.get("quiz_ids")}):
        return frozenset()
    return frozenset(map(codec.external_id, claims["quiz_ids"]))
