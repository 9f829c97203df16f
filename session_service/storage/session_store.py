"""Reads and writes sessions: batched statements in PostgreSQL behind the cache in Redis."""

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from time import monotonic_ns
from typing import Any, TypeVar
from uuid import UUID

import attrs

from session_service.sessions import codec
from session_service.sessions.errors import ServiceUnavailableError
from session_service.sessions.models import (
    EventPage,
    Filter,
    History,
    Provenance,
    Reach,
    SessionSummary,
    StartSession,
    StatusCounts,
    Write,
    WriteResult,
)
from session_service.settings import Settings
from session_service.storage import queries, records, statements
from session_service.storage.database_clock import DatabaseClock
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import (
    HistoryRow,
    LockInput,
    ReadInput,
    SessionRow,
    StartInput,
    WriteInput,
)
from session_service.storage.session_cache import SessionCache
from session_service.storage.statements import RejectedError
from session_service.traffic.batching import Batcher

Query = Callable[[], Awaitable[list[SessionRow]]]
AnyQuery = Callable[[], Awaitable[Any]]
Found = TypeVar("Found")

# Bytes of a change as JSON: PostgreSQL needs up to 0.25 ms to parse 1 KiB of numbers.
LARGE_WRITE = 16 * 1024
# Connections that lock waits and lists leave: one for each of the four batchers here, and one for the
# sweeper, the sequencer and the batches of orders, which wait a moment for each other.
RESERVED_CONNECTIONS = 5
# Shares of the other connections, which lock waits and lists do not take from each other.
LOCK_WAIT_PERCENT = 60
LIST_PERCENT = 40


