"""Connections to PostgreSQL: which are broken is known before they are used, where it can be known."""

import asyncio
import logging
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from session_service.errors import ServiceUnavailableError

SILENCE = 6.0  # seconds without an answer, until none is waited for any more: longer than any request waits
PATIENCE = 2.0  # seconds to wait for a connection: a server that is restarted is back sooner
IMPATIENCE = 0.5  # seconds to wait for one after somebody has waited in vain
PAUSE = 0.2  # seconds until a connection is tried again for those who wait for one
QUIET = 10.0  # seconds in which the pool's library says a thing once
# A peer that is gone is noticed: one that has something to acknowledge, and one that nobody asks anything.
LINE = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Connection(AsyncConnection[Any]):
    """A connection that does not wait for ever for a server that is silent."""

    astray = False
    """Whether it leads to a server that gives no answers, or takes no writes."""

    def watch(self) -> asyncio.TimerHandle:
        """Bound the time until the watch is called off: past it, statements fail as if the server had gone.

        They are not cancelled: psycopg would then ask the silent server to do that, and wait for it.
        """
        return asyncio.get_running_loop().call_later(SILENCE, self._give_up)

    def is_quiet(self) -> bool:
        """Tell whether nothing came in since the last answer: what comes unasked is the connection's end."""
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
    """Lets each kind of message through now and then: in an outage the same ones come all the time."""

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
    """Up to `size` connections, made when they are needed, each with `configure` run on it first.

    The server may restart, stand still or fail over: no request gets a connection that is known to be broken,
    and the pool is whole again as soon as the server is.
    """

    def __init__(self, url: str, size: int, configure: Callable[[Connection], Awaitable[object]]) -> None:
        async def prepare(connection: Connection) -> None:
            watch = connection.watch()
            try:
                await configure(connection)
            finally:
                watch.cancel()

        super().__init__(
            url,
            open=False,
            connection_class=Connection,
            configure=prepare,
            kwargs={"autocommit": True, **LINE},
            min_size=0,
            max_size=size,
            max_waiting=1000,
            timeout=PATIENCE,
            # The pool's own pauses between attempts double; with none it gives up at once, and starts anew
            # for the next who wants a connection.
            reconnect_timeout=0,
            reconnect_failed=self._try_again,
            # One for each, so that none waits for others that get no answer.
            num_workers=size,
        )
        self._renewed_at = 0.0
        self._pausing = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection not known to be broken; raise ServiceUnavailableError if none is free."""
        try:
            connection = await self._take()
        except psycopg.OperationalError as error:
            raise ServiceUnavailableError("not_applied") from error
        watch = connection.watch()
        try:
            yield connection
        finally:
            watch.cancel()
            await self.putconn(connection)
            if connection.astray:
                await self._renew()

    async def _take(self) -> Connection:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.timeout
        while True:
            try:
                connection = await self.getconn(end - loop.time())
            except PoolTimeout:
                self.timeout = IMPATIENCE
                raise
            if connection.is_quiet():
                self.timeout = PATIENCE
                return connection
            await connection.close()
            await self.putconn(connection)

    async def _renew(self) -> None:
        """Put new connections in the place of all, which lead astray as the one did that was found out."""
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at >= 1:
            self._renewed_at = now
            await self.drain()

    async def _try_again(self, _: object) -> None:
        """Go on for those who still wait, whom the pool would forget."""
        if self._pausing:
            return
        self._pausing = True
        await asyncio.sleep(PAUSE)
        self._pausing = False
        if self.get_stats()["requests_waiting"]:
            await self.check()
