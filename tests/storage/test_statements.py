"""Statements: the headers of .sql files match PostgreSQL, the SQL text and the Python classes."""

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from attrs import define

from dev import reaper, servers
from session_service.storage import queries, sql_files, statements
from session_service.storage.queries import (
    Lock,
    Migration,
    SessionRow,
)
from session_service.storage.sql_files import FOLDER, Column, SqlError, SqlFile
from tests.conftest import migrate
from tests.storage.example_records import RECORDS
from tests.support.service import folder

FILES = sorted(FOLDER.glob("*.sql"))
RECORDSET = "jsonb_to_recordset(%(a)s::jsonb) as a (i uuid)"
_RECORDSET = re.compile(r"jsonb_to_recordset\(%\(\w+\)s::jsonb\) as \w+ \([^()]*\)")


@pytest.fixture(
    scope="module", params=servers.postgres_homes(), ids=lambda home: f"{home.parent.name}/{home.name}"
)
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A migrated database on the oldest and on the newest available PostgreSQL."""
    with folder() as base, reaper.servers(base, request.param) as urls:
        migrate(urls)
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            yield connection


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_header_matches_postgresql(connection: psycopg.Connection, path: Path) -> None:
    """PostgreSQL describes the parameters, record columns and result columns like the header."""
    file = sql_files.read(path)
    assert described(connection, file) == declared(file), file.name


@pytest.mark.parametrize("name", [path.stem for path in FILES if sql_files.read(path).record])
def test_every_field_of_a_record_reaches_postgresql(connection: psycopg.Connection, name: str) -> None:
    """PostgreSQL reads each field of an encoded record from the column with its name."""
    record = RECORDS[name]
    text = _recordset(sql_files.read(FOLDER / f"{name}.sql"))
    query = re.sub(r"%\(\w+\)s", "%s", text)
    with connection.cursor() as cursor:
        cursor.execute(query, [statements.encode_records([record])])
        arrived = dict(zip([column.name for column in cursor.description or []], *cursor, strict=True))
    # PostgreSQL's arrays arrive as lists.
    arrays = {name: tuple(value) for name, value in arrived.items() if isinstance(value, list)}
    assert arrived | arrays == vars(record)
    assert None not in arrived.values()


def test_every_file_is_bound_once() -> None:
    """The module `queries` binds every .sql file."""
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
        ("-- name: planted :one\n-- record: id uuid\nselect 1", "'record' goes with"),
        (f"-- name: planted :many\n-- in: a jsonb\nselect from {RECORDSET}", "'record' goes with"),
        (
            f"-- name: planted :many\n-- in: a jsonb, n text\n-- record: i uuid\n%(n)s {RECORDSET}",
            "only one",
        ),
    ],
)
def test_a_header_that_contradicts_its_file_stops_the_start(tmp_path: Path, header: str, fault: str) -> None:
    """A header that contradicts its file is rejected with the name of the file."""
    planted = tmp_path / "planted.sql"
    planted.write_text(header)
    with pytest.raises(SqlError, match=r"^planted\.sql: ") as error:
        sql_files.read(planted)
    assert fault in str(error.value)


def test_a_row_that_contradicts_the_header_stops_the_start() -> None:
    """A statement can only be bound to a class with its columns, in order and with their types."""
    with pytest.raises(SqlError, match=r"list_migrations\.sql: 'out' has"):
        statements.many("list_migrations", SessionRow)
    with pytest.raises(SqlError, match=r"bound as :one"):
        statements.one("list_migrations", Migration)


@pytest.mark.parametrize("column", ["owner text", "expected_versions integer", "must_queue boolean"])
@pytest.mark.parametrize("place", ["-- record:", "jsonb_to_recordset"], ids=["header", "text"])
def test_a_misspelt_column_of_a_record_stops_the_start(tmp_path: Path, column: str, place: str) -> None:
    """A misspelt column in the header, or in the SQL text, is rejected."""
    text = (FOLDER / "write_sessions.sql").read_text()
    before, found, after = text.partition(place)
    assert column in after
    planted = tmp_path / "write_sessions.sql"
    planted.write_text(before + found + after.replace(column, f"x{column}", 1))
    with pytest.raises(SqlError, match=r"write_sessions\.sql: 'record' has .*, jsonb_to_recordset has"):
        sql_files.read(planted)


@define(slots=False)
class Misspelt:
    """A record of get_sessions with a misspelt field."""

    id: UUID
    ownr: str | None
    quizzes: tuple[str, ...] = ()
    ordinality: int = 0


@define(slots=False)
class NotNullable:
    """A record of get_sessions without the possible null."""

    id: UUID
    owner: str
    quizzes: tuple[str, ...] = ()
    ordinality: int = 0


@define(slots=False)
class Short:
    """A record of get_sessions without its last field."""

    id: UUID
    owner: str | None
    quizzes: tuple[str, ...] = ()


@pytest.mark.parametrize("record", [Misspelt, NotNullable, Short])
def test_a_class_that_contradicts_the_record_stops_the_start(record: type) -> None:
    """A statement can only be bound to a record class with its fields, in order and with their types."""
    with pytest.raises(SqlError, match=rf"get_sessions\.sql: 'record' .* {record.__name__}"):
        statements.batch("get_sessions", record, SessionRow)


def test_a_statement_with_records_needs_their_class() -> None:
    """A statement with records cannot be bound without their class: dicts would not be checked."""
    with pytest.raises(SqlError, match=r"lock_starts\.sql: takes records"):
        statements.many("lock_starts", Lock)


def test_a_call_with_other_parameters_is_rejected() -> None:
    """A statement takes exactly the parameters in its header."""
    with pytest.raises(TypeError, match="lock_session takes"):
        asyncio.run(_wrong_call())


async def _wrong_call() -> None:
    await queries.lock_session(None, session_id="x")  # type: ignore[arg-type]


Description = tuple[list[Column], list[Column], list[Column]]


def declared(file: SqlFile) -> Description:
    """Return the parameters, the records' columns and the result columns of the header."""
    return list(file.parameters), list(file.record), list(file.columns)


