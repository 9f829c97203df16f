"""Erases sessions, with the role of ERASE_DATABASE_URL, and keeps them out of the cache."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from uuid import UUID

from psycopg.errors import QueryCanceled

from session_service.environment import SettingError
from session_service.sessions.erasure import ErasureReport
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries, statements
from session_service.storage.connection import PostgresConnection
from session_service.storage.pool import ConnectionPool
from session_service.storage.session_cache import ERASED, SessionCache

CONNECTIONS = 2  # of each process: one for requests, one for retention
STEP = 100  # sessions that are erased in one transaction, if it takes less than a statement may
LINES = 1000  # lines of other journals from which a user's name is removed in one statement
BUDGET = 3.0  # seconds after which no further step begins: the response is due after five

Lock = Callable[[PostgresConnection], Awaitable[list[UUID]]]
"""Locks sessions until the transaction of the connection ends, and returns their ids."""


class ErasureStore:
    """Erases sessions, their journals, and their events but one of the type session.erased.

    A step locks sessions, deletes them, writes their tombstones, and only then commits; afterwards it writes
    the tombstones again. No read shows an erased session once a response has said that it is gone. A session
    whose tombstone Redis does not take is not erased: docs/cache.md has the proof.
    """

    def __init__(self, pool: ConnectionPool, cache: SessionCache) -> None:
        self.pool = pool
        self._cache = cache
        self._limit = STEP  # sessions of a step: fewer after one that took too long
        self.on_event: Callable[[], None] = _nothing
        """Called after a transaction that may have written an event of the feed."""

    async def check(self, era: UUID | None = None) -> None:
        """Raise SettingError if the role lacks a right that erasing needs.

        Raise it for another database, too, if the era of the feed in that of the service is given.
        """
        missing = [right.name for right in await queries.list_missing_rights(self.pool)]
        if missing:
            raise SettingError(
                f"the role of ERASE_DATABASE_URL lacks rights ({', '.join(missing)}): run bin/migrate"
            )
        if era is not None and (await queries.get_event_feed(self.pool)).era != era:
            raise SettingError("ERASE_DATABASE_URL leads to another database than DATABASE_URL")

    async def erase(self, session_id: UUID, actor: str) -> bool:
        """Erase a session; return whether it existed."""

        async def lock(connection: PostgresConnection) -> list[UUID]:
            found = await queries.lock_session(connection, id=session_id, owner=None)
            return [session_id] if found else []

        if await self._step(lock, actor):
            return True
        # An instance that was killed may have erased it without a tombstone after its commit.
        await self._bury([session_id])
        return False

    async def erase_user(self, user_id: str, actor: str) -> ErasureReport:
        """Erase the sessions of a user, then the user's name in other journals, in steps.

        Sessions that another request has locked are left out, and so are all others after BUDGET.
        """
        end, erased, is_full, is_named = monotonic() + BUDGET, 0, True, True
        try:
            while is_full and monotonic() < end:
                count = len(await self._erase_some(partial(self._lock_user, user_id), STEP, actor))
                erased, is_full = erased + count, count > 0
            while is_named and monotonic() < end:
                is_named = await self._redact(user_id) == LINES
            is_left = is_full or is_named or await self._has_left(user_id)
        except ServiceUnavailableError:
            # A response says what the steps before have done.
            if not erased:
                raise
            return ErasureReport(erased, unfinished=True)
        return ErasureReport(erased, unfinished=is_left)

    async def erase_ended(self, before: datetime, count: int) -> int:
        """Erase up to `count` sessions that have ended before a time; return their number."""
        return len(await self._erase_some(partial(self._lock_ended, before), count, "system"))

    async def erase_old(self, days: int, count: int) -> int:
        """Erase up to `count` sessions that ended more than so many days ago; return their number.

        It is 0 while another instance does the same.
        """
        clock = await queries.get_clock(self.pool)
        before = clock.now - timedelta(days=days)

        async def lock(limit: int, connection: PostgresConnection) -> list[UUID]:
            turn = await queries.take_retention_turn(connection)
            return await self._lock_ended(before, limit, connection) if turn.is_taken else []

        return len(await self._erase_some(lock, count, "system"))

    async def _erase_some(
        self, lock: Callable[[int, PostgresConnection], Awaitable[list[UUID]]], count: int, actor: str
    ) -> list[UUID]:
        """Erase up to `count` sessions in one transaction; fewer if so many took too long before."""
        while True:
            limit = min(count, self._limit)
            try:
                ids = await self._step(partial(lock, limit), actor)
            except ServiceUnavailableError as error:
                if error.reason == "statement":
                    self._limit = max(1, limit // 8)
                if limit == 1 or not isinstance(error.__cause__, QueryCanceled):
                    raise
            else:
                self._limit = min(2 * self._limit, STEP)
                return ids

    async def _step(self, lock: Lock, actor: str) -> list[UUID]:
        """Erase the sessions that `lock` finds, in one transaction; return their ids.

        Raise ServiceUnavailableError if Redis does not take their tombstones: nothing is erased.
        """
        ids: list[UUID] = []
        try:
            async with statements.transaction(self.pool) as connection:
                ids = await lock(connection)
                if ids:
                    await queries.lock_feed(connection)
                    await queries.erase_sessions(connection, ids=ids, actor=actor)
                    if not await self._bury(ids):
                        raise ServiceUnavailableError("not_applied")
        finally:
            # Also if it is not known whether the transaction was committed.
            if ids:
                await self._bury(ids)
                self.on_event()
        return ids

    async def _bury(self, ids: list[UUID]) -> bool:
        """Write the tombstones of sessions; return whether Redis has taken them."""
        return await self._cache.raise_versions(dict.fromkeys(ids, ERASED))

    async def _lock_user(self, user_id: str, limit: int, connection: PostgresConnection) -> list[UUID]:
        found = await queries.lock_user_sessions(connection, user_id=user_id, count=limit)
        return [session.id for session in found]

    async def _lock_ended(self, before: datetime, limit: int, connection: PostgresConnection) -> list[UUID]:
        found = await queries.lock_ended_sessions(connection, before=before, count=limit)
        return [session.id for session in found]

    async def _has_left(self, user_id: str) -> bool:
        """Return whether the user has a session, or is named in a line, that was locked."""
        left = await queries.count_erasable(self.pool, session_id=None, user_id=user_id, before=None)
        return bool(left.sessions or left.actors)

    async def _redact(self, user_id: str) -> int:
        return await queries.redact_actor(self.pool, user_id=user_id, count=LINES)


def _nothing() -> None:
    pass
