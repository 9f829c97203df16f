"""Settings of the database, the role and libpq: they change no response."""

import asyncio

import psycopg
import pytest

from session_service.storage import queries, session_settings
from session_service.storage.connection import PostgresConnection
from tests.conftest import Urls, empty_database, migrate
from tests.operations.test_get_health import await_probe
from tests.support.database_settings import NO_CACHE, ROLE, check_operations, close_connections, with_options
from tests.support.service import running
from tests.support.waiting import eventually


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
def test_no_variable_of_libpq_changes_a_response(
    migrated_database: tuple[Urls, psycopg.Connection], name: str, value: str
) -> None:
    """The environment variables of libpq do not change a response."""
    urls, operator = migrated_database
    with running(urls, **{name: value}) as service:
        check_operations(service, operator)


@pytest.mark.parametrize("setting", ["datestyle = 'German, DMY'", "client_encoding = 'LATIN1'"])
def test_no_setting_of_the_database_changes_a_response(
    migrated_database: tuple[Urls, psycopg.Connection], setting: str
) -> None:
    """The settings of the database do not change a response."""
    urls, operator = migrated_database
    operator.execute(f"alter database {operator.info.dbname} set {setting}")
    with running(urls) as service:
        check_operations(service, operator)


def test_the_search_path_selects_the_schema(migrated: Urls) -> None:
    """Two services in one database use the schema of their search_path, and no session of the other one."""
    with empty_database(migrated) as urls:
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
            operator.execute("create schema first")
            operator.execute("create schema second")
        sides = [with_options(urls, f"-csearch_path={name}") for name in ("first", "second")]
        for side in sides:
            migrate(side)
        with running(sides[0]) as one, running(sides[1]) as other:
            session_id = one.start()["id"]
            assert other.read(session_id, NO_CACHE).status_code == 404
            assert one.read(session_id, NO_CACHE).status_code == 200


def test_a_temporary_table_does_not_shadow_the_sessions(
    migrated_database: tuple[Urls, psycopg.Connection],
) -> None:
    """A temporary table with the same name does not hide the table of sessions."""
    urls, operator = migrated_database
    operator.execute(f"grant temporary on database {operator.info.dbname} to {ROLE}")

    async def run() -> int:
        async with await PostgresConnection.connect(urls["DATABASE_URL"], autocommit=True) as connection:
            await session_settings.configure(connection)
            await connection.execute("create temporary table quiz_sessions (id integer)")
            found = await connection.execute("select 'quiz_sessions'::regclass::oid")
            return int((await found.fetchone() or (0,))[0])

    assert (asyncio.run(run()),) == operator.execute(
        "select 'public.quiz_sessions'::regclass::oid"
    ).fetchone()


def test_default_transaction_read_only_rejects_writes(
    migrated_database: tuple[Urls, psycopg.Connection],
) -> None:
    """While default_transaction_read_only is on, writes get 503 and the service is not ready."""
    urls, operator = migrated_database
    alter = f"alter database {operator.info.dbname} set default_transaction_read_only"
    with running(urls) as service:
        session_id = service.start()["id"]
        operator.execute(f"{alter} = on")
        close_connections(operator)
        response = service.save(session_id, 1, "x")
        assert (response.status_code, response.json()["outcome"]) == (503, "not_applied")
        assert await_probe(service, "/health/ready", lambda response: response.status_code == 503)
        eventually(lambda: "not ready: the database is read-only" in service.log.read_text())
        operator.execute("set default_transaction_read_only = off")
        operator.execute(f"{alter} = off")
        close_connections(operator)
        assert service.save(session_id, 1, "x").status_code == 200
        assert await_probe(service, "/health/ready", lambda response: response.status_code == 200)


def test_migrations_ignore_the_settings_of_the_owner(fresh_database: Urls) -> None:
    """The settings of the owner's role neither change nor interrupt a migration."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as operator:
        for setting in ("default_transaction_isolation = serializable", "statement_timeout = 500"):
            operator.execute(f"alter role app in database {operator.info.dbname} set {setting}")

    async def shown() -> list[str]:
        async with await PostgresConnection.connect(url) as connection:
            await session_settings.configure(connection)
            await queries.allow_long_statements(connection, local=False)
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
