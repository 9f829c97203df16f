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

NAMES = sorted(path.stem for path in FOLDER.glob("*.sql"))[1:]


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
