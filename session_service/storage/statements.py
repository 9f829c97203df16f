"""An .sql file as a checked, typed callable."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import orjson
import psycopg
from psycopg import AsyncCursor
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import args_row, tuple_row
from psycopg.types.json import Jsonb, set_json_loads

from session_service.sessions.errors import Outcome, ServiceUnavailableError
from session_service.settings import SettingError
from session_service.storage import pool as pools

FOLDER = Path(__file__).parents[2] / "sql"

Row = TypeVar("Row")
Result_co = TypeVar("Result_co", covariant=True)
Connection = pools.Connection
Pool = pools.Pool

_log = logging.getLogger(__name__)

_TYPES: dict[str, type] = {
    "bigint": int,
    "boolean": bool,
    "integer": int,
    "jsonb": orjson.Fragment,
    "text": str,
    "timestamptz": datetime,
    "uuid": UUID,
}
# libpq has no codes for errors of a connection attempt. Where the server translates these (lc_messages), the
# start waits as for any other error, and ends with the words of the server.
_REJECTED_OPTIONS = (
    "unrecognized configuration parameter|invalid value for parameter|invalid command-line argument"
    "|permission denied to set parameter"
)
_NAME = re.compile(r"-- name: (\w+) :(one|many|count)( unprepared)?\n")
_COLUMN = re.compile(r"(\w+) (\w+)(\??)")


class Statement(Protocol[Result_co]):
    """A statement: give it a connection, or a pool to take one from, and the parameters in its header."""

    def __call__(self, source: Connection | Pool, /, **parameters: object) -> Awaitable[Result_co]: ...


class SqlError(Exception):
    """A statement's file that contradicts itself or the code that uses it."""


class RejectedError(Exception):
    """A statement that PostgreSQL rejected for what it is or was given: nothing of it was done."""


@attrs.frozen
class Column:
    """A parameter or a result column: its PostgreSQL type and whether it may be null."""

    name: str
    type: str
    nullable: bool


@attrs.frozen
class File:
    """A parsed .sql file: `text` is what psycopg receives, the rest is its header."""

    name: str
    cardinality: str
    parameters: tuple[Column, ...]
    columns: tuple[Column, ...]
    prepared: bool
    text: str

    @property
    def writes(self) -> bool:
        """Whether running it may change a row."""
        return re.search(r"\b(insert into|update|delete from)\b", self.text) is not None


def one(name: str, row: type[Row]) -> Statement[Row]:
    """Bind a statement that always returns one row."""
    return _bind(name, "one", row, AsyncCursor.fetchone)


def many(name: str, row: type[Row]) -> Statement[list[Row]]:
    """Bind a statement that returns any number of rows."""
    return _bind(name, "many", row, AsyncCursor.fetchall)


def count(name: str) -> Statement[int]:
    """Bind a statement that returns no row but how many it touched."""
    return _bind(name, "count", None, _rowcount)


def pool(url: str, size: int, configure: Callable[[Connection], Awaitable[object]]) -> Pool:
    """Return a pool, not yet open, of connections as the statements expect them.

    `configure` is the statement that is run on each new one.
    """

    async def prepare(connection: Connection) -> None:
        # JSON stays the text that it is: the replies carry it on unread.
        set_json_loads(orjson.Fragment, connection)
        await configure(connection)

    return Pool(url, size, prepare)


async def await_server(pool: Pool, seconds: float) -> None:
    """Wait until PostgreSQL answers; raise SettingError with the reason if it does not in time."""
    end = asyncio.get_running_loop().time() + seconds
    told = ""
    while True:
        try:
            await (await Connection.connect(str(pool.conninfo))).close()
        except psycopg.OperationalError as error:
            fault = reason(error)
            if re.search(_REJECTED_OPTIONS, fault):
                fault += ' (an option of the URL\'s "options", or of PGOPTIONS)'
            if _is_final(error) or asyncio.get_running_loop().time() > end:
                raise SettingError(f"the PostgreSQL of DATABASE_URL is out of reach: {fault}") from None
            if told != fault:
                _log.warning("session-service: waiting for PostgreSQL: %s", fault)
            told = fault
            await asyncio.sleep(0.1)
        else:
            return


def read(path: Path) -> File:
    """Parse and check one .sql file; raise SqlError with the file's name and what is wrong."""
    text = path.read_text()
    found = _NAME.match(text)
    if found is None or found[1] != path.stem:
        raise SqlError(f"{path.name}: the first line has to be '-- name: {path.stem} :one|many|count'")
    parameters, columns = (_columns(path.name, text, word) for word in ("in", "out"))
    placeholders = set(re.findall(r"%\((\w+)\)s", text))
    if placeholders != {column.name for column in parameters}:
        raise SqlError(f"{path.name}: 'in' and the placeholders {sorted(placeholders)} differ")
    return File(found[1], found[2], parameters, columns, prepared=found[3] is None, text=text)


