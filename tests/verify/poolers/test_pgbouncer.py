"""Tests of PgBouncer: everything works through it, and a start that would lose a guarantee is refused."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest

from session_service.environment import SettingError
from session_service.storage import pooled_roles, session_settings, statements
from session_service.storage.connection import PostgresConnection
from session_service.storage.startup import check_prepared
from session_service.storage.statements import RejectedError
from tests.conftest import Urls, migrate
from tests.erasing.test_command import run_erase
from tests.operations.test_get_health import await_probe
from tests.setup.test_export_command import run_export
from tests.storage.test_fence import run_fence
from tests.support import webhooks
from tests.support.database_settings import check_operations, close_connections, with_options
from tests.support.erasing import new_user
from tests.support.pgbouncer import COMMAND, Pooler, pgbouncer, prepares
from tests.support.service import failed_start, folder, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.needs(COMMAND)

END_IDLE = """
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where usename = 'session_service' and datname = current_database() and state = 'idle'
"""

Start = Callable[..., AbstractContextManager[Pooler]]


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that the user of PgBouncer may enter."""
    with folder() as base:
        yield base


@pytest.fixture
def database(migrated_database: tuple[Urls, psycopg.Connection]) -> Iterator[psycopg.Connection]:
    """The owner's connection to the database of the test, without settings of the roles."""
    _, owner = migrated_database
    yield owner
    for role in ("session_service", "session_eraser"):
        owner.execute(f"alter role {role} in database {owner.info.dbname} reset all")


@pytest.fixture
def start(base: Path, migrated_database: tuple[Urls, psycopg.Connection], database: object) -> Start:
    """Return the function that runs a PgBouncer before the database of the test."""
    del database

    @contextmanager
    def started(mode: str, *options: str) -> Iterator[Pooler]:
        with pgbouncer(base, migrated_database[0], mode, *options) as pooler:
            yield pooler

    return started


def _alter(owner: psycopg.Connection, change: str) -> None:
    owner.execute(f"alter role session_service in database {owner.info.dbname} {change}")


def _refusal(urls: Urls, module: str = "session_service", **settings: str) -> str:
    """Return the one line of a start that is refused with exit status 1."""
    (line,) = [line for line in failed_start({**urls, **settings}, module).splitlines() if line]
    return line.removeprefix("session-service: ").removeprefix("cannot start: ")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_role_without_the_settings_is_refused(start: Start, mode: str) -> None:
    """Without the settings of its role the service does not start behind PgBouncer, and names them."""
    with start(mode) as pooler:
        line = _refusal(pooler.urls)
    assert line.startswith(
        "the connection pooler of DATABASE_URL needs settings that its role lacks (datestyle, "
    )
    assert " synchronous_commit, " in line
    assert line.endswith("): run bin/migrate")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_bin_migrate_stores_the_settings(start: Start, database: psycopg.Connection, mode: str) -> None:
    """After bin/migrate the service works, whatever the settings of the database and of open connections."""
    name = database.info.dbname
    for setting in ("datestyle = 'German'", "timezone = 'Asia/Kolkata'", "synchronous_commit = off"):
        database.execute(f"alter database {name} set {setting}")
    with start(mode) as pooler:
        for _ in range(2):
            with psycopg.connect(pooler.urls["DATABASE_URL"]) as early:
                early.execute("select 1")
        migrate(pooler.urls)
        with running(pooler.urls) as service:
            check_operations(service, database)
            assert await_probe(service, "/health/ready", lambda response: response.status_code == 200)
        assert _shown(pooler, "synchronous_commit") == "on"


def test_a_changed_setting_is_refused(start: Start, database: psycopg.Connection) -> None:
    """A setting that the role lost after bin/migrate is named, also while old connections have it."""
    with start("transaction") as pooler:
        migrate(pooler.urls)
        with running(pooler.urls):
            _alter(database, "set synchronous_commit = off")
            lacks = "DATABASE_URL needs settings that its role lacks (synchronous_commit)"
            assert _refusal(pooler.urls) == f"the connection pooler of {lacks}: run bin/migrate"
        migrate(pooler.urls)
        with running(pooler.urls) as service:
            check_operations(service, database)


def test_the_role_that_erases_needs_the_settings(start: Start, database: psycopg.Connection) -> None:
    """The role of ERASE_DATABASE_URL is checked like that of the service."""
    with start("transaction") as pooler:
        migrate(pooler.urls)
        database.execute(
            f"alter role session_eraser in database {database.info.dbname} reset statement_timeout"
        )
        (line,) = [line for line in failed_start(pooler.urls).splitlines() if "ERASE_DATABASE_URL" in line]
        assert line.endswith("needs settings that its role lacks (statement_timeout): run bin/migrate")


