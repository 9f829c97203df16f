"""Order service: judges who may give orders; turns the verdict on an order into a session or an error."""

from collections.abc import Awaitable
from typing import Protocol
from uuid import UUID

from session_service.sessions.errors import ForbiddenError
from session_service.sessions.models import (
    EncodedSession,
    Provenance,
    WriteResult,
)
from session_service.sessions.order_models import (
    Order,
)
from session_service.sessions.service import SessionService, session_or_error


class Store(Protocol):
    """The storage that the service needs."""

    def order(
        self, session_id: UUID, order: Order, provenance: Provenance, /
    ) -> Awaitable[WriteResult | None]:
        """Return the session after the order, whether or not it has changed; None if it does not exist."""


class OrderService:
    """Gives orders, which move the time of sessions; raises the contract's errors."""

    def __init__(self, store: Store, sessions: SessionService) -> None:
        self._store = store
        self._sessions = sessions

    async def order(
        self, owner: str | None, session_id: UUID, order: Order, provenance: Provenance
    ) -> EncodedSession:
        """Give the order to a session and return it; one that has the wanted state already is unchanged.

        A repeat of a keyed order changes nothing and returns the session.
        """
        await self._check_may_order(owner, session_id)
        return session_or_error(session_id, await self._store.order(session_id, order, provenance))

    async def _check_may_order(self, owner: str | None, session_id: UUID) -> None:
        """Raise ForbiddenError for the owner of the session, SessionNotFoundError for another user."""
        if owner is not None:
            await self._sessions.check_exists(owner, session_id)
            raise ForbiddenError("Only the token of a service may give orders.")
