"""Order service: judges who may give orders; turns the verdict on an order into a session or an error."""

from collections.abc import Awaitable
from typing import Protocol
from uuid import UUID

from session_service.sessions.errors import ForbiddenError, IdempotencyKeyReusedError
from session_service.sessions.models import EncodedSession, Provenance, WriteResult
from session_service.sessions.order_models import Order, OrderReport, QuizOrder
from session_service.sessions.service import SessionService, session_or_error

_FORBIDDEN = "Only the token of a service may give orders."


class Store(Protocol):
    """The storage that the service needs."""

    def order(
        self, session_id: UUID, order: Order, provenance: Provenance, /
    ) -> Awaitable[WriteResult | None]:
        """Return the session after the order, whether or not it has changed; None if it does not exist."""

    def order_quiz(self, order: QuizOrder, provenance: Provenance, /) -> Awaitable[OrderReport | None]:
        """Return the effect of the order so far; None if its key was used for another one."""


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

    async def order_quiz(self, owner: str | None, order: QuizOrder, provenance: Provenance) -> OrderReport:
        """Give the order to the running sessions of a quiz that were created before its first call."""
        _check_may_order_quiz(owner)
        report = await self._store.order_quiz(order, provenance)
        if report is None:
            raise IdempotencyKeyReusedError
        return report

    async def _check_may_order(self, owner: str | None, session_id: UUID) -> None:
        """Raise ForbiddenError for the owner of the session, SessionNotFoundError for another user."""
        if owner is not None:
            await self._sessions.check_exists(owner, session_id)
            raise ForbiddenError(_FORBIDDEN)


def _check_may_order_quiz(owner: str | None) -> None:
    if owner is not None:
        raise ForbiddenError(_FORBIDDEN)
