"""Who asks: the principal that a bearer token stands for."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from time import time
from typing import Any, Self

import jwt
from attrs import frozen
from jwt.exceptions import InvalidSubjectError

from session_service.api.auth.jwks import Keys
from session_service.api.auth.keyset import Key
from session_service.api.auth.principal import Principal
from session_service.api.errors import UnauthenticatedError
from session_service.settings import TokenSettings

MAX_TOKEN_BYTES = 8 * 1024  # bytes of a token
MAX_CACHED_TOKENS = 10_000  # tokens
# By which an issuer's clock may be ahead: its newest tokens would not be valid here yet. For a token that has
# ended it is short.
LEEWAY = 5  # seconds

_CREDENTIALS = re.compile(rb"bearer +([\w-]+\.[\w-]+\.[\w-]+)", re.IGNORECASE)
_REQUIRED = ["iss", "aud", "exp", "sub"]
# They name a key beside the issuer's, or ask for what nobody here understands.
_REFUSED = {"jku", "jwk", "x5u", "crit"}


@frozen
class VerifiedToken:
    """A principal whose token was found good, and until when it is, in seconds since 1970."""

    principal: Principal
    until: int


class BearerAuthenticator:
    """Takes the callers whose tokens the issuer has signed for this service, for the users that these name.

    A token that was found good is remembered until its end, or until there are other keys.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        # By their digests: a dump of the memory shows no token.
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._keys = Keys(settings.keys, settings.algorithms, changed=self._verified.clear)

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return the principal; raise UnauthenticatedError if no token says who it is."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            raise UnauthenticatedError("no Authorization header", given=False)
        if len(given) > 1:
            raise UnauthenticatedError("more than one Authorization header")
        digest = sha256(given[0]).digest()
        verified = self._verified.get(digest)
        if verified is not None and time() < verified.until:
            self._verified.move_to_end(digest)
            return verified.principal
        verified = await self._check(given[0])
        self._verified[digest] = verified
        if len(self._verified) > MAX_CACHED_TOKENS:
            self._verified.popitem(last=False)
        return verified.principal

    async def __aenter__(self) -> Self:
        await self._keys.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._keys.__aexit__()

    async def _check(self, credentials: bytes) -> VerifiedToken:
        match = _CREDENTIALS.fullmatch(credentials)
        if match is None:
            raise UnauthenticatedError("the Authorization header is no bearer token in the form of a JWT")
        if len(match[1]) > MAX_TOKEN_BYTES:
            raise UnauthenticatedError(f"the token has over {MAX_TOKEN_BYTES} bytes")
        try:
            header = jwt.get_unverified_header(match[1])
            if not header.keys().isdisjoint(_REFUSED):
                raise UnauthenticatedError("the token's header has jku, jwk, x5u or crit")
            keys = await self._keys.find(header.get("kid"), header.get("alg"))
            if not keys:
                raise UnauthenticatedError("unknown key: no key of JWT_KEYS has the token's kid and alg")
            # From here on nothing is awaited: a verified by keys that have gone is not remembered.
            return _verified_token(self._decode(match[1], keys), self._settings.service_scope)
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(_reason(error)) from None

    def _decode(self, token: bytes, keys: list[Key]) -> dict[str, Any]:
        """Return what the token says, if one of the keys has signed it and it is for here and now."""
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key.public,
                    algorithms=key.algorithms,
                    issuer=self._settings.issuer,
                    audience=self._settings.audience,
                    leeway=LEEWAY,
                    options={"require": _REQUIRED},
                )
            except jwt.InvalidSignatureError:
                # Two keys may have the same name.
                continue
        raise UnauthenticatedError("the signature is not that of the key that the token names")


# The library's own words may repeat a part of the token.
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
    """Return why a token is invalid, for the log."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"a required claim is missing: {error.claim}"
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), type(error).__name__)


def _verified_token(claims: dict[str, Any], service_scope: str) -> VerifiedToken:
    subject: str = claims["sub"]
    if not _is_user_id(subject):
        raise UnauthenticatedError("subject: sub is no user_id of 1 to 255 characters")
    # A service that is called as a user is another principal.
    serves = service_scope in _scopes(claims)
    principal = (
        Principal(f"service:{subject}", None, service=True)
        if serves
        else Principal(f"user:{subject}", subject)
    )
    return VerifiedToken(principal, int(claims["exp"]) + LEEWAY)


def _is_user_id(subject: str) -> bool:
    """Tell whether the contract has such users; half of a surrogate pair is no character."""
    fits = 1 <= len(subject) <= 255 and "\0" not in subject
    return fits and not any("\ud800" <= character <= "\udfff" for character in subject)


def _scopes(claims: dict[str, Any]) -> set[str]:
    """Return the scopes: `scope` is a text with spaces between them (RFC 8693), `scp` mostly a list."""
    found = set()
    for name in ("scope", "scp"):
        value = claims.get(name, "")
        listed = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
        found |= {scope for scope in listed if isinstance(scope, str)}
    return found
