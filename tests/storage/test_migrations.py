"""The migration runner: each file once, in order, whatever else runs."""

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


def test_each_file_is_applied_once(fresh_database: Urls) -> None:
    """The first run applies everything, the second nothing."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    assert asyncio.run(migrations.migrate(url)) == NAMES
    assert asyncio.run(migrations.migrate(url)) == []


def test_runners_at_the_same_time_share_the_work(fresh_database: Urls) -> None:
    """However many instances migrate at once, each file is applied by one of them, and none fails."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with ThreadPoolExecutor(8) as runners:
        done = list(runners.map(lambda _: asyncio.run(migrations.migrate(url)), range(8)))
    assert sorted(name for names in done for name in names) == NAMES


def test_a_file_that_was_changed_is_refused(fresh_database: Urls, tmp_path: Path) -> None:
    """History is not rewritten: what was applied stays as it was, and a change needs a file of its own."""
    folder = shutil.copytree(FOLDER, tmp_path / "schema")
    url = fresh_database["MIGRATION_DATABASE_URL"]
    asyncio.run(migrations.migrate(url, folder))
    (folder / f"{NAMES[0]}.sql").write_text("select 1;")
    with pytest.raises(MigrationError, match=f"{NAMES[0]}.sql was changed"):
        asyncio.run(migrations.migrate(url, folder))


def test_a_file_that_fails_leaves_nothing_behind(fresh_database: Urls, tmp_path: Path) -> None:
    """A file is applied whole or not at all, and the ones before it stay applied."""
    folder = shutil.copytree(FOLDER, tmp_path / "schema")
    (folder / "9999_fails.sql").write_text("create table half_made (id integer); select 1 / 0;")
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with pytest.raises(psycopg.errors.DivisionByZero):
        asyncio.run(migrations.migrate(url, folder))
    with psycopg.connect(url) as connection:
        assert connection.execute("select to_regclass('half_made')").fetchone() == (None,)
        rows = connection.execute("select name from schema_migrations order by name").fetchall()
    assert [name for (name,) in rows] == NAMES


def test_every_constraint_and_index_carries_its_table_in_its_name(fresh_database: Urls) -> None:
    """Constraints are named by hand: an error in a log says what was broken."""
    asyncio.run(migrations.migrate(fresh_database["MIGRATION_DATABASE_URL"]))
    query = """
        select conrelid::regclass::text, conname from pg_constraint
        where connamespace = 'public'::regnamespace and contype <> 'n'
    """
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as connection:
        found = connection.execute(query).fetchall()
    assert len(found) >= 10
    assert [name for table, name in found if not name.startswith(f"{table}_")] == []
