"""A connection pool for PostgreSQL that replaces dead connections before use.

A circuit breaker rejects requests at once while the server refuses connections. psycopg_pool's own `check` is
not used: after a failed check it pauses for `AttemptWithBackoff.INITIAL_DELAY`, one second.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from session_service import metrics
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage.connection import PostgresBreaker, PostgresConnection

ACQUIRE_TIMEOUT = 2.0  # seconds to wait for a connection
ACQUIRE_TIMEOUT_WHEN_DOWN = 0.5  # seconds to wait for a connection after another request has timed out
RECONNECT_INTERVAL = 0.15  # seconds between the end of a failed connection attempt and the next attempt
LOG_INTERVAL = 10.0  # seconds between log records of psycopg_pool with the same message
MIN_RECYCLE_INTERVAL = 1.0  # seconds between two replacements of all connections

_log = logging.getLogger(__name__)

Configure = Callable[[PostgresConnection], Awaitable[object]]


def _is_refused(error: BaseException | None) -> bool:
    """Return whether the first statement of a connection failed because PostgreSQL is away.

    A connection pooler takes connections all the same, and ends them at the statement. PostgreSQL is there if
    it has sent an ERROR, and may be slow if PgBouncer has waited for it (query_wait_timeout).
    """
    return (
        isinstance(error, psycopg.OperationalError)
        and error.diag.severity_nonlocalized != "ERROR"
        and "query_wait_timeout" not in str(error)
    )


class ThrottleFilter(logging.Filter):
    """A log filter that passes each message once in LOG_INTERVAL: in an outage the pool repeats them."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(record.msg, -LOG_INTERVAL) < LOG_INTERVAL:
            return False
        self._logged_at[record.msg] = now
        return True


logging.getLogger("psycopg.pool").addFilter(ThrottleFilter())


class ConnectionPool(AsyncConnectionPool[PostgresConnection]):
    """A pool of up to `size` connections, opened on demand and prepared by `configure` before first use.

    It recovers in the background from a server that restarts, hangs or fails over, without a request that
    triggers it. Requests do not receive connections that are known to be broken. Statements are prepared
    if `prepares` is set.
    """

    def __init__(self, url: str, size: int, configure: Configure, *, prepares: bool = True) -> None:
        self.options: dict[str, Any] = {"autocommit": True, "prepare_threshold": 5 if prepares else None}
        self._breaker = PostgresBreaker()

        super().__init__(
            url,
            open=False,
            connection_class=type("PooledConnection", (PostgresConnection,), {"breaker": self._breaker}),
            configure=partial(self._prepare, configure),
            kwargs=self.options,
            min_size=0,
            max_size=size,
            max_waiting=1000,
            timeout=ACQUIRE_TIMEOUT,
            # One attempt: psycopg_pool backs off exponentially between attempts, `_reconnect_later` does not.
            reconnect_timeout=0,
            reconnect_failed=self._reconnect_later,
            # One for each connection, so that no attempt waits for others that time out.
            num_workers=size,
        )
        self._recycled_at = 0.0
        self._is_reconnecting = False

    async def _prepare(self, configure: Configure, connection: PostgresConnection) -> None:
        deadline = connection.deadline()
        try:
            await configure(connection)
        except psycopg.OperationalError:
            self._breaker.trip()
            raise
        except ServiceUnavailableError as error:
            if not connection.unusable and _is_refused(error.__cause__):
                self._breaker.trip()
                # The idle connections lead to the same pooler: they would keep the breaker closed.
                await self._recycle()
            raise error.__cause__ or error from None
        finally:
            deadline.cancel()
        self._breaker.reset(connection)

    @property
    def prepares(self) -> bool:
        """Whether its statements are prepared."""
        return self.options["prepare_threshold"] is not None

    @property
    def is_down(self) -> bool:
        """Whether the circuit breaker is open: a request would be rejected at once."""
        return self._breaker.is_open

    def publish(self) -> None:
        """Show the pool in the metrics."""
        metrics.pool_connections.set_function(lambda: self._nconns - len(self._pool), "in_use")
        metrics.pool_connections.set_function(lambda: len(self._pool), "idle")
        metrics.pool_waiting.set_function(lambda: len(self._waiting))
        metrics.database_available.set_function(lambda: not self.is_down)

    @asynccontextmanager
    async def connection(self, seconds: float | None = None) -> AsyncIterator[PostgresConnection]:
        """Acquire a connection for the block, waiting up to `seconds`.

        The default is ACQUIRE_TIMEOUT, and ACQUIRE_TIMEOUT_WHEN_DOWN after another request has timed out.

        Raise ServiceUnavailableError if none is free in time, at once if `is_down`.
        """
        try:
            connection = await self._acquire(self.timeout if seconds is None else seconds)
        except (psycopg.OperationalError, TimeoutError) as error:
            down = self.is_down
            raise ServiceUnavailableError(
                "not_applied", reason="database_down" if down else "no_connection"
            ) from error
        deadline = connection.deadline()
        try:
            yield connection
        finally:
            deadline.cancel()
            await self.putconn(connection)
            self._breaker.reject_waiters()
            if connection.unusable:
                await self._recycle()

    async def _acquire(self, seconds: float) -> PostgresConnection:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            if self.is_down:
                raise PoolTimeout("PostgreSQL refuses connections")
            try:
                connection = await self._wait(end - loop.time())
            except PoolTimeout:
                self.timeout = ACQUIRE_TIMEOUT_WHEN_DOWN
                raise
            if connection.is_alive():
                self.timeout = ACQUIRE_TIMEOUT
                return connection
            await connection.close()
            await self.putconn(connection)

    async def _wait(self, seconds: float) -> PostgresConnection:
        """Return a connection; raise PoolTimeout after `seconds`, TimeoutError when the breaker opens."""
        async with asyncio.timeout(None) as waiter:
            with self._breaker.waiting(waiter):
                return await self.getconn(seconds)

    async def _recycle(self) -> None:
        """Replace every connection: the others lead to the same unusable server."""
        now = asyncio.get_running_loop().time()
        if now - self._recycled_at >= MIN_RECYCLE_INTERVAL:
            self._recycled_at = now
            await self.drain()

    async def _reconnect_later(self, _: object) -> None:
        """Make another connection attempt RECONNECT_INTERVAL after a failed one, until one succeeds."""
        if self._is_reconnecting:
            return
        self._is_reconnecting = True
        await asyncio.sleep(RECONNECT_INTERVAL)
        self._is_reconnecting = False
        await self.check()
