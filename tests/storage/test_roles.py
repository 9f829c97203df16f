"""Database roles: the privileges of the service, and those of the owner of the tables."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import yaml

from dev import servers
from dev.reaper import ROOT
from session_service.environment import SettingError
from session_service.settings import Settings, migration_database_url
from session_service.storage import migrations
from session_service.storage.migrations import MigrationError
from tests.conftest import Urls, migrate
from tests.support.service import failed_start, folder, running
from tests.support.waiting import eventually

FORBIDDEN = [
    "delete from quiz_sessions",
    "truncate quiz_sessions",
    "delete from quiz_orders",
    "drop table quiz_sessions",
    "delete from session_events",
    "update session_events set data = '{}'",
    "insert into session_events table session_events on conflict (session_id, version) do update set type=''",
    "truncate session_events",
    "drop table session_events",
    "alter table session_events disable trigger all",
    "select from session_events for update",
    "alter table quiz_sessions add column note text",
    "create index on quiz_sessions (status)",
    "create trigger t before update on quiz_sessions execute function suppress_redundant_updates_trigger()",
    "create table note (text text)",
    "create schema mine",
    "create function one() returns integer language sql as 'select 1'",
    "update installation_secrets set value = 'x'",
    "insert into schema_migrations (name, checksum) values ('9999_mine', 'x')",
    "update schema_migrations set checksum = 'x'",
    "copy quiz_sessions to program 'cat'",
    "copy quiz_sessions to '/tmp/quiz_sessions'",
    "select rolpassword from pg_authid",
    "select pg_read_file('postgresql.conf')",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'",
    "create role other",
    "alter role session_service superuser",
    "set role app",
    "create database other",
    "alter system set fsync = off",
]
WARNING = "session-service: its role can drop its tables"


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_unneeded_statements_are_denied(migrated: Urls, statement: str) -> None:
    """The role of the service cannot delete rows, change tables, create objects or read other data."""
    with (
        psycopg.connect(migrated["DATABASE_URL"], autocommit=True) as service,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        service.execute(statement)


def test_the_role_has_only_the_needed_privileges(migrated: Urls, database: psycopg.Connection) -> None:
    """The role writes sessions, orders and webhooks, adds to the journal and the feed, and reads the rest."""
    query = (
        "select table_name, privilege_type from information_schema.role_table_grants "
        "where grantee = 'session_service'"
    )
    migrate(migrated)
    assert sorted(database.execute(query)) == [
        ("event_feeds", "SELECT"),
        ("event_feeds", "UPDATE"),
        ("event_positions", "DELETE"),
        ("event_positions", "INSERT"),
        ("event_positions", "SELECT"),
        ("fences", "SELECT"),
        ("installation_secrets", "SELECT"),
        ("quiz_orders", "INSERT"),
        ("quiz_orders", "SELECT"),
        ("quiz_orders", "UPDATE"),
        ("quiz_sessions", "INSERT"),
        ("quiz_sessions", "SELECT"),
        ("quiz_sessions", "UPDATE"),
        ("schema_migrations", "SELECT"),
        ("session_events", "INSERT"),
        ("session_events", "SELECT"),
        ("unplaced_events", "DELETE"),
        ("unplaced_events", "INSERT"),
        ("unplaced_events", "SELECT"),
        ("webhook_deliveries", "DELETE"),
        ("webhook_deliveries", "INSERT"),
        ("webhook_deliveries", "SELECT"),
        ("webhook_deliveries", "UPDATE"),
        ("webhook_endpoints", "DELETE"),
        ("webhook_endpoints", "INSERT"),
        ("webhook_endpoints", "SELECT"),
        ("webhook_endpoints", "UPDATE"),
    ]


def test_tables_of_other_databases_are_not_readable(fresh_database: Urls) -> None:
    """The role cannot read the tables of other databases on the server."""
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as other:
        other.execute("create table secrets (text text)")
    with (
        psycopg.connect(fresh_database["DATABASE_URL"]) as service,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        service.execute("select * from secrets")


def test_postgresql_logs_no_password() -> None:
    """A new role gets the password of the URL, which does not appear in the log of PostgreSQL."""
    password = f"secret {uuid4()}"
    with folder() as base, servers.postgres(base, servers.postgres_homes()[0], base) as server:
        with psycopg.connect(server.owner_url, autocommit=True) as owner:
            owner.execute("alter system set log_statement = 'all'")
            owner.execute("alter system set log_min_duration_statement = 0")
            owner.execute("select pg_reload_conf()")
        url = f"postgresql://quizzes:{password.replace(' ', '%20')}@/postgres?host={base}"
        for _ in range(2):
            asyncio.run(migrations.migrate(server.owner_url, service_url=url))
        _require_passwords(base, server.owner_url)
        with psycopg.connect(url) as service:
            service.execute("select from quiz_sessions")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace("secret", "guess"))
        log = (base / "postgres.log").read_text()
    assert "create role" in log
    assert "quizzes" in log
    assert password not in log


def test_concurrent_migrations_share_the_role(fresh_database: Urls) -> None:
    """Concurrent migrations of two databases use the role that one of them creates."""
    role, url = f"role_{uuid4().hex}", fresh_database["MIGRATION_DATABASE_URL"]
    waiting = "select count(*) from pg_locks where not granted"
    with psycopg.connect(url, autocommit=True) as owner, ThreadPoolExecutor(1) as runner:
        with owner.transaction(), psycopg.connect(url, autocommit=True) as observer:
            owner.execute(f"create role {role} login")
            done = runner.submit(asyncio.run, migrations.migrate(url, service_url=_as(role, url)))
            eventually(lambda: observer.execute(waiting).fetchone() == (1,))
        done.result()
        with psycopg.connect(_as(role, url)) as service:
            assert service.execute("select name from schema_migrations").fetchall() != []
        owner.execute(f"drop owned by {role}")
        owner.execute(f"drop role {role}")


def test_an_owner_without_createrole_uses_an_existing_role(fresh_database: Urls) -> None:
    """Without CREATEROLE, the owner grants privileges to an existing role, or fails with one line."""
    owner = f"owner_{uuid4().hex}"
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as superuser:
        superuser.execute(f"create role {owner} login")
        superuser.execute(f"grant create on schema public to {owner}")
        with pytest.raises(MigrationError, match="role of DATABASE_URL cannot be let in: permission denied"):
            asyncio.run(migrations.migrate(_as(owner, url), service_url=_as("nobody", url)))
        asyncio.run(migrations.migrate(_as(owner, url), service_url=fresh_database["DATABASE_URL"]))
        with psycopg.connect(fresh_database["DATABASE_URL"]) as service:
            service.execute("select from quiz_sessions for update")
        superuser.execute(f"drop owned by {owner}")
        superuser.execute(f"drop role {owner}")


def test_a_service_with_the_privileges_of_the_owner_logs_a_warning(migrated: Urls) -> None:
    """A service with the owner's role logs one warning at its start; one with its own role logs none."""
    owner = {**migrated, "DATABASE_URL": migrated["MIGRATION_DATABASE_URL"]}
    with running(owner) as privileged, running(migrated) as restricted:
        assert privileged.log.read_text().count(WARNING) == 1
        assert WARNING not in restricted.log.read_text()


