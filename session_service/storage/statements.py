"""Binds .sql files to typed functions that run them on a connection or a pool."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import orjson
import psycopg
from psycopg import AsyncCursor
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import args_row, tuple_row
from psycopg.types.json import Jsonb, set_json_loads

from session_service.sessions.errors import Outcome, ServiceUnavailableError
from session_service.storage import sql_files
from session_service.storage.connection import PostgresConnection
from session_service.storage.pool import Configure, ConnectionPool
from session_service.storage.sql_files import FOLDER, SqlError, SqlFile

Row = TypeVar("Row")
Record = TypeVar("Record")
Record_contra = TypeVar("Record_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)
Source = PostgresConnection | ConnectionPool
Fetch = Callable[[AsyncCursor[Any]], Awaitable[Any]]


class Statement(Protocol[Result_co]):
    """A statement: call it with a connection or a pool, and the parameters of its header.

    Raises ServiceUnavailableError if PostgreSQL is not available, RejectedError if it rejects the statement.
    """

    def __call__(self, source: Source, /, **parameters: object) -> Awaitable[Result_co]: ...


class BatchStatement(Protocol[Record_contra, Result_co]):
    """A statement that runs once for many records; it raises the errors of a Statement."""

    def __call__(self, source: Source, records: Sequence[Record_contra], /) -> Awaitable[Result_co]: ...


class RejectedError(Exception):
    """PostgreSQL rejected the statement or a parameter: nothing was applied."""


def one(name: str, row: type[Row]) -> Statement[Row]:
    """Bind a statement that always returns one row."""
    return partial(_run, _read(name, "one", row), row, AsyncCursor.fetchone)


def many(name: str, row: type[Row]) -> Statement[list[Row]]:
    """Bind a statement that returns any number of rows."""
    return partial(_run, _read(name, "many", row), row, AsyncCursor.fetchall)


def count(name: str) -> Statement[int]:
    """Bind a statement that returns no rows; its result is the number of affected rows."""
    return partial(_run, _read(name, "count"), None, _rowcount)


def batch(name: str, record: type[Record], row: type[Row]) -> BatchStatement[Record, list[Row]]:
    """Bind a statement that takes a list of records, and returns any number of rows."""
    file = _read(name, "many", row, record)
    return partial(_run_batch, partial(_run, file, row, AsyncCursor.fetchall), file.parameters[0].name)


def pool(url: str, size: int, configure: Configure, *, prepares: bool = True) -> ConnectionPool:
    """Return a pool, not yet open, of connections for statements, which are prepared by default.

    `configure` is run on each new connection.
    """

    async def prepare(connection: PostgresConnection) -> None:
        # The JSON text of a result is copied into the reply: parsing it would cost time.
        set_json_loads(orjson.Fragment, connection)
        await configure(connection)

    return ConnectionPool(url, size, prepare, prepares=prepares)


@asynccontextmanager
async def transaction(pool: ConnectionPool) -> AsyncIterator[PostgresConnection]:
    """Acquire a connection for several statements, which are committed together after the block.

    Raise ServiceUnavailableError if the pool has no connection, or if the commit fails.
    """
    async with pool.connection() as connection:
        try:
            async with connection.transaction():
                yield connection
        except psycopg.OperationalError as error:
            # It is not known whether BEGIN or COMMIT has failed.
            raise ServiceUnavailableError("unknown", reason="statement") from error


def encode_records(records: Sequence[object]) -> Jsonb:
    """Encode records, of attrs classes without slots, as the parameter of jsonb_to_recordset."""
    return Jsonb(records, dumps=_dump_records)


def _dump_records(records: Sequence[object]) -> bytes:
    # vars() returns a record's own dict: nothing is copied for a record of a large batch.
    return orjson.dumps(records, default=vars)


def _read(name: str, cardinality: str, row: type | None = None, record: type | None = None) -> SqlFile:
    file = sql_files.read(FOLDER / f"{name}.sql")
    if file.cardinality != cardinality:
        raise SqlError(f"{name}.sql: bound as :{cardinality}, but the file says :{file.cardinality}")
    if row is not None:
        sql_files.check_row(file, row)
    if record is not None:
        sql_files.check_record(file, record)
    elif file.record:
        raise SqlError(f"{name}.sql: takes records, and is bound without their class")
    return file


async def _run_batch(
    run: Statement[Any], parameter: str, source: Source, records: Sequence[object], /
) -> Any:
    return await run(source, **{parameter: encode_records(records)})


async def _run(file: SqlFile, row: type | None, fetch: Fetch, source: Source, /, **parameters: object) -> Any:
    if parameters.keys() != {column.name for column in file.parameters}:
        raise TypeError(f"{file.name} takes {[column.name for column in file.parameters]}")
    values = {name: _adapt(value) for name, value in parameters.items()}
    execute = partial(_execute, file, row, fetch, values)
    if isinstance(source, PostgresConnection):
        return await execute(source)
    async with source.connection() as connection:
        try:
            return await execute(connection)
        except ServiceUnavailableError:
            if file.writes or not connection.broken:
                raise
    # The connection broke: a statement that only reads can be repeated on another one.
    async with source.connection() as connection:
        return await execute(connection)


async def _execute(
    file: SqlFile, row: type | None, fetch: Fetch, values: dict[str, object], connection: PostgresConnection
) -> Any:
    try:
        async with connection.cursor(row_factory=args_row(row) if row else tuple_row) as cursor:
            await cursor.execute(file.text, values, prepare=file.prepared)
            return await fetch(cursor)
    except ReadOnlySqlTransaction as error:
        connection.unusable = True
        raise ServiceUnavailableError("not_applied", reason="read_only") from error
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(_outcome(file, error), reason="statement") from error
    except psycopg.Error as error:
        # An error without an SQLSTATE is psycopg's own, about a result that may have been committed.
        if error.sqlstate is None:
            raise
        raise RejectedError(f"{file.name}: {error.sqlstate}") from error


def _adapt(value: object) -> object:
    return Jsonb(value, dumps=orjson.dumps) if isinstance(value, orjson.Fragment) else value


def _outcome(file: SqlFile, error: psycopg.Error) -> Outcome:
    """Return whether the statement may have been applied.

    Only an error after which the connection stays open excludes it: a server that closes the connection may
    do so between the commit and its report. 40003 is statement_completion_unknown (PostgreSQL, appendix A).
    """
    rejected = error.diag.severity_nonlocalized == "ERROR" and error.sqlstate != "40003"
    return "not_applied" if rejected or not file.writes else "unknown"


async def _rowcount(cursor: AsyncCursor[Any]) -> int:
    return cursor.rowcount
