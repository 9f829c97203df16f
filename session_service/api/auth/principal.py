"""Who asks: whoever comes, by its address, or whoever brings a token, by that."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

from session_service.sessions.models import Caller
from session_service.settings import Settings


class Callers(AbstractAsyncContextManager["Callers"], Protocol):
    """What tells who a caller is, while it is entered."""

    async def identify(self, scope: Mapping[str, Any], /) -> Caller:
        """Return the caller behind a request; raise UnauthenticatedError if nothing says who it is."""


class Anyone:
    """Takes every caller, by the address that it comes from, for one that may act for anyone."""

    async def identify(self, scope: Mapping[str, Any]) -> Caller:
        """Return the caller."""
        address = scope["client"][0] if scope.get("client") else "unknown"
        return Caller(f"address:{address}", None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def callers(settings: Settings) -> Callers:
    """Return what tells who a caller is, as the settings have it."""
    if settings.tokens is None:
        return Anyone()
    # 17 MiB that only those pay who ask for tokens.
    from session_service.api.auth.bearer import Tokens  # noqa: PLC0415

    return Tokens(settings.tokens)
