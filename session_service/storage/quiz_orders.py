"""Gives orders to the sessions of a quiz that run at that time, in steps that leave locked rows out."""

from datetime import datetime
from functools import partial
from time import monotonic

from attrs import define, field

from session_service.sessions.errors import ServiceUnavailableError
from session_service.sessions.models import Provenance
from session_service.sessions.order_models import OrderReport, QuizOrder, UnchangedSession
from session_service.storage import queries, records, statements
from session_service.storage.order_rows import OrderInput, RunningSession
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import SessionRow
from session_service.storage.session_store import SessionStore

STEP = 250  # sessions, as in a round of the sweeper
BUDGET = 3.0  # seconds after which no further step begins: the response is due after five

_CODES = {
    "completed": "SESSION_COMPLETED",
    "expired": "SESSION_EXPIRED",
    "key_reused": "IDEMPOTENCY_KEY_REUSED",
}


@define
class Progress:
    """The effect of an order: of all calls with its key, and of this one, which has changed its `own`."""

    order: QuizOrder
    digest: str | None
    began_at: datetime
    changed: int = 0
    finished: bool = False
    own: int = 0
    unchanged: list[UnchangedSession] = field(factory=list)
    skipped: bool = False

    def count(self, rows: list[SessionRow]) -> int:
        """Note the sessions of a step; return the number of those that it has changed."""
        for row in rows:
            if row.verdict == "busy":
                self.skipped = True
            elif row.verdict not in ("ok", "repeated"):
                self.unchanged.append(UnchangedSession(row.id, _CODES.get(row.verdict)))
        return sum(row.verdict == "ok" for row in rows)

    def report(self) -> OrderReport:
        """Return the report of the call."""
        return OrderReport(self.changed, self.unchanged, unfinished=not self.finished)


class QuizOrders:
    """Gives orders to the sessions of a quiz that ran or were paused at the first call with the key.

    A step orders up to 250 sessions in one transaction, which also counts them. It leaves locked rows out, so
    that no save waits for more than a step, and neither does an order for a save. Calls with one key take
    turns: each step continues after the one before, and only one of them waits for the order's row.
    """

    def __init__(self, pool: ConnectionPool, sessions: SessionStore) -> None:
        self._pool = pool
        self._sessions = sessions

    async def give(self, order: QuizOrder, provenance: Provenance) -> OrderReport | None:
        """Return the effect of the order so far; None if its key was used for another one."""
        end = monotonic() + BUDGET
        progress = await self._begin(order)
        if progress is None:
            return None
        if not progress.finished:
            await self._continue(progress, provenance, end)
        await self._raise_others(progress)
        return progress.report()

    async def _continue(self, progress: Progress, provenance: Provenance, end: float) -> None:
        """Order the sessions that the order has not reached, until all are reached or the time is over."""
        last: RunningSession | None = None
        while True:
            try:
                found = await self._step(progress, last, provenance)
            except ServiceUnavailableError:
                # A reply says what the steps before have done.
                if last is None:
                    raise
                return
            if not found:
                break
            last = found[-1]
            if len(found) == STEP and monotonic() > end:
                return
        if not progress.skipped:
            await self._finish(progress)

    async def _begin(self, order: QuizOrder) -> Progress | None:
        """Begin the order, or find how far it is; None if its key was used for another one."""
        key = order.order.key
        if key is None:
            clock = await self._sessions.in_turn(partial(queries.get_clock, self._pool))
            return Progress(order, None, clock.now)
        digest = self._sessions.digest(order)
        begin = partial(queries.begin_quiz_order, self._pool, quiz_id=order.quiz_id, key=key, digest=digest)
        begun = await self._sessions.in_turn(begin, _turn(order))
        # As for writes: digests of different formats or keys cannot be compared, and count as equal.
        if begun.digest != digest and begun.digest.split(".")[0] == digest.split(".")[0]:
            return None
        return Progress(order, begun.digest, begun.began_at, begun.changed, begun.finished)

    async def _step(
        self, progress: Progress, last: RunningSession | None, provenance: Provenance
    ) -> list[RunningSession]:
        """Order the next sessions, and raise the cache to their versions."""
        take = partial(self._take, progress, last, provenance)
        found, rows = await self._sessions.in_turn(take, _turn(progress.order))
        if rows:
            self._sessions.on_event()
            await self._sessions.raise_versions({row.id: row.version for row in rows})
        return found

    async def _take(
        self, progress: Progress, last: RunningSession | None, provenance: Provenance
    ) -> tuple[list[RunningSession], list[SessionRow]]:
        """Find and order the next sessions."""
        found = await self._find(progress, last)
        if not found:
            return [], []
        order = progress.order.order
        orders = [
            records.order_record(session.id, order, provenance, progress.digest, brief=True)
            for session in found
        ]
        return found, await self._apply(progress, records.numbered(orders))

    async def _find(self, progress: Progress, last: RunningSession | None) -> list[RunningSession]:
        """Return the next sessions to order."""
        order = progress.order
        return await queries.find_running_sessions(
            self._pool,
            quiz_id=order.quiz_id,
            user_ids=order.user_ids and list(order.user_ids),
            except_user=order.except_user,
            began_at=progress.began_at,
            key=order.order.key,
            digest=progress.digest,
            before_at=last and last.created_at,
            before_id=last and last.id,
            count=STEP,
        )

    async def _apply(self, progress: Progress, orders: list[OrderInput]) -> list[SessionRow]:
        """Order the sessions and count them, in one transaction."""
        key = progress.order.order.key
        async with statements.transaction(self._pool) as connection:
            rows = await queries.order_sessions(connection, orders)
            changed = progress.count(rows)
            if key is None:
                progress.changed += changed
            else:
                counted = await queries.advance_quiz_order(
                    connection, quiz_id=progress.order.quiz_id, key=key, changed=changed, finished=False
                )
                progress.changed = counted.changed
            progress.own += changed
        return rows

    async def _finish(self, progress: Progress) -> None:
        """Note that the order has reached every session: a repeat changes nothing from now on."""
        progress.finished = True
        key = progress.order.order.key
        if key is not None:
            advance = partial(
                queries.advance_quiz_order,
                self._pool,
                quiz_id=progress.order.quiz_id,
                key=key,
                changed=0,
                finished=True,
            )
            progress.changed = (await self._sessions.in_turn(advance, _turn(progress.order))).changed

    async def _raise_others(self, progress: Progress) -> None:
        """Raise the cache to the versions that other calls with the key have made.

        An instance that was killed, or has lost its connection, may have changed sessions without raising it.
        """
        if progress.changed > progress.own:
            query = partial(queries.find_unplaced_sessions, self._pool, quiz_id=progress.order.quiz_id)
            others = await self._sessions.in_turn(query)
            await self._sessions.raise_versions({session.id: session.version for session in others})


def _turn(order: QuizOrder) -> tuple[str, str] | None:
    """Return the key of the calls that take turns with this one; None if its order has no key."""
    key = order.order.key
    return (order.quiz_id, key) if key else None