def test_a_service_without_privileges_does_not_start(fresh_database: Urls) -> None:
    """A service that cannot read its tables does not start, and the error says to run bin/migrate."""
    asyncio.run(migrations.migrate(fresh_database["MIGRATION_DATABASE_URL"]))
    message = "cannot start: the role of DATABASE_URL may not read the tables: run bin/migrate"
    assert message in failed_start(fresh_database)


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"DATABASE_URL": "postgres://a"}, "postgres://a"),
        ({"DATABASE_URL": "postgres://a", "MIGRATION_DATABASE_URL": ""}, "postgres://a"),
        ({"DATABASE_URL": "postgres://a", "MIGRATION_DATABASE_URL": "postgres://b"}, "postgres://b"),
    ],
)
def test_migration_database_url_overrides_database_url(env: Urls, url: str) -> None:
    """Migrations use MIGRATION_DATABASE_URL, or DATABASE_URL if it is not set."""
    assert migration_database_url(env) == url


def test_an_invalid_migration_database_url_is_rejected() -> None:
    """An invalid MIGRATION_DATABASE_URL is rejected by name, without its value."""
    with pytest.raises(SettingError, match=r"^MIGRATION_DATABASE_URL must be") as error:
        migration_database_url({"DATABASE_URL": "postgres://a", "MIGRATION_DATABASE_URL": "mysql://secret@b"})
    assert "secret" not in str(error.value)


def test_docker_compose_keeps_the_owner_from_the_service() -> None:
    """In docker-compose.yml the service has valid settings and no password of the owner."""
    text = (ROOT / "docker-compose.yml").read_text()
    passwords = {"POSTGRES_PASSWORD": "owner", "SERVICE_PASSWORD": "service"}
    filled = re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda found: passwords.get(found[1], found[2]), text)
    services = yaml.safe_load(filled)["services"]
    serves, migrates = services["service"]["environment"], services["migrate"]["environment"]
    image = re.findall(r"(HOST|PORT)=(\S+)", (ROOT / "Dockerfile").read_text())
    settings = Settings.read({name: str(value or "") for name, value in [*serves.items(), *image]})
    assert settings.database_url == "postgresql://session_service:service@postgres/session"
    assert "owner" not in str(serves.values())
    assert migration_database_url(migrates) == "postgresql://session:owner@postgres/session"


def _as(role: str, url: str) -> str:
    return url.replace("app@", f"{role}@")


def _require_passwords(base: Path, owner_url: str) -> None:
    """Change pg_hba.conf to trust the owner only."""
    (rules,) = base.glob("data-*/pg_hba.conf")
    rules.write_text("local all app trust\nlocal all all scram-sha-256\n")
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute("select pg_reload_conf()")
