"""Settings of the server, the database, the role and the environment: none changes what the service does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql as text

from dev.reaper import ROOT
from session_service.storage import queries
from session_service.storage.connection import Connection
from tests.conftest import Urls, empty_database, migrate
from tests.operations.test_get_health import await_probe
from tests.support.service import Service, free_port, running
from tests.support.waiting import eventually

Values = dict[str, str]
ROLE = "session_service"
NAME = "Zoë 😀"
FRESH = {"cache-control": "no-cache"}

# Strings have no list of their values; these are others than the default.
STRINGS = {
    "DateStyle": ["German, DMY", "SQL, DMY", "Postgres, YMD"],
    "TimeZone": ["Asia/Kolkata", "America/St_Johns", "Pacific/Apia"],
    "application_name": ["other"],
    "client_encoding": ["LATIN1", "SQL_ASCII", "WIN1252"],
    "createrole_self_grant": ["set"],
    "default_tablespace": ["pg_default"],
    "default_text_search_config": ["pg_catalog.simple"],
    "lc_messages": ["POSIX"],
    "lc_monetary": ["POSIX"],
    "lc_numeric": ["POSIX"],
    "lc_time": ["POSIX"],
    "restrict_nonsystem_relation_kind": ["view, foreign-table"],
    "search_path": ["shadow, pg_temp, public, pg_catalog", "nowhere, public", "public, shadow"],
    "temp_tablespaces": ["pg_default"],
    "timezone_abbreviations": ["India", "Australia"],
}
# Milliseconds: with one, the statement that configures a connection could fail on a busy machine.
TIMEOUTS = ["900", "2147483647"]
LEFT_OUT = {
    "default_transaction_read_only": "freezes a database on purpose: it has a test of its own",
    "default_table_access_method": "there is one only",
    "max_stack_depth": "the most depends on the limits of the process",
    # What the service refuses to start with; it has a test of its own.
    "ignore_checksum_failure": "unfit",
    "session_replication_role": "unfit",
    "zero_damaged_pages": "unfit",
    # Of the one transaction that a connection begins with.
    "transaction_deferrable": "no setting of a role",
    "transaction_isolation": "no setting of a role",
    "transaction_read_only": "no setting of a role",
    # Where the server finds its libraries, and what it writes about itself.
    "backtrace_functions": "log",
    "dynamic_library_path": "libraries",
    "extension_control_path": "libraries",
    "local_preload_libraries": "libraries",
    "session_preload_libraries": "libraries",
    "wal_consistency_checking": "log",
}


@pytest.fixture
def database_of_its_own(fresh_database: Urls) -> Iterator[tuple[Urls, psycopg.Connection]]:
    """A migrated database, with the operator's connection to it."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
        yield fresh_database, operator
        operator.execute(f"alter role {ROLE} in database {operator.info.dbname} reset all")


def test_no_setting_of_the_role_changes_a_reply(
    database_of_its_own: tuple[Urls, psycopg.Connection],
) -> None:
    """Whatever PostgreSQL lets a role be set to, sessions are started, saved, read, listed and completed."""
    urls, operator = database_of_its_own
    operator.execute("create schema shadow grant usage on schema shadow to public")
    operator.execute("create table shadow.quiz_sessions (id integer)")
    operator.execute("create function shadow.char_length(text) returns integer language sql as 'select -1'")
    known, choices = _choices(operator)
    assert known - choices.keys() <= LEFT_OUT.keys()
    with running(urls) as service:
        for turn in range(3):
            values = {name: several[turn % len(several)] for name, several in choices.items()}
            assert _culprits(service, operator, values) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGOPTIONS", "-c datestyle=German,DMY -c search_path=shadow,public -c row_security=on"),
        ("PGDATESTYLE", "Postgres, DMY"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGTZ", "Asia/Kolkata"),
        ("PGGEQO", "off"),
    ],
)
def test_no_variable_of_libpq_changes_a_reply(
    database_of_its_own: tuple[Urls, psycopg.Connection], name: str, value: str
) -> None:
    """The environment variables that libpq passes on to the server change nothing that the service does."""
    urls, operator = database_of_its_own
    with running(urls, **{name: value}) as service:
        _play(service, operator)


@pytest.mark.parametrize("setting", ["datestyle = 'German, DMY'", "client_encoding = 'LATIN1'"])
def test_no_setting_of_the_database_changes_a_reply(
    database_of_its_own: tuple[Urls, psycopg.Connection], setting: str
) -> None:
    """What operators set for a whole database, for themselves, changes nothing that the service does."""
    urls, operator = database_of_its_own
    operator.execute(f"alter database {operator.info.dbname} set {setting}")
    with running(urls) as service:
        _play(service, operator)