class SessionStore:
    """Reads, starts and writes sessions.

    A version enters the cache before it is returned, so that no later read is older. With an owner, other
    users' sessions are reported as missing, at the same cost; owner None sees all sessions.

    PostgreSQL waits for no lock in a batch. A request for a row that another transaction holds comes back as
    `busy` and is repeated alone, where it delays no other request. A large write is always sent alone.
    """

    def __init__(self, pool: ConnectionPool, cache: SessionCache, settings: Settings) -> None:
        self._pool = pool
        self._cache = cache
        self._settings = settings
        self._clock = DatabaseClock()
        # One batch of a kind at a time is the largest, and so the cheapest for each request.
        concurrency = 1 if settings.batch_size > 1 else settings.database_pool_size
        batcher = partial(
            Batcher,
            concurrency=concurrency,
            max_batch_size=settings.batch_size,
            retry_singly_on=(RejectedError,),
        )
        self._reads: Batcher[ReadInput, WriteResult | None] = batcher(self._read, lane="read")
        self._writes: Batcher[WriteInput, WriteResult | None] = batcher(self._write_batch, lane="write")
        self._starts: Batcher[StartInput, WriteResult | None] = batcher(self._start, lane="start")
        self._locked_starts: Batcher[StartInput, WriteResult | None] = batcher(
            self._start_with_locks, lane="locked_start"
        )
        # With BATCH_SIZE=1 no connection is reserved: each of the four batchers may then use the whole pool.
        left = settings.database_pool_size - RESERVED_CONNECTIONS
        lock_waits, lists = (max(1, left * share // 100) for share in (LOCK_WAIT_PERCENT, LIST_PERCENT))
        alone = partial(Batcher, max_batch_size=1)
        self._lock_waits = alone(self._wait, lane="lock_wait", concurrency=lock_waits)
        self.lists: Batcher[AnyQuery, Any] = alone(self._run, lane="list", concurrency=lists)
        self.rounds: Batcher[AnyQuery, Any] = alone(self._run, lane="background", concurrency=1)
        self.on_event: Callable[[], None] = lambda: None
        """Called after a statement that may have written an event of the feed: any change but a save."""
        # The number of writes that wait for the lock of each session.
        self._locked: Counter[UUID] = Counter()

    async def open(self, digest_key: str) -> None:
        """Set the key of the digests by which repeats are recognised, and read the database's clock."""
        self.digest = codec.Digester(digest_key)
        await self._read_clock()

    def now(self) -> int:
        """Return the database's time in milliseconds since 1970."""
        return self._clock.now()

    async def read(
        self, session_id: UUID, reach: Reach, *, seen_version: int, fresh: bool
    ) -> WriteResult | None:
        """Return the session, from the cache unless that is older than `seen_version` or `fresh` is set."""
        cached = None if fresh else await self._cache.get(session_id, seen_version, self._clock.now())
        if cached and reach.covers(cached):
            return WriteResult("expired" if cached.status == "expired" else "ok", cached)
        result = await self._reads(ReadInput(session_id, reach.owner, tuple(reach.quizzes)))
        if result and result.verdict == "overdue":
            return await self._write(WriteInput(session_id, result.session.user_id, "close"))
        return result

    async def find_user(self, session_id: UUID, reach: Reach) -> str | None:
        """Return the session's user; None if it does not exist. An overdue session is not ended."""
        result = await self._reads(ReadInput(session_id, reach.owner, tuple(reach.quizzes)))
        return result.session.user_id if result else None

    async def write(
        self, session_id: UUID, owner: str | None, write: Write, provenance: Provenance
    ) -> WriteResult | None:
        """Return the session after the write, applied or not; None if it does not exist."""
        record, size = records.write_record(session_id, owner, write, provenance, self.digest)
        return await self._write(record, large=size > LARGE_WRITE)

    async def start(self, wanted: StartSession, key: str | None, provenance: Provenance) -> WriteResult:
        """Return a new session, or the one that the key or `if_active: resume` finds.

        Resumes of a user's quiz, and starts with a limit of attempts, are processed one after the other, so
        that concurrent ones start one session, and no more than the limit.
        """
        record = records.start_record(wanted, key, provenance, self.digest, self._settings)
        if record.locked:
            result = await self._locked_starts(record, (wanted.user_id, wanted.quiz_id))
        else:
            result = await self._starts(record, (wanted.user_id, key) if key else None)
        record.locked = True
        # A start that loses a race, for the lock and then for the key, finds the winner's session. One that
        # finds a limit of attempts is judged again under the lock.
        for _ in range(2):
            result = result or await self._lock_waits(partial(self._start_locked, record))
        if result and result.verdict == "overdue":
            result = await self._write(WriteInput(result.session.id, wanted.user_id, "close"))
        if result is None:
            raise ServiceUnavailableError("not_applied", reason="lock")
        return result

    async def wait_for_lock(self, query: Query, session_id: UUID) -> WriteResult | None:
        """Return the result of a query that waits for the lock of the session's row."""
        return await self._lock_waits(query, session_id)

    async def expire(self, count: int) -> int:
        """End up to `count` overdue sessions; return the number of those ended.

        The sweeper calls it regularly, also without other requests to the database, so that the clock stays
        right.
        """
        await self._read_clock()
        swept = await self.rounds(partial(queries.expire_sessions, self._pool, count=count))
        if swept:
            self.on_event()
            await self._cache.raise_versions({session.id: session.version for session in swept})
        return len(swept)

    async def _read_clock(self) -> None:
        sent = monotonic_ns()
        clock = await self.rounds(partial(queries.get_clock, self._pool))
        self._clock.set(clock.now, sent)

    async def in_turn(self, query: Callable[[], Awaitable[Found]], key: Hashable = None) -> Found:
        """Return the result of a query that takes its turn with the lists, and with those of its key."""
        found: Found = await self.lists(query, key)
        return found

    async def raise_versions(self, versions: Mapping[UUID, int]) -> None:
        """Ensure that no version below these is read from the cache from now on."""
        if versions:
            await self._cache.raise_versions(versions)

    async def find(self, wanted: Filter, reach: Reach) -> list[SessionSummary]:
        """Return the sessions that pass the filter: up to one more than its limit."""
        query = partial(queries.list_sessions, self._pool, **records.list_parameters(wanted, reach))
        found: list[SessionSummary] = await self.lists(query)
        # A list shows versions: as with every other reply, no later read may be older.
        await self.raise_versions({one.id: one.version for one in found if one.version is not None})
        return found

    async def count(self, wanted: Filter, reach: Reach) -> StatusCounts:
        """Return the number of sessions of the filter's quiz, and of its user, with each status."""
        query = partial(queries.count_sessions, self._pool, **records.count_parameters(wanted, reach))
        counts: StatusCounts = await self.lists(query)
        return counts

    async def events(self, session_id: UUID, reach: Reach, *, after: int, limit: int) -> History | None:
        """Return a page of the session's journal; an overdue session is ended first."""
        parameters = records.history_parameters(session_id, reach, after, limit)
        query = partial(queries.list_session_events, self._pool, **parameters)
        rows = await self.lists(query)
        if rows and rows[0].overdue:
            await self._write(WriteInput(session_id, None, "close"))
            rows = await self.lists(query)
        return await self._history(session_id, rows[0]) if rows else None

    async def _history(self, session_id: UUID, row: HistoryRow) -> History:
        """Return the page, once the cache has no version below the session's."""
        await self._cache.raise_versions({session_id: row.version})
        page = EventPage(row.items, row.next_after, row.version, row.first_version)
        return History(page, codec.timestamp_or_none(row.expires_at), codec.milliseconds(row.checked_at))

    async def _read(self, reads: list[ReadInput]) -> list[WriteResult | None]:
        query = partial(queries.get_sessions, self._pool, records.numbered(reads))
        return await self.results(len(reads), query)

    async def _write(self, record: WriteInput, *, large: bool = False) -> WriteResult | None:
        # A large write would delay the batch. There it only keeps its place in the order of its session.
        batched = attrs.evolve(record, change={}, summary=None, must_queue=True) if large else record
        # The owner is part of the key: another user's writes do not delay the owner's.
        result = await self._writes(batched, (record.id, record.owner))
        if result is None or result.verdict != "busy":
            return result
        try:
            return await self.wait_for_lock(partial(self._write_locked, record), record.id)
        finally:
            self._locked -= Counter([record.id])

    async def _write_batch(self, writes: list[WriteInput]) -> list[WriteResult | None]:
        # A write queues behind one that waits for the session's lock, so that their order is kept, and behind
        # another one of its batch: a statement can write a row once.
        repeated = records.repeated(writes)
        for write in records.numbered(writes):
            write.must_queue |= write.id in self._locked or write.ordinality in repeated
        query = partial(queries.write_sessions, self._pool, writes)
        results = await self.results(len(writes), query)
        self._locked.update(one.session.id for one in results if one and one.verdict == "busy")
        return results

    async def _start(self, starts: list[StartInput]) -> list[WriteResult | None]:
        query = partial(queries.start_sessions, self._pool, records.numbered(starts))
        return await self.results(len(starts), query)

    async def _start_with_locks(self, starts: list[StartInput]) -> list[WriteResult | None]:
        return await self.results(len(starts), partial(self._start_lockable, records.numbered(starts)))

    async def _wait(self, batch: list[Query]) -> list[WriteResult | None]:
        (query,) = batch
        return await self.results(1, query)

    async def _run(self, batch: list[AnyQuery]) -> list[Any]:
        (query,) = batch
        return [await query()]

    async def _start_lockable(self, starts: list[StartInput]) -> list[SessionRow]:
        """Start the sessions whose lock no other start holds."""
        locks = [LockInput(start.user_id, start.quiz_id, start.ordinality) for start in starts]
        async with statements.transaction(self._pool) as connection:
            free = await queries.lock_starts(connection, locks)
            return await queries.start_sessions(connection, [starts[lock.ordinality] for lock in free])

    async def _start_locked(self, start: StartInput) -> list[SessionRow]:
        async with statements.transaction(self._pool) as connection:
            await queries.lock_start(connection, user_id=start.user_id, quiz_id=start.quiz_id)
            return await queries.start_sessions(connection, records.numbered([start]))

    async def _write_locked(self, write: WriteInput) -> list[SessionRow]:
        write.must_queue = False
        async with statements.transaction(self._pool) as connection:
            await queries.lock_session(connection, id=write.id, owner=write.owner)
            return await queries.write_sessions(connection, records.numbered([write]))

    async def results(self, count: int, query: Query) -> list[WriteResult | None]:
        """Return the results of `count` requests, once the cache has no older version of their sessions.

        A session is cached for CACHE_SECONDS from a moment before the query, a running one at most until it
        closes by the database's clock.
        """
        asked_at = await self._cache.now()
        results: list[WriteResult | None] = [None] * count
        fills = []
        sent = monotonic_ns()
        for row in await query():
            self._clock.set(row.checked_at, sent)
            session = codec.encode_session(row, row.checked_at)
            results[row.ordinality] = WriteResult(row.verdict, session)
            fills.append((session, asked_at + self._lifetime(row)))
        if fills:
            await self._cache.put_if_newer(fills)
        if any(session.version == 1 or session.status != "in_progress" for session, _ in fills):
            self.on_event()
        return results

    def _lifetime(self, row: SessionRow) -> int:
        """Return for how many milliseconds the session may be cached."""
        seconds = float(self._settings.cache_seconds)
        if row.status == "in_progress" and row.closes_at:
            seconds = min(seconds, (row.closes_at - row.checked_at).total_seconds())
        return int(seconds * 1000)