def test_a_connection_that_another_client_has_changed(start: Start) -> None:
    """A server connection with other settings stops a start, and makes an instance not ready."""
    with start("transaction", "default_pool_size = 1") as pooler:
        migrate(pooler.urls)
        with running(pooler.urls, ERASE_DATABASE_URL="") as service:
            with psycopg.connect(pooler.urls["DATABASE_URL"], autocommit=True) as other:
                other.execute("set synchronous_commit = off")
            differs = "has a connection to PostgreSQL with other settings than its role (synchronous_commit)"
            assert await_probe(service, "/health/ready", lambda response: response.status_code == 503)
            eventually(lambda: f"not ready: {differs}: run RECONNECT in PgBouncer" in service.log.read_text())
            assert differs in _refusal(pooler.urls)
            pooler.execute("reconnect")
            assert await_probe(service, "/health/ready", lambda response: response.status_code == 200)


def test_prepared_statements(start: Start, database: psycopg.Connection) -> None:
    """A PgBouncer without prepared statements is refused, unless DATABASE_PREPARE is no."""
    with start("transaction", "max_prepared_statements = 0" if prepares("transaction") else "") as pooler:
        migrate(pooler.urls)
        line = _refusal(pooler.urls, DATABASE_PREPARE="yes")
        assert (
            line
            == "the connection pooler of DATABASE_URL has no prepared statements: set DATABASE_PREPARE=no"
        )
        with running(pooler.urls, DATABASE_PREPARE="no") as service:
            check_operations(service, database)


def test_prepared_statements_while_others_hold_connections(start: Start) -> None:
    """A statement that another client has just prepared is not taken for one that the pooler has."""
    with start("transaction", "max_prepared_statements = 0" if prepares("transaction") else "") as pooler:
        migrate(pooler.urls)
        url = pooler.urls["DATABASE_URL"]

        async def probe() -> None:
            pool = statements.pool(url, 1, session_settings.configure)
            async with await PostgresConnection.connect(url, **pool.options) as connection:
                served_by = await session_settings.configure(connection)
                with psycopg.connect(url) as other:
                    assert other.execute("select pg_backend_pid()").fetchone() == (served_by,)
                    with pytest.raises(RejectedError):
                        await check_prepared(pool, connection, {served_by})

        asyncio.run(probe())


def test_prepared_statements_in_session_mode(start: Start, database: psycopg.Connection) -> None:
    """In session mode statements are prepared."""
    with start("session") as pooler:
        migrate(pooler.urls)
        with running(pooler.urls, DATABASE_PREPARE="yes") as service:
            check_operations(service, database)


def test_statement_mode_is_refused(start: Start) -> None:
    """A pool_mode without transactions is refused."""
    with start("statement") as pooler:
        expected = "has no transactions: set pool_mode to transaction or session"
        assert _refusal(pooler.urls) == f"the connection pooler of DATABASE_URL {expected}"


def test_options_that_a_pooler_drops_are_refused(start: Start) -> None:
    """Options of libpq, which PgBouncer refuses or drops, stop the start by their name."""
    with start("transaction", "ignore_startup_parameters = options") as pooler:
        migrate(pooler.urls)
        url = {"DATABASE_URL": pooler.urls["DATABASE_URL"] + "&options=-csearch_path%3Dother"}
        assert _refusal({**pooler.urls, **url}).startswith('DATABASE_URL has the option "options", which its')
        for variable, value in (("PGOPTIONS", "-csearch_path=other"), ("PGTZ", "Asia/Kolkata")):
            line = _refusal(pooler.urls, **{variable: value})
            assert line == f"{variable} must not be set: DATABASE_URL leads to a connection pooler"
    with start("transaction") as pooler:
        url = {"DATABASE_URL": pooler.urls["DATABASE_URL"] + "&options=-csearch_path%3Dother"}
        assert _refusal({**pooler.urls, **url}).startswith(
            "DATABASE_URL has a value that PostgreSQL rejects for"
        )


def test_the_schema_is_that_of_the_migration(start: Start, fresh_database: Urls) -> None:
    """Behind PgBouncer the schema is named in MIGRATION_DATABASE_URL, and is stored for the role."""
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("create schema other")
        direct = with_options(fresh_database, "-csearch_path=other")["MIGRATION_DATABASE_URL"]
        with start("transaction") as pooler:
            migrate({**pooler.urls, "MIGRATION_DATABASE_URL": direct})
            with running(pooler.urls) as service:
                session_id = service.start()["id"]
        assert owner.execute("select id::text from other.quiz_sessions").fetchall() == [(session_id,)]


def test_bin_migrate_needs_a_direct_connection(start: Start) -> None:
    """bin/migrate through PgBouncer is refused with one line."""
    with start("transaction") as pooler:
        urls = {**pooler.urls, "MIGRATION_DATABASE_URL": pooler.urls["DATABASE_URL"]}
        line = _refusal(urls, "session_service.storage.migrations")
        assert line == "bin/migrate needs a direct connection to PostgreSQL: set MIGRATION_DATABASE_URL to it"


def test_bin_migrate_ends_only_older_connections(start: Start) -> None:
    """A second bin/migrate finds nothing to do, and ends no connection."""
    with start("session") as pooler:
        migrate(pooler.urls)
        with psycopg.connect(pooler.urls["DATABASE_URL"], autocommit=True) as kept:
            kept.execute("select 1")
            migrate(pooler.urls)
            assert kept.execute("select 1").fetchone() == (1,)


