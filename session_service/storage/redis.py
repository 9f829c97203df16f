"""A Redis client with a time limit for each command, a circuit breaker, and readings of Redis's clock.

The circuit breaker is *closed* while Redis has answered every command. One failure opens it: then only the
recovery sends commands, once a second. While the recovery runs it is *half-open*: writes are sent again,
reads not yet.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Literal, Self, TypeVar

import redis.asyncio as redis
from attrs import frozen
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from session_service import store_urls
from session_service.storage.sentinels import Sentinels

T = TypeVar("T")
Script = Callable[[Sequence[str], Sequence[int]], Awaitable[list[int]]]
"""Runs a script with keys and arguments; raises UnreachableError while the circuit breaker is not closed."""

TICK = 0.01  # seconds; a late tick of a stalled event loop counts once, so that Redis is not blamed for it
TIMEOUT_TICKS = 5  # ticks after which a command without a reply fails
RECONNECT_INTERVAL = 1.0  # seconds between two attempts of the recovery
CLOCK_READING_AGE = 10.0  # seconds for which a reading of Redis's clock is used
MAX_CLOCK_DRIFT = 1e-3  # bound on the relative drift of two clocks, far above that of real ones

_log = logging.getLogger(__name__)


class FailoverError(Exception):
    """Another primary than the one in use."""


class UnreachableError(Exception):
    """A command that Redis did not execute, or whose outcome is unknown."""


@frozen
class ClockReading:
    """A reading of Redis's clock, in milliseconds, between two moments of the local clock, in seconds."""

    time: int
    sent: float
    received: float

    def earliest(self, moment: float) -> int:
        """Return the least that Redis's clock can show at the moment."""
        return self.time + int((moment - self.received) * (1 - MAX_CLOCK_DRIFT) * 1000)

    def latest(self, moment: float) -> int:
        """Return the most that Redis's clock can show at the moment."""
        return self.time + 1 + int((moment - self.sent) * (1 + MAX_CLOCK_DRIFT) * 1000) + 1


