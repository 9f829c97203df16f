"""Sessions in the database and the cache: what is asked or written at the same time goes as one statement."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from attrs import frozen

from session_service.sessions import codec
from session_service.sessions.errors import ServiceUnavailableError
from session_service.sessions.models import Judged, SessionSummary, Snapshot, StartSession, Verdict, Write
from session_service.settings import Settings
from session_service.storage import queries, statements
from session_service.storage.session_cache import Cache
from session_service.storage.statements import Pool, RejectedError
from session_service.traffic.batching import Lane

Record = dict[str, Any]
Ask = Callable[[], Awaitable[list[Judged]]]


@frozen
class Told:
    """A session as it will be told, with a statement's verdict on the request."""

    verdict: Verdict
    session: Snapshot


class Store:
    """Where sessions are read, started and written; nothing is told that the cache may then show older.

    To an owner a session of somebody else is none, and is looked for in the same way; without an owner it is
    anyone's.

    PostgreSQL waits for nobody in a batch. What somebody else has locked comes back undone and goes again,
    alone, where waiting delays no other.
    """

    def __init__(self, pool: Pool, cache: Cache, settings: Settings) -> None:
        self._pool = pool
        self._cache = cache
        self._settings = settings
        # One batch of a kind at a time is the largest, and so the cheapest for each request.
        places = 1 if settings.batch_size > 1 else settings.database_pool_size
        lane = partial(Lane, places=places, size=settings.batch_size, apart=(RejectedError,))
        self._reads: Lane[Record, Told | None] = lane(self._read)
        self._writes: Lane[Record, Told | None] = lane(self._write)
        self._starts: Lane[Record, Told | None] = lane(self._start)
        self._resumes: Lane[Record, Told | None] = lane(self._resume)
        # Locks are waited for, and lists made, on the connections that those above and the sweeper leave.
        left = settings.database_pool_size - 5
        self._alone = Lane(self._wait, places=max(1, left * 3 // 5), size=1)
        self._lists = Lane(self._list, places=max(1, left * 2 // 5), size=1)
        # The sessions whose locks are waited for, with how many writes do so.
        self._locked: Counter[UUID] = Counter()

    def use_digest_key(self, key: str) -> None:
        """Set the key of the digests by which repeats are recognised, before the first write."""
        self._digest = codec.Digester(key)

    async def read(self, session_id: UUID, owner: str | None, *, seen: int, fresh: bool) -> Told | None:
        """Return the session, from the cache if that has no older version than was seen and may be asked."""
        held = None if fresh else await self._cache.get(session_id, seen)
        if held and (owner is None or codec.is_of(held, owner)):
            return Told("ok", held)
        return await self._reads({"id": session_id, "owner": owner})

    async def write(self, session_id: UUID, owner: str | None, write: Write) -> Told | None:
        """Return the session as the write left or found it; None if there is none."""
        record = {
            "id": session_id,
            "owner": owner,
            "changes": write.changes,
            "versions": write.expected_versions,
            "current_question": write.current_question,
            "completes": write.operation == "complete_session",
            "key": write.key,
            "digest": self._digest(write) if write.key else None,
        }
        # A stranger's writes to it do not hold up the owner's.
        told = await self._writes(record, (session_id, owner))
        if told is None or told.verdict != "busy":
            return told
        try:
            return await self._alone(partial(self._write_locked, record), session_id)
        finally:
            self._locked -= Counter([session_id])

    async def start(self, wanted: StartSession, key: str | None) -> Told:
        """Return a new session, or the one that the key or `resume` finds.

        Resumes of a user's quiz go one after the other, so that racing ones make one session.
        """
        record = {
            "id": uuid4(),
            "user_id": wanted.user_id,
            "quiz_id": wanted.quiz_id,
            "time_limit_seconds": wanted.time_limit_seconds or self._settings.session_timeout_seconds,
            "key": key,
            "digest": self._digest(wanted) if key else None,
            "resume": wanted.if_active == "resume",
        }
        if record["resume"]:
            told = await self._resumes(record, (wanted.user_id, wanted.quiz_id))
        else:
            told = await self._starts(record, (wanted.user_id, key) if key else None)
        # Whoever loses a race, for the lock of a resume and then for the key, finds what the winner made.
        for _ in range(2):
            told = told or await self._alone(partial(self._start_locked, record))
        if told is None:
            raise ServiceUnavailableError("not_applied")
        return told

    async def find(self, wanted: Record) -> list[SessionSummary]:
        """Return the sessions that the statement's parameters let through."""
        return await self._lists(wanted)

    async def _read(self, ids: list[Record]) -> list[Told | None]:
        return await self._tell(len(ids), partial(queries.get_sessions, self._pool, ids=_numbered(ids)))

    async def _write(self, writes: list[Record]) -> list[Told | None]:
        # Behind a write that waits for its row the session's next ones queue: their order is kept. Behind
        # another one of the batch, too: a statement writes a row once.
        again = _second(writes)
        asked = [
            write | {"queues": write["id"] in self._locked or write["position"] in again}
            for write in _numbered(writes)
        ]
        told = await self._tell(len(writes), partial(queries.write_sessions, self._pool, writes=asked))
        self._locked.update(one.session.id for one in told if one and one.verdict == "busy")
        return told

    async def _start(self, starts: list[Record]) -> list[Told | None]:
        ask = partial(queries.start_sessions, self._pool, starts=_numbered(starts))
        return await self._tell(len(starts), ask)

    async def _resume(self, starts: list[Record]) -> list[Told | None]:
        return await self._tell(len(starts), partial(self._start_unlocked, _numbered(starts)))

    async def _wait(self, asked: list[Ask]) -> list[Told | None]:
        return await self._tell(1, asked[0])

    async def _list(self, wanted: list[Record]) -> list[list[SessionSummary]]:
        return [await queries.list_sessions(self._pool, **wanted[0])]

    async def _start_unlocked(self, starts: list[Record]) -> list[Judged]:
        """Start those that nobody else is resuming."""
        async with statements.transaction(self._pool) as connection:
            free = await queries.lock_starts(connection, starts=starts)
            return await queries.start_sessions(connection, starts=[starts[lock.position] for lock in free])

    async def _start_locked(self, start: Record) -> list[Judged]:
        async with statements.transaction(self._pool) as connection:
            await queries.lock_start(connection, user_id=start["user_id"], quiz_id=start["quiz_id"])
            return await queries.start_sessions(connection, starts=_numbered([start]))

    async def _write_locked(self, write: Record) -> list[Judged]:
        async with statements.transaction(self._pool) as connection:
            await queries.lock_session(connection, id=write["id"], owner=write["owner"])
            return await queries.write_sessions(connection, writes=_numbered([write | {"queues": False}]))

    async def _tell(self, count: int, ask: Ask) -> list[Told | None]:
        """Return what is told of each of so many requests, once nothing older can be read from the cache.

        From a moment before the database is asked a running session is held until its time is over, by the
        database's clock, and any for CACHE_SECONDS. An expired one is not held: what was held of it before
        has become no good at its end.
        """
        asked_at = await self._cache.now()
        told: list[Told | None] = [None] * count
        held = []
        for judged in await ask():
            snapshot = Snapshot(judged.id, judged.version, codec.encode_session(judged))
            told[judged.position] = Told(judged.verdict, snapshot)
            if judged.status != "expired":
                held.append((snapshot, asked_at + self._life(judged)))
        if held:
            await self._cache.raise_to(held)
        return told

    def _life(self, judged: Judged) -> int:
        """Return for how many milliseconds the session may be held."""
        life = float(self._settings.cache_seconds)
        if judged.status == "in_progress":
            life = min(life, (judged.expires_at - judged.judged_at).total_seconds())
        return int(life * 1000)


def _second(writes: list[Record]) -> set[int]:
    """Return the places of those that may be for the row of an earlier one: a user's and a service's."""
    owners: defaultdict[UUID, set[str | None]] = defaultdict(set)
    again = set()
    for place, write in enumerate(writes):
        before = owners[write["id"]]
        if before and (write["owner"] is None or None in before):
            again.add(place)
        before.add(write["owner"])
    return again


def _numbered(records: list[Record]) -> list[Record]:
    """Return the records with their places, which the statement's rows name."""
    return [record | {"position": place} for place, record in enumerate(records)]
