"""Gives orders to sessions: batched statements that move their time, beside those of SessionStore."""

from functools import partial
from uuid import UUID

from session_service.sessions.models import Provenance, WriteResult
from session_service.sessions.order_models import Order, OrderReport, QuizOrder
from session_service.storage import queries, records, statements
from session_service.storage.order_rows import OrderInput
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import SessionRow
from session_service.storage.quiz_orders import QuizOrders
from session_service.storage.session_store import SessionStore
from session_service.storage.statements import RejectedError
from session_service.traffic.batching import Batcher


class OrderStore:
    """Changes the time of sessions; as in SessionStore, a version enters the cache before it is returned.

    An order for a row that another transaction has locked waits for it in the lane of such writes. An order
    for a quiz is given in steps, and waits for no lock.
    """

    def __init__(self, pool: ConnectionPool, sessions: SessionStore, batch_size: int) -> None:
        self._pool = pool
        self._sessions = sessions
        self._orders: Batcher[OrderInput, WriteResult | None] = Batcher(
            self._order,
            lane="order",
            concurrency=1,
            max_batch_size=batch_size,
            retry_singly_on=(RejectedError,),
        )
        self._quizzes = QuizOrders(pool, sessions)

    async def order(self, session_id: UUID, order: Order, provenance: Provenance) -> WriteResult | None:
        """Return the session after the order, given or not; None if it does not exist."""
        digest = self._sessions.digest(order) if order.key else None
        record = records.order_record(session_id, order, provenance, digest)
        # A statement can write a row once: of one session there is one order in a batch.
        result = await self._orders(record, session_id)
        if result and result.verdict == "busy":
            result = await self._sessions.wait_for_lock(partial(self._order_locked, record), session_id)
        if result and result.verdict == "ok":
            self._sessions.on_event()
        return result

    async def order_quiz(self, order: QuizOrder, provenance: Provenance) -> OrderReport | None:
        """Return the effect of the order so far; None if its key was used for another one."""
        return await self._quizzes.give(order, provenance)

    async def _order(self, orders: list[OrderInput]) -> list[WriteResult | None]:
        query = partial(queries.order_sessions, self._pool, records.numbered(orders))
        return await self._sessions.results(len(orders), query)

    async def _order_locked(self, order: OrderInput) -> list[SessionRow]:
        async with statements.transaction(self._pool) as connection:
            await queries.lock_session(connection, id=order.id, owner=None)
            return await queries.order_sessions(connection, records.numbered([order]))
