"""A connection pool for PostgreSQL that replaces dead connections before use.

A circuit breaker rejects requests at once while the server refuses connections.
"""

import asyncio
import logging
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from session_service.sessions.errors import ServiceUnavailableError

SILENCE = 6.0  # seconds without an answer, until a connection is given up: longer than any request waits
PATIENCE = 2.0  # seconds to wait for a connection
IMPATIENCE = 0.5  # seconds to wait for one after a request has waited in vain
PROBE_INTERVAL = 0.15  # seconds between the end of a failed connection attempt and the next one
QUIET = 10.0  # seconds in which the pool's library logs the same message once
# Connection parameters of libpq. They override those of the URL, of a service file and of the PG* variables.
PARAMETERS = {
    # From the first statement on: what a role, a database or PGCLIENTENCODING asks for is never in effect.
    "client_encoding": "UTF8",
    "connect_timeout": 2,
    # Detect a dead peer: the timeout covers unacknowledged data, keepalives cover idle connections.
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Breaker:
    """A circuit breaker for connections to PostgreSQL: it rejects requests at once while the server is down.

    It opens when the server has refused a connection attempt and no connection is left, and closes when an
    attempt succeeds. While it is open the pool makes attempts in the background: during such a probe the
    breaker is half-open, and still rejects requests. A server that does not answer has refused nothing.
    """

    def __init__(self) -> None:
        self._is_refused = False
        self._connections: WeakSet[Connection] = WeakSet()
        self._waiters: set[asyncio.Timeout] = set()

    @property
    def is_open(self) -> bool:
        """Whether a request would wait in vain."""
        return self._is_refused and all(connection.closed for connection in self._connections)

    def trip(self) -> None:
        """Note that the server has refused a connection attempt."""
        self._is_refused = True
        self.reject_waiters()

    def reset(self, connection: "Connection") -> None:
        """Note a new connection that works."""
        self._connections.add(connection)
        self._is_refused = False

    def reject_waiters(self) -> None:
        """End the wait of every request if the breaker is open."""
        if self.is_open:
            for waiter in self._waiters:
                waiter.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def waiting(self, waiter: asyncio.Timeout) -> Iterator[None]:
        """Let the breaker end a wait for a connection."""
        self._waiters.add(waiter)
        try:
            yield
        finally:
            self._waiters.discard(waiter)


class Connection(AsyncConnection[Any]):
    """A connection with PARAMETERS, whose statements fail when the server is silent for SILENCE seconds."""

    astray = False
    """Whether it leads to a server that gives no answers, or takes no writes."""

    breaker: Breaker | None = None
    """The circuit breaker of the connection's pool."""

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: object) -> Self:
        """Connect to PostgreSQL; raise OperationalError, and trip the breaker, where that is refused.

        A refusal is any answer but a connection: a closed port, a host name that does not resolve, a FATAL
        error of the server; of several hosts, the answer of the last. A timeout is none.
        """
        parameters: dict[str, Any] = PARAMETERS | kwargs
        try:
            return await super().connect(conninfo, **parameters)
        except psycopg.errors.ConnectionTimeout:
            raise
        except psycopg.OperationalError:
            if cls.breaker:
                cls.breaker.trip()
            raise

    def watch(self) -> asyncio.TimerHandle:
        """Start the timer past which statements fail as if the server had gone, and return it.

        They are not cancelled: psycopg would then ask the silent server to do that, and wait for it.
        """
        return asyncio.get_running_loop().call_later(SILENCE, self._give_up)

    def is_quiet(self) -> bool:
        """Return whether the socket has nothing to read: unrequested data is the end of the connection."""
        if self.closed:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)

    def _give_up(self) -> None:
        self.astray = True
        with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(self.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


class Seldom(logging.Filter):
    """A log filter that lets each message through once in QUIET seconds: in an outage they repeat."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._told.get(record.msg, -QUIET) < QUIET:
            return False
        self._told[record.msg] = now
        return True


logging.getLogger("psycopg.pool").addFilter(Seldom())


class Pool(AsyncConnectionPool[Connection]):
    """Up to `size` connections, made when they are needed, each prepared by `configure` before its first use.

    The server may restart, stand still or fail over: a request gets no connection that is known to be broken,
    and the pool recovers in the background, without a request that asks for it.
    """

    def __init__(self, url: str, size: int, configure: Callable[[Connection], Awaitable[object]]) -> None:
        self._breaker = Breaker()

        async def prepare(connection: Connection) -> None:
            watch = connection.watch()
            try:
                await configure(connection)
            finally:
                watch.cancel()
            self._breaker.reset(connection)

        super().__init__(
            url,
            open=False,
            connection_class=type("PooledConnection", (Connection,), {"breaker": self._breaker}),
            configure=prepare,
            kwargs={"autocommit": True},
            min_size=0,
            max_size=size,
            max_waiting=1000,
            timeout=PATIENCE,
            # One attempt: the library would wait longer before each further one, this pool does not.
            reconnect_timeout=0,
            reconnect_failed=self._probe,
            # One for each connection, so that none waits for others that get no answer.
            num_workers=size,
        )
        self._renewed_at = 0.0
        self._is_probing = False

    @property
    def is_down(self) -> bool:
        """Whether the circuit breaker is open: a request would be rejected at once."""
        return self._breaker.is_open

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection; raise ServiceUnavailableError if none is free in time, at once if `is_down`."""
        try:
            connection = await self._take()
        except (psycopg.OperationalError, TimeoutError) as error:
            raise ServiceUnavailableError("not_applied") from error
        watch = connection.watch()
        try:
            yield connection
        finally:
            watch.cancel()
            await self.putconn(connection)
            self._breaker.reject_waiters()
            if connection.astray:
                await self._renew()

    async def _take(self) -> Connection:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.timeout
        while True:
            if self.is_down:
                raise PoolTimeout("PostgreSQL refuses connections")
            try:
                connection = await self._wait(end - loop.time())
            except PoolTimeout:
                self.timeout = IMPATIENCE
                raise
            if connection.is_quiet():
                self.timeout = PATIENCE
                return connection
            await connection.close()
            await self.putconn(connection)

    async def _wait(self, seconds: float) -> Connection:
        """Return a connection; raise PoolTimeout when time is up, TimeoutError when the breaker opens."""
        async with asyncio.timeout(None) as waiter:
            with self._breaker.waiting(waiter):
                return await self.getconn(seconds)

    async def _renew(self) -> None:
        """Replace every connection: the others lead to the same unusable server."""
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at >= 1:
            self._renewed_at = now
            await self.drain()

    async def _probe(self, _: object) -> None:
        """Make another connection attempt, PROBE_INTERVAL after one that failed, until one succeeds."""
        if self._is_probing:
            return
        self._is_probing = True
        await asyncio.sleep(PROBE_INTERVAL)
        self._is_probing = False
        await self.check()
