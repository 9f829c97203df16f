"""Migrations outside of a transaction: indexes that are built while the service works."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from dev.reaper import ROOT
from session_service.storage import migrations
from session_service.storage.migrations import FOLDER, NO_TRANSACTION
from tests.conftest import Urls, migrate
from tests.storage.test_migrations import folder_until
from tests.support.service import running
from tests.support.waiting import eventually

LAST = "0008"
LATER = sorted(path.stem for path in FOLDER.glob("*.sql") if path.stem[:4] > LAST)
BUILDS = [name for name in LATER if (FOLDER / f"{name}.sql").read_text().startswith(NO_TRANSACTION)]
INDEXES = (
    "select indexrelid::regclass::text, indisvalid from pg_index where indrelid = 'quiz_sessions'::regclass"
)
OTHERS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
BUILDING = f"{OTHERS} and query like '%create index concurrently%'"
WAITING = f"{OTHERS} and query like '%advisory_lock%'"


def _indexes(owner: psycopg.Connection) -> dict[str, bool]:
    """Return the indexes of the sessions, and whether each of them is complete."""
    return {str(name): bool(valid) for name, valid in owner.execute(INDEXES).fetchall()}


@contextmanager
def _held_build(url: str, owner: psycopg.Connection) -> Iterator[None]:
    """Keep the first build from its end until the block ends: it waits for a transaction that may write."""
    with psycopg.connect(url) as holder:
        holder.execute("lock table quiz_sessions in row exclusive mode")
        yield
        assert False in _indexes(owner).values()


@pytest.fixture
def owner(fresh_database: Urls, tmp_path: Path) -> Iterator[psycopg.Connection]:
    """A connection to a database without the indexes."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    asyncio.run(migrations.migrate(url, folder_until(LAST, tmp_path)))
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("backend", ["ends, too", "goes on"])
def test_an_interrupted_build_is_finished_by_the_next_run(
    fresh_database: Urls, owner: psycopg.Connection, backend: str
) -> None:
    """After SIGKILL in the middle of a build the next run finishes it, also if PostgreSQL has gone on."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with _held_build(url, owner):
        command = [sys.executable, "-m", "session_service.storage.migrations"]
        runner = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **fresh_database})
        eventually(lambda: False in _indexes(owner).values())
        runner.kill()
        runner.wait()
        if backend == "ends, too":
            for (pid,) in owner.execute(BUILDING).fetchall():
                owner.execute("select pg_terminate_backend(%s)", [pid])
            eventually(lambda: owner.execute(BUILDING).fetchall() == [])
    assert asyncio.run(migrations.migrate(url)) == LATER
    assert set(_indexes(owner).values()) == {True}
    assert {"quiz_sessions_running_by_quiz", "quiz_sessions_ended_by_quiz"} <= set(_indexes(owner))


def test_of_two_runs_one_waits_for_the_builds_of_the_other(
    fresh_database: Urls, owner: psycopg.Connection
) -> None:
    """A run that begins during a build waits, and applies nothing; neither fails."""
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with ThreadPoolExecutor(2) as runners:
        with _held_build(url, owner):
            first, second = (runners.submit(lambda: asyncio.run(migrations.migrate(url))) for _ in range(2))
            eventually(lambda: False in _indexes(owner).values())
            eventually(lambda: len(owner.execute(WAITING).fetchall()) == 1)
        assert sorted([first.result(), second.result()]) == [[], LATER]
    assert set(_indexes(owner).values()) == {True}


def test_sessions_start_and_are_saved_during_a_build(fresh_database: Urls) -> None:
    """While an index is built, sessions are started, saved, ordered and completed."""
    migrate(fresh_database)
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with (
        psycopg.connect(url, autocommit=True) as owner,
        running(fresh_database) as service,
        ThreadPoolExecutor(1) as runner,
    ):
        owner.execute("drop index quiz_sessions_running_by_quiz, quiz_sessions_ended_by_quiz")
        owner.execute("delete from schema_migrations where name = any(%s)", [BUILDS])
        session_id = service.start()["id"]
        with _held_build(url, owner):
            run = runner.submit(lambda: asyncio.run(migrations.migrate(url)))
            eventually(lambda: False in _indexes(owner).values())
            later = service.start()["id"]
            for one in (session_id, later):
                assert service.save(one, 1, "x").status_code == 200
            assert service.complete(later).status_code == 200
            # The build may wait for longer than a request for a lock.
            owner.execute("select pg_sleep(2.5)")
        assert run.result() == BUILDS
        assert service.save(session_id, 2, "y").status_code == 200
        assert service.complete(session_id).json()["answers"] == {"1": "x", "2": "y"}
        # The new index has the sessions from before and from during its build.
        counts = service.client.get("/api/sessions", params={"quiz_id": "7"}).json()["counts"]
        assert counts["completed"] == 2


def test_an_index_of_later_releases_is_built_outside_of_a_transaction() -> None:
    """A file that builds an index concurrently says so in its first line, and repeats the build."""
    texts = {file.stem: file.read_text() for file in FOLDER.glob("*.sql")}
    built = {name: text for name, text in texts.items() if "create index concurrently" in text}
    assert len(built) >= 2
    assert [name for name, text in built.items() if not text.startswith(NO_TRANSACTION)] == []
    assert [name for name, text in built.items() if "drop index concurrently if exists" not in text] == []
