"""Identifies the principal of a request (RFC 4949): the user or the service that makes it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

from attrs import frozen

from session_service.sessions.models import Actor
from session_service.settings import Settings

_ANONYMOUS: Actor = {"type": "anonymous"}


@frozen
class Principal:
    """An authenticated caller: the rate limiter's `key` for it, and the user that it acts for.

    A principal sees the sessions of `user_id` only; None sees those of all users. `service` marks a back-end
    whose token lets it act for all users, with a separate rate limit. The journal names it as `actor`.
    """

    key: str
    user_id: str | None
    service: bool = False
    actor: Actor = _ANONYMOUS


class Authenticator(AbstractAsyncContextManager["Authenticator"], Protocol):
    """Authenticates requests while its context is entered."""

    async def authenticate(self, scope: Mapping[str, Any], /) -> Principal:
        """Return the principal of an ASGI scope; raise UnauthenticatedError without valid credentials."""


class AnonymousAuthenticator:
    """Accepts every request as a principal for all users, with the client address as its rate limit key."""

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return the principal of the client address."""
        address = scope["client"][0] if scope.get("client") else "unknown"
        return Principal(f"address:{address}", None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator for AUTH: bearer tokens if it is `jwt`, anonymous if it is `none`."""
    if settings.tokens is None:
        return AnonymousAuthenticator()
    # Imported late: PyJWT and cryptography take 17 MiB, which AUTH=none does not need.
    from session_service.api.auth.bearer import BearerAuthenticator  # noqa: PLC0415

    return BearerAuthenticator(settings.tokens)
