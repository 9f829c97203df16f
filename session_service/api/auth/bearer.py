"""Authenticates bearer tokens (RFC 6750) in the form of JWTs (RFC 7519), signed by the issuer."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from time import time
from typing import Any, Self

import jwt
from attrs import frozen
from jwt.exceptions import InvalidSubjectError

from session_service.api import contract
from session_service.api.auth import scopes
from session_service.api.auth.actor import actor_of, is_user_id
from session_service.api.auth.jwks import JwksCache
from session_service.api.auth.principal import PROCTOR, Principal
from session_service.api.errors import UnauthenticatedError
from session_service.settings import TokenSettings

MAX_TOKEN_BYTES = 8 * 1024  # size limit of a token, in bytes
MAX_CACHED_TOKENS = 10_000  # verified tokens in the cache
LEEWAY = 5  # allowed clock skew between the issuer and this host, in seconds

_CREDENTIALS = re.compile(rb"bearer +([\w-]+\.[\w-]+\.[\w-]+)", re.IGNORECASE)
_REQUIRED_CLAIMS = ["iss", "aud", "exp", "sub"]
# Header parameters that supply another key (jku, jwk, x5u) or require an unsupported extension (crit).
_REJECTED_PARAMETERS = {"jku", "jwk", "x5u", "crit"}


@frozen
class VerifiedToken:
    """The principal of a verified token, and the end of the token's validity, in seconds since 1970."""

    principal: Principal
    expires_at: int


class BearerAuthenticator:
    """Authenticates requests by tokens that the issuer has signed for this service.

    A verified token is cached until it expires or the issuer's keys change, at most 10 000 of them; the least
    recently used is evicted.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._claims = contract.claims()
        # Keyed by SHA-256 digests, so that a memory dump shows no token.
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._keys = JwksCache(settings.keys, settings.algorithms, changed=self._verified.clear)

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return the principal of an ASGI scope; raise UnauthenticatedError without one valid token."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            raise UnauthenticatedError("no Authorization header", given=False)
        if len(given) > 1:
            raise UnauthenticatedError("more than one Authorization header")
        digest = sha256(given[0]).digest()
        verified = self._verified.get(digest)
        if verified is not None and time() < verified.expires_at:
            self._verified.move_to_end(digest)
            return verified.principal
        verified = await self._verify(given[0])
        self._verified[digest] = verified
        if len(self._verified) > MAX_CACHED_TOKENS:
            self._verified.popitem(last=False)
        return verified.principal

    async def __aenter__(self) -> Self:
        await self._keys.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._keys.__aexit__()

    async def _verify(self, credentials: bytes) -> VerifiedToken:
        match = _CREDENTIALS.fullmatch(credentials)
        if match is None:
            raise UnauthenticatedError("the Authorization header is no bearer token in the form of a JWT")
        if len(match[1]) > MAX_TOKEN_BYTES:
            raise UnauthenticatedError(f"the token has over {MAX_TOKEN_BYTES} bytes")
        try:
            header = jwt.get_unverified_header(match[1])
            if not header.keys().isdisjoint(_REJECTED_PARAMETERS):
                raise UnauthenticatedError("the token's header has jku, jwk, x5u or crit")
            keys = await self._keys.find(header.get("kid"), header.get("alg"))
            if not keys:
                raise UnauthenticatedError("unknown key: no key of JWT_KEYS has the token's kid and alg")
            # No await from here to the cache, so that no token enters it after a change of its keys.
            return self._verified_token(self._decode(match[1], keys))
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(_reason(error)) from None

    def _verified_token(self, claims: dict[str, Any]) -> VerifiedToken:
        subject: str = claims["sub"]
        if not is_user_id(subject):
            raise UnauthenticatedError("subject: sub is no user_id of 1 to 255 characters")
        found = scopes.read_scopes(claims, self._settings.service_scope)
        quizzes = scopes.read_quizzes(claims, self._claims) if PROCTOR in found else frozenset()
        principal = Principal.of_token(actor_of(claims), found, quizzes)
        return VerifiedToken(principal, int(claims["exp"]) + LEEWAY)

    def _decode(self, token: bytes, keys: list[jwt.PyJWK]) -> dict[str, Any]:
        """Return the claims of the token; raise PyJWTError or UnauthenticatedError if it is not valid."""
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[key.algorithm_name],
                    issuer=self._settings.issuer,
                    audience=self._settings.audience,
                    leeway=LEEWAY,
                    options={"require": _REQUIRED_CLAIMS},
                )
            except jwt.InvalidSignatureError:
                # Two keys may have the same kid.
                continue
        raise UnauthenticatedError("the signature is not that of the key that the token names")


# Reasons for the log, by PyJWT's errors, whose own texts may repeat a part of the token.
_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "expired: exp is in the past"),
    (jwt.ImmatureSignatureError, "not valid yet: nbf or iat is in the future"),
    (jwt.InvalidIssuerError, "issuer: iss is not JWT_ISSUER"),
    (jwt.InvalidAudienceError, "audience: aud does not have JWT_AUDIENCE"),
    (InvalidSubjectError, "subject: sub is not a string"),
    (jwt.InvalidAlgorithmError, "algorithm: alg is not one that the key checks"),
    (jwt.DecodeError, "malformed: the token is no JWT (RFC 7519)"),
)


def _reason(error: jwt.PyJWTError) -> str:
    """Return the reason for the log, without any value of the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"a required claim is missing: {error.claim}"
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), type(error).__name__)
