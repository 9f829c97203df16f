"""Every statement's header is what a real server says of the statement."""

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from dev import reaper, servers
from session_service.storage import queries, statements
from session_service.storage.queries import Migration, SessionRow
from session_service.storage.statements import Column, File, SqlError
from tests.conftest import migrate
from tests.service import folder

FILES = sorted(statements.FOLDER.glob("*.sql"))


@pytest.fixture(
    scope="module", params=servers.postgres_homes(), ids=lambda home: f"{home.parent.name}/{home.name}"
)
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A migrated database on each PostgreSQL at hand, from the oldest to the newest."""
    with folder() as base, reaper.servers(base, request.param) as urls:
        migrate(urls)
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            yield connection


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_header_is_what_the_server_says(connection: psycopg.Connection, path: Path) -> None:
    """Parameter types, column names, their order and types, and nullability are the server's."""
    file = statements.read(path)
    told = described(connection, file)
    assert told == (list(file.parameters), list(file.columns)), file.name


def test_every_file_is_bound_once() -> None:
    """There is no statement that the list of queries does not name, and none named that is not there."""
    bound = {name for name, value in vars(queries).items() if isinstance(value, partial)}
    assert {path.stem for path in FILES} == bound


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("-- name: other :one\nselect 1", "first line"),
        ("select 1", "first line"),
        ("-- name: planted :some\nselect 1", "first line"),
        ("-- name: planted :one\n-- in: id uuid\nselect 1", "placeholders"),
        ("-- name: planted :one\nselect %(id)s", "placeholders"),
        ("-- name: planted :one\n-- in: id uid\nselect %(id)s", "'id uid'"),
        ("-- name: planted :one\n-- out: id\nselect 1", "'id'"),
    ],
)
def test_a_header_that_contradicts_its_file_stops_the_start(tmp_path: Path, header: str, fault: str) -> None:
    """A file whose name, parameters or types do not fit is refused when it is read, and told by name."""
    planted = tmp_path / "planted.sql"
    planted.write_text(header)
    with pytest.raises(SqlError, match=r"^planted\.sql: ") as error:
        statements.read(planted)
    assert fault in str(error.value)


def test_a_row_that_contradicts_the_header_stops_the_start() -> None:
    """A statement is bound to a class with its columns, in order, with their types, or not at all."""
    with pytest.raises(SqlError, match=r"list_migrations\.sql: 'out' has"):
        statements.many("list_migrations", SessionRow)
    with pytest.raises(SqlError, match=r"bound as :one"):
        statements.one("list_migrations", Migration)


def test_a_call_with_other_parameters_is_refused() -> None:
    """A statement takes the parameters in its header, all of them and no others."""
    with pytest.raises(TypeError, match="get_sessions takes"):
        asyncio.run(_wrong_call())


async def _wrong_call() -> None:
    await queries.get_sessions(None, session_id="x")  # type: ignore[arg-type]


def described(connection: psycopg.Connection, file: File) -> tuple[list[Column], list[Column]]:
    """Return the parameters and columns that the server finds in the statement.

    Whether a parameter may be null, and whether a column that is computed may be, the server does not
    know: for these the header's word is taken over.
    """
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", number, file.text).replace("%%", "%")
    prepared = connection.pgconn.prepare(b"", text.encode())
    assert not prepared.error_message, prepared.error_message
    told = connection.pgconn.describe_prepared(b"")
    types = {name: _type(connection, told.param_type(index)) for index, name in enumerate(names)}
    parameters = [Column(given.name, types[given.name], given.nullable) for given in file.parameters]
    columns = [
        Column(
            (told.fname(index) or b"").decode(),
            _type(connection, told.ftype(index)),
            _nullable(connection, told.ftable(index), told.ftablecol(index), file, index),
        )
        for index in range(told.nfields)
    ]
    return parameters, columns


def _type(connection: psycopg.Connection, oid: int) -> str:
    row = connection.execute("select format_type(%s, null)", [oid]).fetchone()
    assert row is not None
    name = str(row[0])
    return {"timestamp with time zone": "timestamptz"}.get(name, name)


def _nullable(connection: psycopg.Connection, table: int, column: int, file: File, index: int) -> bool:
    if not table:
        return file.columns[index].nullable
    query = "select not attnotnull from pg_attribute where attrelid = %s and attnum = %s"
    row = connection.execute(query, [table, column]).fetchone()
    assert row is not None
    return bool(row[0])