def described(connection: psycopg.Connection, file: SqlFile) -> Description:
    """Return the same as PostgreSQL describes them.

    Where PostgreSQL does not know the nullability (parameters, records, computed columns) it is the header's.
    """
    names: list[str] = []
    parameters, columns = _prepared(connection, file.text, names)
    types = dict(zip(names, parameters, strict=True))
    record = []
    if file.record:
        _, fields = _prepared(connection, _recordset(file), [])
        record = [
            Column(name, type_, given.nullable)
            for (name, type_, _, _), given in zip(fields, file.record, strict=True)
        ]
    return (
        [Column(given.name, types[given.name], given.nullable) for given in file.parameters],
        record,
        [
            Column(name, type_, _nullable(connection, table, number, given))
            for (name, type_, table, number), given in zip(columns, file.columns, strict=True)
        ],
    )


def _recordset(file: SqlFile) -> str:
    found = _RECORDSET.search(file.text)
    assert found is not None
    return " ".join(("select * from", found[0]))


def _prepared(
    connection: psycopg.Connection, text: str, names: list[str]
) -> tuple[list[str], list[tuple[str, str, int, int]]]:
    """Prepare a statement, collect the names of its parameters, and return their types and its columns.

    A column is its name, its type, and the OID of its table and its number there, or 0.
    """

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    query = re.sub(r"%\((\w+)\)s", number, text).replace("%%", "%")
    prepared = connection.pgconn.prepare(b"", query.encode())
    assert not prepared.error_message, prepared.error_message
    result = connection.pgconn.describe_prepared(b"")
    columns = [
        (
            (result.fname(index) or b"").decode(),
            _type(connection, result.ftype(index)),
            result.ftable(index),
            result.ftablecol(index),
        )
        for index in range(result.nfields)
    ]
    return [_type(connection, result.param_type(index)) for index in range(result.nparams)], columns


def _type(connection: psycopg.Connection, oid: int) -> str:
    row = connection.execute("select format_type(%s, null)", [oid]).fetchone()
    assert row is not None
    name = str(row[0])
    return {"timestamp with time zone": "timestamptz", "double precision": "float8"}.get(name, name)


def _nullable(connection: psycopg.Connection, table: int, number: int, given: Column) -> bool:
    if not table:
        return given.nullable
    query = "select not attnotnull from pg_attribute where attrelid = %s and attnum = %s"
    row = connection.execute(query, [table, number]).fetchone()
    assert row is not None
    return bool(row[0])
