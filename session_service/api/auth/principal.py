"""The principal of a request (RFC 4949): the authenticated party in whose name it is made."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

from attrs import frozen

from session_service.settings import Settings


@frozen
class Principal:
    """A caller: `key` is the name under which its requests are counted.

    `user_id` is the only user whose sessions it may see; None may act for any user. A platform's back-end
    that acts for many users, known by its token, is a `service`.
    """

    key: str
    user_id: str | None
    service: bool = False


class Authenticator(AbstractAsyncContextManager["Authenticator"], Protocol):
    """Authenticates requests, for as long as it is entered."""

    async def authenticate(self, scope: Mapping[str, Any], /) -> Principal:
        """Return the principal of a request; raise UnauthenticatedError if it has no valid credentials."""


class AnonymousAuthenticator:
    """Accepts every request, and counts it under the address that it comes from."""

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return the principal."""
        address = scope["client"][0] if scope.get("client") else "unknown"
        return Principal(f"address:{address}", None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator that the settings ask for."""
    if settings.tokens is None:
        return AnonymousAuthenticator()
    # PyJWT and cryptography take 17 MiB, which only services with tokens need.
    from session_service.api.auth.bearer import BearerAuthenticator  # noqa: PLC0415

    return BearerAuthenticator(settings.tokens)
