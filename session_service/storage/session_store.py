"""Reads and writes sessions: batched statements in PostgreSQL behind the cache in Redis."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

from session_service.sessions import codec
from session_service.sessions.errors import ServiceUnavailableError
from session_service.sessions.models import Filter, SessionSummary, StartSession, Write, WriteResult
from session_service.settings import Settings
from session_service.storage import queries, statements
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import LockInput, ReadInput, SessionRow, StartInput, WriteInput
from session_service.storage.session_cache import SessionCache
from session_service.storage.statements import RejectedError
from session_service.traffic.batching import Batcher

Numbered = TypeVar("Numbered", ReadInput, WriteInput, StartInput)
Query = Callable[[], Awaitable[list[SessionRow]]]
ListQuery = Callable[[], Awaitable[list[SessionSummary]]]

# Connections that lock waits and lists leave: one for each of the four batchers, and one for the sweeper.
RESERVED_CONNECTIONS = 5
# Shares of the other connections, which lock waits and lists do not take from each other.
LOCK_WAIT_PERCENT = 60
LIST_PERCENT = 40


class SessionStore:
    """Reads, starts and writes sessions.

    A version enters the cache before it is returned, so that no later read is older. With an owner, other
    users' sessions are reported as missing, at the same cost; owner None sees all sessions.

    PostgreSQL waits for no lock in a batch. A request for a row that another transaction holds comes back as
    `busy` and is repeated alone, where waiting delays no other request.
    """

    def __init__(self, pool: ConnectionPool, cache: SessionCache, settings: Settings) -> None:
        self._pool = pool
        self._cache = cache
        self._settings = settings
        # One batch of a kind at a time is the largest, and so the cheapest for each request.
        concurrency = 1 if settings.batch_size > 1 else settings.database_pool_size
        batcher = partial(
            Batcher,
            concurrency=concurrency,
            max_batch_size=settings.batch_size,
            retry_singly_on=(RejectedError,),
        )
        self._reads: Batcher[ReadInput, WriteResult | None] = batcher(self._read)
        self._writes: Batcher[WriteInput, WriteResult | None] = batcher(self._write)
        self._starts: Batcher[StartInput, WriteResult | None] = batcher(self._start)
        self._resumes: Batcher[StartInput, WriteResult | None] = batcher(self._resume)
        # With BATCH_SIZE=1 no connection is reserved: each of the four batchers may then use the whole pool.
        left = settings.database_pool_size - RESERVED_CONNECTIONS
        lock_waits, lists = (max(1, left * share // 100) for share in (LOCK_WAIT_PERCENT, LIST_PERCENT))
        self._lock_waits = Batcher(self._wait, concurrency=lock_waits, max_batch_size=1)
        self._lists = Batcher(self._list, concurrency=lists, max_batch_size=1)
        # The number of writes that wait for the lock of each session.
        self._locked: Counter[UUID] = Counter()

    def use_digest_key(self, key: str) -> None:
        """Set the key of the digests by which repeats are recognised, before the first write."""
        self._digest = codec.Digester(key)

    async def read(
        self, session_id: UUID, owner: str | None, *, seen_version: int, fresh: bool
    ) -> WriteResult | None:
        """Return the session, from the cache unless that is older than `seen_version` or `fresh` is set."""
        cached = None if fresh else await self._cache.get(session_id, seen_version)
        if cached and owner in (None, cached.user_id):
            return WriteResult("ok", cached)
        return await self._reads(ReadInput(session_id, owner))

    async def write(self, session_id: UUID, owner: str | None, write: Write) -> WriteResult | None:
        """Return the session after the write, applied or not; None if it does not exist."""
        record = WriteInput(
            id=session_id,
            owner=owner,
            changes=write.changes,
            expected_versions=write.expected_versions,
            current_question=write.current_question,
            is_completion=write.operation == "complete_session",
            key=write.key,
            digest=self._digest(write) if write.key else None,
        )
        # The owner is part of the key: another user's writes do not delay the owner's.
        result = await self._writes(record, (session_id, owner))
        if result is None or result.verdict != "busy":
            return result
        try:
            return await self._lock_waits(partial(self._write_locked, record), session_id)
        finally:
            self._locked -= Counter([session_id])

    async def start(self, wanted: StartSession, key: str | None) -> WriteResult:
        """Return a new session, or the one that the key or `if_active: resume` finds.

        Resumes of a user's quiz are processed one after the other, so that concurrent ones start one session.
        """
        record = StartInput(
            id=uuid4(),
            user_id=wanted.user_id,
            quiz_id=wanted.quiz_id,
            time_limit_seconds=wanted.time_limit_seconds or self._settings.session_timeout_seconds,
            key=key,
            digest=self._digest(wanted) if key else None,
            resume=wanted.if_active == "resume",
        )
        if record.resume:
            result = await self._resumes(record, (wanted.user_id, wanted.quiz_id))
        else:
            result = await self._starts(record, (wanted.user_id, key) if key else None)
        # A start that loses a race, for a resume's lock and then for the key, finds the winner's session.
        for _ in range(2):
            result = result or await self._lock_waits(partial(self._start_locked, record))
        if result is None:
            raise ServiceUnavailableError("not_applied")
        return result

    async def find(self, wanted: Filter, owner: str | None) -> list[SessionSummary]:
        """Return the sessions that pass the filter: up to one more than its limit."""
        cursor = wanted.cursor
        return await self._lists(
            partial(
                queries.list_sessions,
                self._pool,
                user_id=owner or wanted.user_id,
                quiz_id=wanted.quiz_id,
                status=wanted.status,
                before_ms=cursor.created_ms if cursor else None,
                before_id=cursor.id if cursor else None,
                count=wanted.limit + 1,
            )
        )

    async def _read(self, reads: list[ReadInput]) -> list[WriteResult | None]:
        query = partial(queries.get_sessions, self._pool, _numbered(reads))
        return await self._results(len(reads), query)

    async def _write(self, writes: list[WriteInput]) -> list[WriteResult | None]:
        # A write queues behind one that waits for the session's lock, so that their order is kept, and behind
        # another one of its batch: a statement can write a row once.
        repeated = _repeated(writes)
        for write in _numbered(writes):
            write.must_queue = write.id in self._locked or write.ordinality in repeated
        query = partial(queries.write_sessions, self._pool, writes)
        results = await self._results(len(writes), query)
        self._locked.update(one.session.id for one in results if one and one.verdict == "busy")
        return results

    async def _start(self, starts: list[StartInput]) -> list[WriteResult | None]:
        query = partial(queries.start_sessions, self._pool, _numbered(starts))
        return await self._results(len(starts), query)

    async def _resume(self, starts: list[StartInput]) -> list[WriteResult | None]:
        return await self._results(len(starts), partial(self._start_unlocked, _numbered(starts)))

    async def _wait(self, batch: list[Query]) -> list[WriteResult | None]:
        (query,) = batch
        return await self._results(1, query)

    async def _list(self, batch: list[ListQuery]) -> list[list[SessionSummary]]:
        (query,) = batch
        return [await query()]

    async def _start_unlocked(self, starts: list[StartInput]) -> list[SessionRow]:
        """Start the sessions whose lock no other resume holds."""
        locks = [LockInput(start.user_id, start.quiz_id, start.ordinality) for start in starts]
        async with statements.transaction(self._pool) as connection:
            free = await queries.lock_starts(connection, locks)
            return await queries.start_sessions(connection, [starts[lock.ordinality] for lock in free])

    async def _start_locked(self, start: StartInput) -> list[SessionRow]:
        async with statements.transaction(self._pool) as connection:
            await queries.lock_start(connection, user_id=start.user_id, quiz_id=start.quiz_id)
            return await queries.start_sessions(connection, _numbered([start]))

    async def _write_locked(self, write: WriteInput) -> list[SessionRow]:
        write.must_queue = False
        async with statements.transaction(self._pool) as connection:
            await queries.lock_session(connection, id=write.id, owner=write.owner)
            return await queries.write_sessions(connection, _numbered([write]))

    async def _results(self, count: int, query: Query) -> list[WriteResult | None]:
        """Return the results of `count` requests, once the cache has no older version of their sessions.

        A session is cached for CACHE_SECONDS from a moment before the query, a running one at most until its
        end by the database's clock. An expired one is not cached: its earlier entry was good until its end.
        """
        asked_at = await self._cache.now()
        results: list[WriteResult | None] = [None] * count
        fills = []
        for row in await query():
            session = codec.encode_session(row)
            results[row.ordinality] = WriteResult(row.verdict, session)
            if row.status != "expired":
                fills.append((session, asked_at + self._lifetime(row)))
        if fills:
            await self._cache.put_if_newer(fills)
        return results

    def _lifetime(self, row: SessionRow) -> int:
        """Return for how many milliseconds the session may be cached."""
        seconds = float(self._settings.cache_seconds)
        if row.status == "in_progress":
            seconds = min(seconds, (row.expires_at - row.checked_at).total_seconds())
        return int(seconds * 1000)


def _repeated(writes: list[WriteInput]) -> set[int]:
    """Return the indexes of writes that may be for the row of an earlier one: one of the two has no owner."""
    owners: defaultdict[UUID, set[str | None]] = defaultdict(set)
    repeated = set()
    for index, write in enumerate(writes):
        before = owners[write.id]
        if before and (write.owner is None or None in before):
            repeated.add(index)
        before.add(write.owner)
    return repeated


def _numbered(records: list[Numbered]) -> list[Numbered]:
    """Set the ordinality of each record to its index, which its row of the result has; return the records."""
    for index, record in enumerate(records):
        record.ordinality = index
    return records