class TickTimeout:
    """A timeout counted in event-loop ticks: cancels the block, with TimeoutError, after TIMEOUT_TICKS."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._left = TIMEOUT_TICKS
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._timer = self._loop.call_later(TICK, self._tick)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _tick(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(TICK, self._tick)
        else:
            self._timeout.reschedule(self._loop.time())


class RedisClient:
    """Sends commands to Redis through a circuit breaker."""

    def __init__(self, url: str) -> None:
        self.commands, self._sentinels = _clients(url)
        self.recover: Callable[[], Awaitable[bool]] = _always
        """Called in the half-open state; the circuit breaker closes if it returns True."""
        self._breaker: Literal["closed", "half_open", "open"] = "closed"
        self._reading: ClockReading | None = None
        self._measuring: asyncio.Task[ClockReading] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._mode = "standalone"

    @property
    def available(self) -> bool:
        """True while the circuit breaker is closed."""
        return self._breaker == "closed"

    @property
    def accepts_writes(self) -> bool:
        """True while the circuit breaker is closed or half-open."""
        return self._breaker != "open"

    async def call(self, command: Callable[[], Awaitable[T]]) -> T:
        """Return the command's result; on a failure open the circuit breaker and raise UnreachableError.

        Raise ResponseError if Redis works but rejects this command: it is full, or the key has another type.
        """
        try:
            async with TickTimeout():
                return await command()
        except (RedisError, OSError) as error:
            if isinstance(error, OutOfMemoryError):
                raise
            if isinstance(error, ResponseError) and re.search("OOM|WRONGTYPE", str(error)):
                raise
            self._trip(error)
            raise UnreachableError from error

    def register(self, text: str) -> AsyncScript:
        """Return a Lua script that `call` can run."""
        return self.commands.register_script(text)

    def script(self, text: str) -> Script:
        """Return a function that runs a Lua script, on other keys than those of sessions."""
        registered = self.register(text)

        async def run(keys: Sequence[str], arguments: Sequence[int]) -> list[int]:
            if not self.available:
                raise UnreachableError
            try:
                result: list[int] = await self.call(lambda: registered(keys=keys, args=arguments))
            except ResponseError as error:
                raise UnreachableError from error
            return result

        return run

    async def ping(self) -> bool:
        """Return whether Redis answers and the circuit breaker is closed."""
        with suppress(UnreachableError):
            return self.available and await self._measure() is not None
        return False

    async def clock(self) -> ClockReading | None:
        """Return a recent reading of Redis's clock; None unless the circuit breaker is closed."""
        if not self.available:
            return None
        if self._reading and monotonic() - self._reading.received < CLOCK_READING_AGE:
            return self._reading
        # Concurrent callers share one command: separate ones would take a connection each.
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure())
        return await asyncio.shield(self._measuring)

    def note_clock(self, reading: ClockReading) -> None:
        """Use a reading that came with another command's result."""
        self._reading = reading

    async def __aenter__(self) -> Self:
        # If Redis is unreachable now, the first request trips the circuit breaker.
        if self._sentinels:
            self._watch = asyncio.create_task(self._watch_primary(self._sentinels))
            if not await self._sentinels.locate(self.commands):
                self._open()
                return self
        with suppress(RedisError, OSError):
            async with TickTimeout():
                if not await self._is_usable():
                    self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._recovery, self._watch):
            if task:
                task.cancel()
        if self._sentinels:
            await self._sentinels.close()
        with suppress(TimeoutError):
            async with TickTimeout():
                await self.commands.aclose()

    async def _measure(self) -> ClockReading:
        sent = monotonic()
        seconds, microseconds = await self.call(self.commands.time)
        self._reading = ClockReading(seconds * 1000 + microseconds // 1000, sent, monotonic())
        return self._reading

    def _trip(self, error: Exception) -> None:
        if self._breaker == "closed":
            _log.warning(
                "circuit breaker open: Redis failed, reads go to PostgreSQL: %s", type(error).__name__
            )
            self._open()
        self._breaker = "open"

    def _open(self) -> None:
        self._breaker = "open"
        self._recovery = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        """Retry until Redis responds and `recover` returns True; then close the circuit breaker."""
        while self._breaker != "closed":
            await asyncio.sleep(RECONNECT_INTERVAL)
            with suppress(UnreachableError):
                # Existing connections may lead to a former primary.
                await self.call(lambda: self.commands.connection_pool.disconnect(inuse_connections=False))
                if self._sentinels and not await self._sentinels.locate(self.commands):
                    continue
                if not await self.call(self._is_usable):
                    continue
                await self._measure()
                # From here on writes are sent, so that the number of dirty sessions falls under any load.
                self._breaker = "half_open"
                # Nothing is awaited between the end of the repair and the change of state.
                self._breaker = "closed" if await self.recover() else "half_open"
        _log.warning("circuit breaker closed: Redis serves reads again")

    async def _watch_primary(self, sentinels: Sentinels) -> None:
        """Open the circuit breaker when the Sentinels name another primary than the one in use.

        An instance that reads from a former primary, and writes nothing, would not notice. The other one may
        have another clock: the recovery reads it before the cache is used again.
        """
        while True:
            await asyncio.sleep(RECONNECT_INTERVAL)
            if self.available and await sentinels.has_moved():
                self._trip(FailoverError())

    async def _is_usable(self) -> bool:
        """Return whether REDIS_URL leads to a standalone server, behind Sentinels to a primary.

        A node of a Redis Cluster rejects most keys, and a Sentinel all of them: that is logged once. A server
        that rejects INFO counts as standalone.
        """
        mode, role = "standalone", "master"
        with suppress(ResponseError):
            info = await self.commands.info()
            mode = info.get("redis_mode") or info.get("server_mode") or mode
            role = info.get("role", role)
        if mode not in {self._mode, "standalone"}:
            _log.warning(
                "REDIS_URL leads to Redis in %s mode, which is not supported: reads go to PostgreSQL",
                mode,
            )
        self._mode = mode
        return mode == "standalone" and (role == "master" or not self._sentinels)


def _clients(url: str) -> tuple[redis.Redis, Sentinels | None]:
    """Return clients, not yet connected, of Redis and its Sentinels, if the URL is theirs."""
    parts = store_urls.split_sentinels(url)
    return _connection_pool(parts.url if parts else url), Sentinels(parts) if parts else None


def _connection_pool(url: str) -> redis.Redis:
    """Return a redis-py client, not yet connected, for a URL that `store_urls.check_redis` accepts."""
    # By default, redis-py waits for seconds and retries ten times.
    return redis.Redis.from_url(
        url,
        protocol=2,
        max_connections=10_000,
        # redis-py's timeouts would include delays of the event loop; `TickTimeout` covers every command.
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )


async def _always() -> bool:
    return True