def _columns(name: str, text: str, word: str) -> tuple[Column, ...]:
    lines = re.findall(rf"^-- {word}:(.*)$", text, re.MULTILINE)
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    matches = [_COLUMN.fullmatch(entry) for entry in entries]
    for entry, match in zip(entries, matches, strict=True):
        if match is None or match[2] not in _TYPES:
            raise SqlError(
                f"{name}: '{entry}' is not 'name type' or 'name type?', with a type out of {sorted(_TYPES)}"
            )
    return tuple(Column(match[1], match[2], bool(match[3])) for match in matches if match)


def _bind(
    name: str, cardinality: str, row: type | None, fetch: Callable[[AsyncCursor[Any]], Awaitable[Any]]
) -> Statement[Any]:
    file = read(FOLDER / f"{name}.sql")
    if file.cardinality != cardinality:
        raise SqlError(f"{name}.sql: bound as :{cardinality}, but the file says :{file.cardinality}")
    if row is not None:
        _check_row(file, row)
    return partial(_run, file, row, fetch)


def _check_row(file: File, row: type) -> None:
    hints = get_type_hints(row)
    fields = [(field.name, *_plain(hints[field.name])) for field in attrs.fields(row)]
    columns = [(column.name, _TYPES[column.type], column.nullable) for column in file.columns]
    for field, column in zip(fields, columns, strict=False):
        if field != column:
            raise SqlError(f"{file.name}.sql: 'out' has {column}, {row.__name__} has {field}")
    if len(fields) != len(columns):
        raise SqlError(f"{file.name}.sql: 'out' and {row.__name__} differ in length")


def _plain(hint: Any) -> tuple[type, bool]:
    """Return a field's type without None and Literal, and whether None was there."""
    parts = [part for part in get_args(hint) or (hint,) if part is not NoneType]
    if get_origin(hint) is Literal:
        return type(parts[0]), False
    return parts[0], NoneType in get_args(hint)


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Take a connection for several statements that are committed together, once all have succeeded."""
    async with pool.lend() as connection:
        try:
            async with connection.transaction():
                yield connection
        except psycopg.OperationalError as error:
            # Begin or commit failed, and it cannot be told which.
            raise ServiceUnavailableError("unknown") from error


def reason(error: Exception) -> str:
    """Return one line that says why a statement or a connection failed, without a value of a row."""
    cause = error.__cause__ or error
    if isinstance(cause, ReadOnlySqlTransaction):
        return "the database is read-only: a standby, or default_transaction_read_only is on"
    if isinstance(cause, psycopg.Error):
        return " ".join((cause.diag.message_primary or str(cause)).split())
    return str(cause) or type(cause).__name__


async def _run(
    file: File,
    row: type | None,
    fetch: Callable[[AsyncCursor[Any]], Awaitable[Any]],
    source: Connection | Pool,
    /,
    **parameters: object,
) -> Any:
    if parameters.keys() != {column.name for column in file.parameters}:
        raise TypeError(f"{file.name} takes {[column.name for column in file.parameters]}")
    values = {column.name: _adapt(column, parameters[column.name]) for column in file.parameters}
    ask = partial(_ask, file, row, fetch, values)
    if isinstance(source, Connection):
        return await ask(source)
    async with source.lend() as connection:
        try:
            return await ask(connection)
        except ServiceUnavailableError:
            if file.writes or not connection.broken:
                raise
    # The connection broke, but what only reads may be asked again on another one.
    async with source.lend() as connection:
        return await ask(connection)


async def _ask(
    file: File,
    row: type | None,
    fetch: Callable[[AsyncCursor[Any]], Awaitable[Any]],
    values: dict[str, object],
    connection: Connection,
) -> Any:
    try:
        async with connection.cursor(row_factory=args_row(row) if row else tuple_row) as cursor:
            await cursor.execute(file.text, values, prepare=file.prepared)
            return await fetch(cursor)
    except ReadOnlySqlTransaction as error:
        connection.astray = True
        raise ServiceUnavailableError("not_applied") from error
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(_outcome(file, error)) from error
    except psycopg.Error as error:
        # Without a code it is the driver's own, about a result that may have been committed.
        if error.sqlstate is None:
            raise
        raise RejectedError(f"{file.name}: {error.sqlstate}") from error


def _adapt(column: Column, value: object) -> object:
    return Jsonb(value, dumps=orjson.dumps) if column.type == "jsonb" else value


def _is_final(error: psycopg.OperationalError) -> bool:
    """Return whether waiting is of no use: the server cannot prove its identity, or an option is wrong."""
    faults = "SSL error:|certificate|does not support SSL|private key file|connection is bad: invalid"
    return re.search(f"{faults}|{_REJECTED_OPTIONS}", str(error)) is not None


def _outcome(file: File, error: psycopg.Error) -> Outcome:
    """Tell whether the statement may have landed.

    Only an error that leaves the connection standing rules it out: a server that ends it may do so
    between the commit and its report.
    """
    refused = error.diag.severity_nonlocalized == "ERROR" and error.sqlstate != "40003"
    return "not_applied" if refused or not file.writes else "unknown"


async def _rowcount(cursor: AsyncCursor[Any]) -> int:
    return cursor.rowcount
