"""Sessions in Redis: no reply older than one that was told, and no failure that a request can feel.

docs/cache.md has the protocol, and why it holds. An entry is the bytes `s1 <version> <good until> <body>`
under `session:<id>`: the milliseconds are Redis's own clock, and past them only the version counts.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import redis.asyncio as redis
from attrs import frozen
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from session_service.sessions.models import Snapshot
from session_service.traffic.batching import Lane

T = TypeVar("T")
Script = Callable[[Sequence[str], Sequence[int]], Awaitable[list[int]]]
"""What a script in Redis tells of keys and arguments."""

_BEAT = 0.01  # seconds; a beat of the loop that comes late counts once, and not against Redis
_BEATS = 5  # that Redis has for an answer
_PAUSE = 1.0  # seconds between attempts to reach it again
_LARGE = 64 * 1024  # bytes of a reply that is not held: a batch of such ones takes Redis too long
_OWED = 20_000  # sessions whose repair is remembered one by one
_SAMPLE_AGE = 10.0  # seconds that a reading of Redis's clock is good for
_DRIFT = 1e-3  # by how much two clocks may run apart, far above what clocks do

_log = logging.getLogger(__name__)

# KEYS are entries; ARGV: how long each guards against older ones, in milliseconds, then the version and the
# bytes of each. Answers with the time in milliseconds.
_RAISE = """
local time = redis.call('time')
for n, key in ipairs(KEYS) do
  local head = redis.pcall('getrange', key, 0, 31)
  local held = type(head) == 'string' and tonumber(string.match(head, '^s1 (%d+) '))
  local version = ARGV[2 * n]
  if not held or held <= tonumber(version) then redis.call('set', key, ARGV[2 * n + 1], 'px', ARGV[1]) end
end
return time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS[1] is the entry; ARGV: the bytes that it is taken out for, so that no other entry goes with them.
_DISCARD = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


class UnreachableError(Exception):
    """Redis did not do what it was asked, or nobody knows whether it did."""


@frozen
class Sample:
    """A reading of Redis's clock, in milliseconds, taken between two moments of the own one, in seconds."""

    time: int
    sent: float
    received: float

    def earliest(self, moment: float) -> int:
        """Return what Redis's clock shows at the moment at the least."""
        return self.time + int((moment - self.received) * (1 - _DRIFT) * 1000)

    def latest(self, moment: float) -> int:
        """Return what it shows at the most."""
        return self.time + 1 + int((moment - self.sent) * (1 + _DRIFT) * 1000) + 1


