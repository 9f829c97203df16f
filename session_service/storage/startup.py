"""Waits for PostgreSQL at the start, and checks that a connection pooler before it keeps the guarantees."""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName

from session_service.environment import SettingError
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage.connection import PostgresConnection, find_rejected_option, reason
from session_service.storage.pool import ConnectionPool
from session_service.storage.session_settings import PoolerError, apply, configure
from session_service.storage.statements import RejectedError

ROUNDS = 5  # attempts to have one server connection serve two clients

# Error messages of a server that fails verification: libpq has no error codes for connection attempts.
_UNVERIFIED = "SSL error:|certificate|does not support SSL|private key file|connection is bad: invalid"
# Variables with which libpq asks for settings that a pooler gives to other clients, too, or drops.
_VARIABLES = ("PGOPTIONS", "PGDATESTYLE", "PGTZ", "PGGEQO")

_log = logging.getLogger(__name__)


async def await_server(pool: ConnectionPool, seconds: float, name: str = "DATABASE_URL") -> None:
    """Wait until PostgreSQL accepts a connection; raise SettingError with the reason after `seconds`.

    Raise it at once if a further attempt cannot succeed, or if there is a connection pooler that breaks a
    guarantee. Each new reason is logged as a warning.
    """
    end = asyncio.get_running_loop().time() + seconds
    logged = ""
    while True:
        try:
            return await _check(pool, name)
        except (psycopg.OperationalError, ServiceUnavailableError) as raised:
            error = raised.__cause__ if isinstance(raised, ServiceUnavailableError) else raised
            assert isinstance(error, psycopg.OperationalError)
            fault = reason(error)
            if rejected := find_rejected_option(error, name, str(pool.conninfo)):
                raise SettingError(rejected) from None
            if _is_final(error) or asyncio.get_running_loop().time() > end:
                raise SettingError(f"the PostgreSQL of {name} is out of reach: {fault}") from None
            if logged != fault:
                _log.warning("waiting for PostgreSQL: %s", fault)
            logged = fault
            await asyncio.sleep(0.1)


async def _check(pool: ConnectionPool, name: str) -> None:
    """Connect; behind a pooler raise SettingError unless it keeps the guarantees."""
    try:
        async with _connection(pool) as connection:
            (first, *_) = await apply(connection)
            if connection.pooled:
                _check_options(name, str(pool.conninfo))
                await _check_transactions(name, connection)
            served_by = await configure(connection)
            if connection.pooled:
                await check_prepared(pool, connection, {first.pid, served_by})
    except PoolerError as error:
        raise SettingError(f"the connection pooler of {name} {error}") from None
    except RejectedError as error:
        if isinstance(error.__cause__, DuplicatePreparedStatement | InvalidSqlStatementName):
            raise SettingError(
                f"the connection pooler of {name} has no prepared statements: set DATABASE_PREPARE=no"
            ) from None
        raise


async def check_prepared(pool: ConnectionPool, connection: PostgresConnection, prepared: set[int]) -> None:
    """Raise RejectedError if the pooler has no prepared statements, and they are used.

    `apply` is a prepared statement, which has the same name for each client, and `prepared` are the server
    connections that have it. It fails without support if another client gets one of them, where the name is
    taken, or if this one gets one of the others, where the name is not known. One that another client has
    just prepared proves nothing: it has the same statement.
    """
    for _ in range(ROUNDS if pool.prepares else 0):
        async with _connection(pool) as other:
            pid = (await apply(other))[0].pid
        if pid in prepared:
            return
        prepared.add(pid)
        if (await apply(connection))[0].pid not in prepared:
            return


@asynccontextmanager
async def _connection(pool: ConnectionPool) -> AsyncIterator[PostgresConnection]:
    """Open a connection like those of the pool; a silent server ends it."""
    async with await PostgresConnection.connect(str(pool.conninfo), **pool.options) as connection:
        deadline = connection.deadline()
        try:
            yield connection
        finally:
            deadline.cancel()


async def _check_transactions(name: str, connection: PostgresConnection) -> None:
    try:
        async with connection.transaction():
            pass
    except psycopg.OperationalError as error:
        if "statement pooling mode" not in str(error):
            raise
        raise SettingError(
            f"the connection pooler of {name} has no transactions: set pool_mode to transaction or session"
        ) from None


def _check_options(name: str, url: str) -> None:
    """Raise SettingError for options of libpq that a pooler does not keep for this client only."""
    if "options" in conninfo_to_dict(url):
        raise SettingError(
            f'{name} has the option "options", which its connection pooler drops: '
            "a schema is named in MIGRATION_DATABASE_URL, for bin/migrate"
        )
    for variable in _VARIABLES:
        if os.environ.get(variable):
            raise SettingError(f"{variable} must not be set: {name} leads to a connection pooler")


def _is_final(error: psycopg.OperationalError) -> bool:
    """Return whether the server failed verification: a retry fails in the same way."""
    return re.search(_UNVERIFIED, str(error)) is not None
