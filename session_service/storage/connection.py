"""A PostgreSQL connection with a response timeout, and the circuit breaker that connections share."""

import asyncio
import logging
import os
import re
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ReadOnlySqlTransaction

from session_service.storage import hosts

# Seconds without a response before a connection is abandoned: longer than the timeout of any request.
RESPONSE_TIMEOUT = 6.0
# Connection parameters of libpq. They override those of the URL, of a service file and of the PG* variables.
PARAMETERS = {
    # Fixed from the first statement on, so that no setting of a role or a database applies to it.
    "client_encoding": "UTF8",
    "connect_timeout": 2,
    # Detect a dead peer: tcp_user_timeout covers unacknowledged data, keepalives cover idle connections.
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

# Error messages of a parameter that the server rejects: libpq passes on no SQLSTATE of a connection attempt.
# If the server translates its messages (lc_messages), they are not recognised, and the start retries.
_REJECTED = 'parameter:? "|parameter name "|command-line argument|startup parameter|FATAL: +(-c|--)'
# The variables with which libpq sets parameters of the server.
_VARIABLES = {"DateStyle": "PGDATESTYLE", "TimeZone": "PGTZ", "geqo": "PGGEQO"}


# For `sslrootcert=system` the OpenSSL in psycopg's wheels looks into a folder that no system has: it gets the
# certificates that Python trusts.
_trusted = ssl.get_default_verify_paths()
for _name, _path in (("SSL_CERT_FILE", _trusted.cafile), ("SSL_CERT_DIR", _trusted.capath)):
    if _path:
        os.environ.setdefault(_name, _path)

# psycopg warns of the end of a connection that `PostgresConnection.cancel_safe` closes.
logging.getLogger("psycopg").addFilter(lambda record: not record.msg.startswith("query cancellation"))


class PostgresBreaker:
    """A circuit breaker for connections to PostgreSQL: it rejects requests at once while the server is down.

    It opens when the server has refused a connection attempt and no connection is left, and closes when an
    attempt succeeds. While it is open the pool makes attempts in the background: during an attempt the
    breaker is half-open, and still rejects requests. A timeout is not a refusal.
    """

    def __init__(self) -> None:
        self._is_refused = False
        self._connections: WeakSet[PostgresConnection] = WeakSet()
        self._waiters: set[asyncio.Timeout] = set()

    @property
    def is_open(self) -> bool:
        """Whether requests are rejected."""
        return self._is_refused and all(connection.closed for connection in self._connections)

    def trip(self) -> None:
        """Record that the server has refused a connection attempt."""
        self._is_refused = True
        self.reject_waiters()

    def reset(self, connection: "PostgresConnection") -> None:
        """Record a new connection that works."""
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


class PostgresConnection(AsyncConnection[Any]):
    """A connection with PARAMETERS; its statements fail after RESPONSE_TIMEOUT without a response."""

    unusable = False
    """Whether the server does not respond, or is read-only."""

    pooled = False
    """Whether it leads to a connection pooler: each transaction may have another server connection."""

    breaker: PostgresBreaker | None = None
    """The circuit breaker of the connection's pool."""

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: object) -> Self:
        """Connect to PostgreSQL; if that is refused, trip the breaker and raise OperationalError.

        A refusal is a closed port, a host name that does not resolve, or a FATAL error of the server; of
        several hosts, one is enough if none takes the connection. A timeout is not a refusal.
        """
        parameters: dict[str, Any] = PARAMETERS | kwargs
        urls = hosts.split(conninfo)
        try:
            if len(urls) == 1:
                return await super().connect(conninfo, **parameters)
            return await hosts.connect_first(urls, partial(super().connect, **parameters))
        except psycopg.errors.ConnectionTimeout:
            raise
        except psycopg.OperationalError:
            if cls.breaker:
                cls.breaker.trip()
            raise

    def deadline(self) -> asyncio.TimerHandle:
        """Start the timer of RESPONSE_TIMEOUT and return it, to be cancelled when the statements are done.

        It shuts the socket down and does not cancel the statement: psycopg would then send a cancel request
        to the silent server, and wait for the response.
        """
        return asyncio.get_running_loop().call_later(RESPONSE_TIMEOUT, self._abandon)

    async def cancel_safe(self, **options: float) -> None:
        """Cancel the statement; behind a connection pooler close the connection instead.

        A request to cancel ends PgBouncer 1.18 for all its clients ("FATAL bad client state").
        """
        if self.pooled:
            self.pgconn.finish()
        else:
            await super().cancel_safe(**options)

    def is_alive(self) -> bool:
        """Return whether the socket has nothing to read: unrequested data is the end of the connection."""
        if self.closed:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)

    def _abandon(self) -> None:
        self.unusable = True
        with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(self.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def reason(error: Exception) -> str:
    """Return one line with the cause of a failed statement or connection attempt, without values of a row."""
    cause = error.__cause__ or error
    if isinstance(cause, ReadOnlySqlTransaction):
        return "the database is read-only: a standby, or default_transaction_read_only is on"
    if isinstance(cause, psycopg.Error):
        return " ".join((cause.diag.message_primary or str(cause)).split())
    return str(cause) or type(cause).__name__


def find_rejected_option(error: psycopg.Error, name: str, url: str) -> str:
    """Return one line with the option or variable whose value the server rejects at each attempt, or "".

    `name` is the setting of the URL. The line does not repeat the value.
    """
    message = str(error)
    if not re.search(_REJECTED, message):
        return ""
    given = conninfo_to_dict(url)
    options = str(given.get("options") or os.environ.get("PGOPTIONS", ""))
    for parameter, variable in _VARIABLES.items():
        if (
            f'"{parameter}"' in message
            and variable in os.environ
            and parameter.lower() not in options.lower()
        ):
            return f"{variable} has a value that PostgreSQL rejects"
    for option in ("replication", "options"):
        if option in given and (option == "options" or f'"{option}"' in message):
            return f'{name} has a value that PostgreSQL rejects for the option "{option}"'
    return f"{'PGOPTIONS' if options else 'PGSERVICE'} has a value that PostgreSQL rejects"