def test_bin_migrate_fails_until_older_connections_have_ended(
    start: Start, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an older connection is in a transaction, bin/migrate fails each time, and so does the service."""
    monkeypatch.setattr(pooled_roles, "PATIENCE", 1)
    with start("transaction") as pooler:
        with psycopg.connect(pooler.urls["DATABASE_URL"]) as early:
            early.execute("select 1")
            for _ in range(2):
                with pytest.raises(SettingError, match="has connections in use from before"):
                    migrate(pooler.urls)
                database.execute(END_IDLE)
            assert _refusal(pooler.urls).endswith("its role lacks (enable_seqscan): run bin/migrate")
        migrate(pooler.urls)
        with running(pooler.urls) as service:
            service.start()


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_bin_fence_works_after_bin_migrate(start: Start, mode: str) -> None:
    """bin/migrate leaves no connection of the service's role in PgBouncer, so that bin/fence may follow."""
    with start(mode) as pooler:
        for _ in range(2):
            migrate(pooler.urls)
            assert run_fence(pooler.urls).stderr == ""


def test_bin_fence_names_the_connections_of_a_pooler(start: Start) -> None:
    """With connections that PgBouncer has kept, bin/fence names RECONNECT, after which it works."""
    with start("transaction") as pooler:
        migrate(pooler.urls)
        _shown(pooler, "timezone")
        (line,) = run_fence(pooler.urls).stderr.splitlines()
        assert line.endswith("if PgBouncer keeps them (server_idle_timeout), run RECONNECT in its console")
        pooler.execute("reconnect")
        assert run_fence(pooler.urls).stderr == ""


def test_bin_webhooks_needs_a_direct_connection(start: Start, tmp_path: Path) -> None:
    """bin/webhooks is refused with one line; its other commands work."""
    file = tmp_path / "webhooks.json"
    file.write_text(json.dumps({"one": webhooks.local("http://127.0.0.1:1/")}))
    with start("transaction") as pooler:
        migrate(pooler.urls)
        env = {**pooler.urls, "WEBHOOKS_FILE": str(file)}
        line = _refusal(env, "session_service.webhooks")
        assert line.startswith("webhooks need a direct connection to PostgreSQL: set DATABASE_URL to it")
        status = webhooks.command(pooler.urls, "--status")
        assert (status.returncode, status.stderr) == (1, "session-service: no process sends webhooks\n")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_commands_work(start: Start, mode: str) -> None:
    """bin/export and bin/erase work through PgBouncer, and leave no setting behind."""
    with start(mode, "default_pool_size = 1" if mode == "transaction" else "") as pooler:
        migrate(pooler.urls)
        user = new_user()
        with running(pooler.urls) as service:
            service.start(user_id=user)
        status, output, messages = run_export(pooler.urls, "--user-id", user, "--format", "ndjson")
        assert status == 0, messages
        assert json.loads(output)["user_id"] == user
        erased = run_erase(pooler.urls, "--user", user)
        assert (erased.returncode, erased.stdout.splitlines()[-1]) == (0, "erased 1 sessions"), erased.stderr
        assert _shown(pooler, "statement_timeout", "ERASE_DATABASE_URL") == "5s"


def test_retention_works(start: Start, database: psycopg.Connection) -> None:
    """RETENTION_DAYS erases through PgBouncer."""
    with start("transaction") as pooler:
        migrate(pooler.urls)
        with running(pooler.urls) as service:
            session_id = service.start()["id"]
            service.complete(session_id)
        names = ("started_at", "expires_at", "closes_at", "completed_at")
        moved = ", ".join(f"{name} = {name} - interval '2 days'" for name in names)
        database.execute(f"update quiz_sessions set {moved}")  # noqa: S608 - names in the test
        with running(pooler.urls, RETENTION_DAYS="1") as service:
            eventually(lambda: service.read(session_id, {"cache-control": "no-cache"}).status_code == 404)


def test_postgresql_is_restarted_behind_it(start: Start, database: psycopg.Connection) -> None:
    """Connections to PostgreSQL that end behind PgBouncer fail no later request."""
    with start("transaction") as pooler:
        migrate(pooler.urls)
        with running(pooler.urls) as service:
            session_id = service.start()["id"]
            close_connections(database)
            eventually(lambda: service.save(session_id, 1, "x").status_code == 200)
            assert service.read(session_id, {"cache-control": "no-cache"}).json()["answers"] == {"1": "x"}


def test_the_end_of_a_service_leaves_the_pooler_running(start: Start) -> None:
    """A service that ends while it has statements in flight does not end PgBouncer for others."""
    with start("session") as pooler:
        migrate(pooler.urls)
        for _ in range(6):
            with running(pooler.urls) as service:
                service.start()
            assert _shown(pooler, "statement_timeout") == "5s"


def _shown(pooler: Pooler, name: str, url: str = "DATABASE_URL") -> str:
    with psycopg.connect(pooler.urls[url]) as client:
        (value,) = client.execute(f"show {name}").fetchone() or ("",)
        return str(value)