def test_the_schema_that_the_operator_chose(migrated: Urls) -> None:
    """Two services share a database: each has the schema of its search_path, and no row of the other's."""
    with empty_database(migrated) as urls:
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
            operator.execute("create schema first")
            operator.execute("create schema second")
        sides = [_with_options(urls, f"-csearch_path={name}") for name in ("first", "second")]
        for side in sides:
            migrate(side)
        with running(sides[0]) as one, running(sides[1]) as other:
            session_id = one.start()["id"]
            assert other.read(session_id, FRESH).status_code == 404
            assert one.read(session_id, FRESH).status_code == 200


def test_a_temporary_table_does_not_shadow_the_sessions(
    database_of_its_own: tuple[Urls, psycopg.Connection],
) -> None:
    """A table of the same name that is left in a connection is not the one that a statement means."""
    urls, operator = database_of_its_own
    operator.execute(f"grant temporary on database {operator.info.dbname} to {ROLE}")

    async def run() -> int:
        async with await Connection.connect(urls["DATABASE_URL"], autocommit=True) as connection:
            await queries.configure(connection)
            await connection.execute("create temporary table quiz_sessions (id integer)")
            found = await connection.execute("select 'quiz_sessions'::regclass::oid")
            return int((await found.fetchone() or (0,))[0])

    assert (asyncio.run(run()),) == operator.execute(
        "select 'public.quiz_sessions'::regclass::oid"
    ).fetchone()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("module", ["session_service", "session_service.storage.migrations"])
def test_a_database_in_another_encoding_is_refused(migrated: Urls, encoding: str, module: str) -> None:
    """Text in another encoding than UTF-8 is neither stored nor migrated: one line names the encoding."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
        name = f"test_{encoding.lower()}"
        operator.execute(
            f"create database {name} template template0 encoding '{encoding}' "
            "locale_provider libc lc_collate 'C' lc_ctype 'C' strategy file_copy"
        )
        urls = {key: url.replace("/postgres?", f"/{name}?") for key, url in migrated.items()}
        try:
            line = _refused(urls, module)
            with psycopg.connect(urls["MIGRATION_DATABASE_URL"]) as owner:
                tables = owner.execute("select from pg_tables where schemaname = 'public'").fetchall()
        finally:
            operator.execute(f"drop database {name} with (force)")
    assert line.endswith(f"PostgreSQL has to have server_encoding UTF8, not {encoding}")
    assert tables == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_replication_role", "replica"),
        ("zero_damaged_pages", "on"),
        ("ignore_checksum_failure", "on"),
    ],
)
def test_what_the_role_cannot_set_itself_is_refused(
    database_of_its_own: tuple[Urls, psycopg.Connection], name: str, value: str
) -> None:
    """A setting that only a superuser may change, and that loses data in silence, stops the start by name."""
    urls, operator = database_of_its_own
    operator.execute(f"alter role {ROLE} in database {operator.info.dbname} set {name} = {value}")
    assert f"PostgreSQL has to have {name} " in _refused(urls, "session_service")


@pytest.mark.parametrize("module", ["session_service", "session_service.storage.migrations"])
def test_a_search_path_that_leads_nowhere_is_refused(fresh_database: Urls, module: str) -> None:
    """Without a schema there is no place for the tables: one line names the setting."""
    line = _refused(_with_options(fresh_database, "-csearch_path=nowhere"), module)
    assert line.endswith("PostgreSQL has to have search_path a schema that exists, not nowhere")


def test_a_policy_that_hides_sessions_is_refused(
    database_of_its_own: tuple[Urls, psycopg.Connection],
) -> None:
    """Row-level security that applies to the service's role stops the start: no session is just missing."""
    urls, operator = database_of_its_own
    operator.execute("alter table quiz_sessions enable row level security")
    assert "row-level security policy" in _refused(urls, "session_service")


def test_a_frozen_database_takes_no_write(database_of_its_own: tuple[Urls, psycopg.Connection]) -> None:
    """While an operator freezes a database by default_transaction_read_only, writes are 503."""
    urls, operator = database_of_its_own
    alter = f"alter database {operator.info.dbname} set default_transaction_read_only"
    with running(urls) as service:
        session_id = service.start()["id"]
        operator.execute(f"{alter} = on")
        _renew_connections(operator)
        reply = service.save(session_id, 1, "x")
        assert (reply.status_code, reply.json()["outcome"]) == (503, "not_applied")
        assert await_probe(service, "/health/ready", lambda reply: reply.status_code == 503)
        eventually(lambda: "not ready: the database is read-only" in service.log.read_text())
        operator.execute("set default_transaction_read_only = off")
        operator.execute(f"{alter} = off")
        _renew_connections(operator)
        assert service.save(session_id, 1, "x").status_code == 200
        assert await_probe(service, "/health/ready", lambda reply: reply.status_code == 200)


