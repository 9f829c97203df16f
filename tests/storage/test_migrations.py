"""Migrations: each file is applied once and in order, also by concurrent runs."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from session_service.storage import migrations
from session_service.storage.migrations import FOLDER, MigrationError
from tests.conftest import Urls
from tests.support.journal import page
from tests.support.service import running

INSERT_OF_CONTRACT_1 = """
    insert into quiz_sessions
      (id, user_id, quiz_id, status, started_at, expires_at, last_saved_at, completed_at, created_at,
       updated_at, recent_writes, start_key, start_digest)
    select
      gen_random_uuid(), 'ada', 2147483647, status, t, t + interval '1 hour', t,
      case when status = 'completed' then t end, t, t, array['k digest'], status, 'digest'
    from (values ('in_progress'), ('completed'), ('expired')) as v (status), (select now()) as n (t)
"""
NAMES = sorted(path.stem for path in FOLDER.glob("*.sql"))[1:]


def folder_until(last: str, parent: Path) -> Path:
    """Return a new folder with the migrations up to the one whose name begins so."""
    folder = parent / "until"
    folder.mkdir()
    for file in FOLDER.glob("*.sql"):
        if file.name[:4] <= last:
            shutil.copy(file, folder)
    return folder


def test_each_migration_is_applied_once(fresh_database: Urls) -> None:
    """The first run applies all migrations, the second none."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    assert asyncio.run(migrations.migrate(url)) == NAMES
    assert asyncio.run(migrations.migrate(url)) == []


def test_concurrent_runs_apply_each_migration_once(fresh_database: Urls) -> None:
    """Of concurrent runs, one applies each migration, and none fails."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with ThreadPoolExecutor(8) as runners:
        done = list(runners.map(lambda _: asyncio.run(migrations.migrate(url)), range(8)))
    assert sorted(name for names in done for name in names) == NAMES


def test_a_changed_migration_is_rejected(fresh_database: Urls, tmp_path: Path) -> None:
    """A migration that was changed after it was applied stops the run."""
    folder = shutil.copytree(FOLDER, tmp_path / "schema")
    url = fresh_database["MIGRATION_DATABASE_URL"]
    asyncio.run(migrations.migrate(url, folder))
    (folder / f"{NAMES[0]}.sql").write_text("select 1;")
    with pytest.raises(MigrationError, match=f"{NAMES[0]}.sql was changed"):
        asyncio.run(migrations.migrate(url, folder))


def test_a_failed_migration_is_rolled_back(fresh_database: Urls, tmp_path: Path) -> None:
    """A migration that fails has no effect, and the ones before it stay applied."""
    folder = shutil.copytree(FOLDER, tmp_path / "schema")
    (folder / "9999_fails.sql").write_text("create table half_made (id integer); select 1 / 0;")
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with pytest.raises(psycopg.errors.DivisionByZero):
        asyncio.run(migrations.migrate(url, folder))
    with psycopg.connect(url) as connection:
        assert connection.execute("select to_regclass('half_made')").fetchone() == (None,)
        rows = connection.execute("select name from schema_migrations order by name").fetchall()
    assert [name for (name,) in rows] == NAMES


def test_rows_of_contract_1_keep_their_meaning(fresh_database: Urls, tmp_path: Path) -> None:
    """An integer id stays that integer, a session closes when it expires, ended ones keep no digest."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    asyncio.run(migrations.migrate(url, folder_until("0002", tmp_path)))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(INSERT_OF_CONTRACT_1)
        assert asyncio.run(migrations.migrate(url)) == NAMES[2:]
        rows = connection.execute("""
            select
              status, ended_by, quiz_id, current_question, closes_at = expires_at, start_key,
              start_digest, annotations, metadata, on_expiry, grace_seconds, late_saves, attempt,
              max_attempts, time_factor
            from quiz_sessions
            order by status
        """).fetchall()
        storage = connection.execute("""
            select reloptions, attcompression::text
            from pg_class as c
            join pg_attribute on attrelid = c.oid
            where c.oid = 'quiz_sessions'::regclass and attname = 'answers'
        """).fetchone()
    same: tuple[object, ...] = ({}, {}, "expire", 0, 0, None, None, 1.0)
    assert rows == [
        ("completed", "learner", "2147483647", "0", True, "completed", None, *same),
        ("expired", "deadline", "2147483647", "0", True, "expired", None, *same),
        ("in_progress", None, "2147483647", "0", True, "in_progress", "digest", *same),
    ]
    assert storage in [(["fillfactor=85"], "l"), (["fillfactor=85"], "")]


def test_the_digest_key_migration_deletes_unkeyed_digests(fresh_database: Urls, tmp_path: Path) -> None:
    """The migration that generates the key deletes the digests of ended sessions, which had none."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    asyncio.run(migrations.migrate(url, folder_until("0001", tmp_path)))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(INSERT_OF_CONTRACT_1)
        asyncio.run(migrations.migrate(url))
        rows = connection.execute(
            "select status, recent_writes from quiz_sessions order by status"
        ).fetchall()
    assert rows == [("completed", []), ("expired", []), ("in_progress", ["k digest"])]


def test_sessions_before_the_journal_have_no_lines(fresh_database: Urls, tmp_path: Path) -> None:
    """A session of the schema before is served as it is, and its history begins with its next change."""
    owner_url, service_url = (fresh_database[name] for name in ("MIGRATION_DATABASE_URL", "DATABASE_URL"))
    asyncio.run(migrations.migrate(owner_url, folder_until("0002", tmp_path)))
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(INSERT_OF_CONTRACT_1)
        asyncio.run(migrations.migrate(owner_url, service_url=service_url))
        rows = connection.execute("select status, id::text from quiz_sessions").fetchall()
        compressed = connection.execute("""
            select attname, attcompression::text from pg_attribute
            where (attrelid, attname) in (
              ('quiz_sessions'::regclass, 'answers'), ('session_events'::regclass, 'data')
            )
        """).fetchall()
    ids = {str(status): session_id for status, session_id in rows}
    # A server may be built without lz4: then neither has a method of its own.
    assert len({method for _, method in compressed}) == 1
    assert len(compressed) == 2
    with running(fresh_database, ERASE_DATABASE_URL="") as service:
        for session_id in ids.values():
            before = page(service, session_id)
            assert (before["items"], before["version"], before["first_version"]) == ([], 1, None)
        assert service.save(ids["in_progress"], 1, "x").status_code == 200
        after = page(service, ids["in_progress"])
    assert [line["version"] for line in after["items"]] == [2]
    assert (after["version"], after["first_version"]) == (2, 2)


def test_constraint_names_begin_with_their_table(fresh_database: Urls) -> None:
    """Constraints have explicit names, so that an error in the log identifies the table."""
    asyncio.run(migrations.migrate(fresh_database["MIGRATION_DATABASE_URL"]))
    query = """
        select conrelid::regclass::text, conname from pg_constraint
        where connamespace = 'public'::regnamespace and contype <> 'n'
    """
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as connection:
        found = connection.execute(query).fetchall()
    assert len(found) >= 10
    assert [name for table, name in found if not name.startswith(f"{table}_")] == []