class Limit:
    """Cancels what is done within, with TimeoutError, when the loop has beaten `_BEATS` times."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._left = _BEATS
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._pulse = self._loop.call_later(_BEAT, self._beat)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pulse.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _beat(self) -> None:
        self._left -= 1
        if self._left:
            self._pulse = self._loop.call_later(_BEAT, self._beat)
        else:
            self._timeout.reschedule(self._loop.time())


class Cache:
    """The sessions that were told lately, as the bytes of their replies."""

    def __init__(self, url: str, seconds: int, batch_size: int) -> None:
        self._redis = _client(url)
        self._entries: Lane[UUID, bytes | str | None] = Lane(self._read, places=1, size=batch_size)
        self._raise = self._redis.register_script(_RAISE)
        self._discard = self._redis.register_script(_DISCARD)
        self._seconds = seconds
        self._sample: Sample | None = None
        self._measuring: asyncio.Task[Sample] | None = None
        self._trusted = True
        self._writable = True
        self._owed: dict[UUID, int] = {}
        self._blind_until = 0.0
        self._repair: asyncio.Task[None] | None = None
        self._mode = "standalone"

    async def get(self, session_id: UUID, seen: int = 0) -> Snapshot | None:
        """Return what is held of the session, unless it is older than a version seen; else None."""
        try:
            sample = await self._clock()
            entry = await self._entries(session_id) if sample else None
        except UnreachableError:
            return None
        if sample is None or not isinstance(entry, bytes):
            return None
        held = _decode(session_id, entry)
        if held is None:
            _log.warning("redis held something else under the key of session %s", session_id)
            await self._take_out(session_id, entry)
        elif held[0].body and held[0].version >= seen and sample.latest(monotonic()) < held[1]:
            return held[0]
        return None

    async def now(self) -> int:
        """Return what Redis's clock shows at the least, in milliseconds; 0 if nothing is known of it."""
        with suppress(UnreachableError):
            sample = await self._clock()
            return sample.earliest(monotonic()) if sample else 0
        return 0

    async def raise_to(self, fills: list[tuple[Snapshot, int]]) -> None:
        """See to it that nothing older than the snapshots is read from now on.

        A snapshot itself is read until the moment beside it, by Redis's clock; of a large one the version is
        held alone. What cannot be written now is owed: nothing is believed before it is made good.
        """
        if self._writable:
            with suppress(UnreachableError):
                # The newest of a session comes last: a write that waits comes with what was before another.
                rising = sorted(fills, key=lambda fill: fill[0].version)
                await self._write(
                    {snapshot.id: (snapshot.version, _encode(snapshot, until)) for snapshot, until in rising}
                )
                return
        for snapshot, _ in fills:
            self._owe(snapshot)

    def script(self, text: str) -> Script:
        """Return what runs a script that is about no session.

        It raises UnreachableError while Redis is not believed, and where it refuses the script.
        """
        registered = self._redis.register_script(text)

        async def run(keys: Sequence[str], arguments: Sequence[int]) -> list[int]:
            if not self._trusted:
                raise UnreachableError
            try:
                told: list[int] = await self._call(lambda: registered(keys=keys, args=arguments))
            except ResponseError as error:
                raise UnreachableError from error
            return told

        return run

    @property
    def believed(self) -> bool:
        """Whether Redis has failed nothing that it was not seen to do again."""
        return self._trusted

    async def ping(self) -> bool:
        """Tell whether Redis answers and is believed."""
        with suppress(UnreachableError):
            return self._trusted and await self._measure() is not None
        return False

    async def __aenter__(self) -> Self:
        # A Redis that is away now is found out by the first request.
        with suppress(RedisError, OSError):
            async with Limit():
                if not await self._is_standalone():
                    self._distrust()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._repair:
            self._repair.cancel()
        with suppress(TimeoutError):
            async with Limit():
                await self._redis.aclose()

    def _owe(self, snapshot: Snapshot) -> None:
        if len(self._owed) < _OWED or snapshot.id in self._owed:
            self._owed[snapshot.id] = max(snapshot.version, self._owed.get(snapshot.id, 0))
        else:
            # Whatever is older than what is told now is read for this long at the most.
            self._blind_until = monotonic() + self._seconds

    async def _read(self, ids: list[UUID]) -> list[bytes | str | None]:
        """Return what is held under the keys of the sessions; a key of another kind holds nothing."""
        keys = [_key(session_id) for session_id in ids]
        return await self._call(lambda: self._redis.mget(keys))

    async def _take_out(self, session_id: UUID, entry: bytes) -> None:
        # A key of another kind by now is no entry either.
        with suppress(UnreachableError, ResponseError):
            await self._call(lambda: self._discard(keys=[_key(session_id)], args=[entry]))

    async def _write(self, entries: dict[UUID, tuple[int, bytes]]) -> None:
        """Put the entries, each with its version, in the place of older ones."""
        keys = [_key(session_id) for session_id in entries]
        arguments: list[int | bytes] = [self._seconds * 1000]
        for version_and_entry in entries.values():
            arguments += version_and_entry
        sent = monotonic()
        try:
            time = await self._call(lambda: self._raise(keys=keys, args=arguments))
        except ResponseError:
            # Full, it takes nothing new, but it can still give up what is old.
            await self._call(lambda: self._redis.delete(*keys))
        else:
            self._sample = Sample(time, sent, monotonic())

    async def _clock(self) -> Sample | None:
        """Return a fresh reading of Redis's clock; None while Redis is not believed."""
        if not self._trusted:
            return None
        if self._sample and monotonic() - self._sample.received < _SAMPLE_AGE:
            return self._sample
        # However many want to know: each of them would take a connection of its own.
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure())
        return await asyncio.shield(self._measuring)

    async def _measure(self) -> Sample:
        sent = monotonic()
        seconds, microseconds = await self._call(self._redis.time)
        self._sample = Sample(seconds * 1000 + microseconds // 1000, sent, monotonic())
        return self._sample

    async def _call(self, command: Callable[[], Awaitable[T]]) -> T:
        """Return the command's result; raise UnreachableError, and believe nothing more, if there is none."""
        try:
            async with Limit():
                return await command()
        except (RedisError, OSError) as error:
            # Redis works, but the one command is not for it: it is full, or the key is of another kind.
            if isinstance(error, OutOfMemoryError):
                raise
            if isinstance(error, ResponseError) and re.search("OOM|WRONGTYPE", str(error)):
                raise
            self._doubt(error)
            raise UnreachableError from error

    def _doubt(self, error: Exception) -> None:
        self._writable = False
        if self._trusted:
            _log.warning("redis is not believed, reads go to the database: %s", type(error).__name__)
            self._distrust()

    def _distrust(self) -> None:
        self._writable = False
        self._trusted = False
        self._repair = asyncio.create_task(self._make_good())

    async def _is_standalone(self) -> bool:
        """Return whether REDIS_URL leads to a standalone server; log once if it does not.

        A node of a Redis Cluster refuses most keys, and a Sentinel all of them. A server that rejects the
        question counts as standalone.
        """
        mode = "standalone"
        with suppress(ResponseError):
            info = await self._redis.info("server")
            mode = info.get("redis_mode") or info.get("server_mode") or mode
        if mode not in {self._mode, "standalone"}:
            _log.warning(
                "session-service: REDIS_URL leads to Redis in %s mode, which is not supported: reads go to "
                "PostgreSQL",
                mode,
            )
        self._mode = mode
        return mode == "standalone"

    async def _make_good(self) -> None:
        """Try until Redis answers; write what is owed; then believe it again."""
        while not self._trusted:
            await asyncio.sleep(_PAUSE)
            with suppress(UnreachableError):
                # Those of before may lead to what was the master then.
                await self._call(lambda: self._redis.connection_pool.disconnect(inuse_connections=False))
                if not await self._call(self._is_standalone):
                    continue
                await self._measure()
                # What is told from here on is written at once: the debts become fewer under any load.
                self._writable = True
                while self._owed:
                    await self._pay(dict(islice(self._owed.items(), 100)))
                # Nothing is awaited between the last look at what is owed and the belief.
                self._writable = True
                self._trusted = monotonic() >= self._blind_until
        _log.warning("redis is believed again")

    async def _pay(self, owed: dict[UUID, int]) -> None:
        """Put a version without a session in the place of each that could not be written."""
        await self._write(
            {session_id: (version, b"s1 %d 0 " % version) for session_id, version in owed.items()}
        )
        for session_id, version in owed.items():
            if self._owed[session_id] == version:
                del self._owed[session_id]


def _client(url: str) -> redis.Redis:
    """Return a client, not yet connected, for a URL that `urls.check_redis` accepts."""
    # The library's own defaults would wait seconds and repeat ten times.
    return redis.Redis.from_url(
        url,
        protocol=2,
        max_connections=10_000,
        # Its limits would count the loop's delays as Redis's; `Limit` holds for all that is asked.
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )


def _key(session_id: UUID) -> str:
    return f"session:{session_id}"


def _encode(snapshot: Snapshot, good_until: int) -> bytes:
    body = snapshot.body if len(snapshot.body) < _LARGE else b""
    return b"s1 %d %d %b" % (snapshot.version, good_until, body)


def _decode(session_id: UUID, entry: bytes) -> tuple[Snapshot, int] | None:
    """Return the entry's session and until when it is good; None if it is no entry of this session."""
    head = re.match(rb's1 (\d{1,10}) (\d{1,15}) (?:$|\{"id":"([0-9a-f-]{36})".*\}$)', entry, re.DOTALL)
    if head is None or (head[3] and head[3].decode() != str(session_id)):
        return None
    return Snapshot(session_id, int(head[1]), entry[head.end(2) + 1 :]), int(head[2])