def test_a_migration_has_the_same_settings(fresh_database: Urls) -> None:
    """What the owner's role is set to does not change the tables that a migration makes, nor end it early."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as operator:
        for setting in ("default_transaction_isolation = serializable", "statement_timeout = 500"):
            operator.execute(f"alter role app in database {operator.info.dbname} set {setting}")

    async def shown() -> list[str]:
        async with await Connection.connect(url) as connection:
            await queries.configure(connection)
            await queries.allow_long_statements(connection)
            names = (
                "default_transaction_isolation",
                "statement_timeout",
                "enable_seqscan",
                "client_encoding",
            )
            found = [await connection.execute("select current_setting(%s)", [name]) for name in names]
            return [str((await one.fetchone() or ("",))[0]) for one in found]

    migrate(fresh_database)
    assert asyncio.run(shown()) == ["read committed", "0", "on", "UTF8"]


def _choices(operator: psycopg.Connection) -> tuple[set[str], dict[str, list[str]]]:
    """Return the settings that a role can have, and for most of them the values that they do not have now."""
    rows = operator.execute(
        "select name, vartype, setting, min_val, max_val, enumvals from pg_settings "
        "where context in ('user', 'superuser') "
        "and name not like all (array['log\\_%', 'debug\\_discard%'])"
    ).fetchall()
    choices: dict[str, list[str]] = {}
    for name, kind, value, least, most, several in rows:
        values = [*(several or []), *(["on", "off"] if kind == "bool" else []), least or "", most or ""]
        others = [other for other in values if other not in ("", value)]
        choices[name] = STRINGS.get(name) or (TIMEOUTS if name.endswith("_timeout") else others)
    chosen = {name: several for name, several in choices.items() if several and name not in LEFT_OUT}
    return choices.keys() - {name for name, several in choices.items() if not several}, chosen


def _culprits(service: Service, operator: psycopg.Connection, values: Values) -> list[str]:
    """Return settings that together change what the service does: none, or no more of them than it takes."""
    try:
        with _set(operator, values):
            _play(service, operator)
    except (AssertionError, KeyError) as error:
        names = sorted(values)
        half = len(names) // 2
        for part in (names[:half], names[half:]) if half else ():
            if found := _culprits(service, operator, {name: values[name] for name in part}):
                return found
        return [f"{name} = {values[name]}" for name in names] + [repr(error)]
    return []


@contextmanager
def _set(operator: psycopg.Connection, values: Values) -> Iterator[None]:
    """Set the role to the values on all its connections."""
    alter = f"alter role {ROLE} in database {operator.info.dbname} set {{}} = {{}}"
    for name, value in values.items():
        items: list[text.Composable] = [text.Literal(value)]
        if name == "search_path":
            items = [text.Identifier(item) for item in value.split(", ")]
        operator.execute(text.SQL(alter).format(text.Identifier(name), text.SQL(", ").join(items)))
    _renew_connections(operator)
    try:
        yield
    finally:
        operator.execute(f"alter role {ROLE} in database {operator.info.dbname} reset all")


def _renew_connections(operator: psycopg.Connection) -> None:
    """End the service's connections, as a setting of a role holds for new ones."""
    operator.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where usename = 'session_service' and datname = current_database()"
    )


def _play(service: Service, operator: psycopg.Connection) -> None:
    """Start, save, read, list and complete a session; each reply has to be exactly what is stored."""
    session = service.start(user_id=NAME, time_limit_seconds=1800)
    path = str(session["id"])
    assert session == _stored(operator, path) | {"answers": {}, "status": "in_progress", "version": 1}
    saved = service.save(path, 3, "Größe — \\'1'\\ 😀")
    assert saved.status_code == 200, saved.text
    assert saved.json() == _stored(operator, path)
    assert service.read(path, FRESH).json() == saved.json()
    listed = service.client.get("/api/sessions", params={"user_id": NAME, "limit": "1"}).json()["items"]
    assert [item["id"] for item in listed] == [path]
    assert listed[0]["started_at"] == session["started_at"]
    done = service.complete(path, answers={"4": ["a", "NULL"]})
    assert done.json() == _stored(operator, path)
    assert done.json()["answers"] == {"3": "Größe — \\'1'\\ 😀", "4": ["a", "NULL"]}
    assert done.json()["status"] == "completed"


def _stored(operator: psycopg.Connection, session_id: str) -> dict[str, object]:
    """Return the contract's session as the operator finds it in the table."""
    with operator.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(
            "select id::text, user_id, quiz_id, current_question, answers, status, version, started_at, "
            "expires_at, last_saved_at, completed_at, created_at, updated_at "
            "from public.quiz_sessions where id = %s",
            [session_id],
        ).fetchone()
    assert row is not None
    return {name: _written(value) for name, value in row.items()}


def _written(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def _with_options(urls: Urls, options: str) -> Urls:
    names = ("DATABASE_URL", "MIGRATION_DATABASE_URL")
    return urls | {name: f"{urls[name]}&options={options.replace('=', '%3D')}" for name in names}


def _refused(urls: Urls, module: str) -> str:
    """Return the one line with which a start ends."""
    ended = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, **urls, "PORT": str(free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = [line for line in ended.stdout.splitlines() if line]
    assert line.startswith("session-service: ")
    return line
