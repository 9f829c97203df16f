"""The role of ERASE_DATABASE_URL: its privileges, and the checks of the start."""

import asyncio

import psycopg
import pytest

from session_service.storage import migrations
from tests.conftest import Urls
from tests.support.service import failed_start, running

DENIED = [
    "select answers from quiz_sessions",
    "select annotations from quiz_sessions",
    "select metadata from quiz_sessions",
    "select data from session_events",
    "update quiz_sessions set answers = '{}'",
    "update quiz_sessions set status = 'completed'",
    "update session_events set data = '{}'",
    "insert into quiz_sessions (id) values (gen_random_uuid())",
    "select from quiz_orders",
    "select value from installation_secrets",
    "delete from schema_migrations",
    "delete from event_feeds",
    "truncate quiz_sessions",
    "create table note (text text)",
]


@pytest.mark.parametrize("statement", DENIED)
def test_unneeded_statements_are_denied(migrated: Urls, statement: str) -> None:
    """The role that erases cannot read answers, change sessions, or touch other tables."""
    with (
        psycopg.connect(migrated["ERASE_DATABASE_URL"], autocommit=True) as eraser,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        eraser.execute(statement)


def test_the_role_has_only_the_rights_to_erase(migrated: Urls, database: psycopg.Connection) -> None:
    """The role deletes sessions, lines and places in the feed, adds lines, and updates no whole row."""
    del migrated
    query = (
        "select table_name, privilege_type from information_schema.role_table_grants "
        "where grantee = 'session_eraser'"
    )
    assert sorted(database.execute(query)) == [
        ("event_feeds", "SELECT"),
        ("event_positions", "DELETE"),
        ("quiz_sessions", "DELETE"),
        ("session_events", "DELETE"),
        ("session_events", "INSERT"),
        ("unplaced_events", "DELETE"),
        ("unplaced_events", "INSERT"),
    ]


def test_a_missing_right_stops_the_start(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """Without a right that erasing needs the service does not start, and names each of them."""
    urls, operator = migrated_database
    operator.execute("revoke delete on session_events from session_eraser")
    operator.execute("revoke update (version) on quiz_sessions from session_eraser")
    line = "lacks rights (update on quiz_sessions(version), delete on session_events): run bin/migrate"
    assert line in failed_start(urls)
    operator.execute("grant delete on session_events to session_eraser")
    operator.execute("grant update (version) on quiz_sessions to session_eraser")
    with running(urls):
        pass


def test_the_start_names_the_rights_before_a_migration_for_the_role(fresh_database: Urls) -> None:
    """If bin/migrate ran without ERASE_DATABASE_URL, the start says to run it again."""
    owner, service = (fresh_database[name] for name in ("MIGRATION_DATABASE_URL", "DATABASE_URL"))
    asyncio.run(migrations.migrate(owner, service_url=service))
    output = failed_start(fresh_database)
    assert "the role of ERASE_DATABASE_URL lacks rights (select on quiz_sessions(id), " in output


def test_another_database_stops_the_start(
    migrated: Urls, migrated_database: tuple[Urls, psycopg.Connection]
) -> None:
    """A role for another database than that of the service would erase nothing: the start fails."""
    urls = {**migrated, "ERASE_DATABASE_URL": migrated_database[0]["ERASE_DATABASE_URL"]}
    assert "ERASE_DATABASE_URL leads to another database than DATABASE_URL" in failed_start(urls)
