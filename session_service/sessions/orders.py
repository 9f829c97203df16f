"""Order service: judges which quizzes an order may be for; turns a verdict into a session or an error."""

from collections.abc import Awaitable
from typing import Protocol
from uuid import UUID

import attrs

from session_service.sessions.errors import IdempotencyKeyReusedError, QuizNotFoundError
from session_service.sessions.models import EncodedSession, Provenance, Reach, WriteResult
from session_service.sessions.order_models import Order, OrderReport, QuizOrder
from session_service.sessions.service import session_or_error


class Store(Protocol):
    """The storage that the service needs."""

    def order(
        self, session_id: UUID, order: Order, provenance: Provenance, /
    ) -> Awaitable[WriteResult | None]:
        """Return the session after the order, whether or not it has changed; None if it does not exist."""

    def order_quiz(self, order: QuizOrder, provenance: Provenance, /) -> Awaitable[OrderReport | None]:
        """Return the effect of the order so far; None if its key was used for another one."""


class OrderService:
    """Gives orders, which move the time of sessions; raises the contract's errors.

    An order for one session is authorized by then: a session keeps its user and its quiz.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def order(self, session_id: UUID, order: Order, provenance: Provenance) -> EncodedSession:
        """Give the order to a session and return it; one that has the wanted state already is unchanged.

        A repeat of a keyed order changes nothing and returns the session.
        """
        return session_or_error(session_id, await self._store.order(session_id, order, provenance))

    async def order_quiz(self, reach: Reach, order: QuizOrder, provenance: Provenance) -> OrderReport:
        """Give the order to the sessions of a quiz that ran or were paused at its first call.

        Raise QuizNotFoundError for a quiz out of reach. The sessions of a proctor who is also a learner of
        the quiz are left out.
        """
        if reach.owner is not None and order.quiz_id not in reach.quizzes:
            raise QuizNotFoundError
        order = attrs.evolve(order, except_user=reach.owner)
        report = await self._store.order_quiz(order, provenance)
        if report is None:
            raise IdempotencyKeyReusedError
        return report
