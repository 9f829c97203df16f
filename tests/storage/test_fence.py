"""bin/fence: after a restore no version that was shown before it means another content."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from dev.reaper import ROOT
from session_service.storage.fence_command import MAX_VERSION, STEP
from tests.conftest import Urls
from tests.support.feed import PATH, await_events, newest, of_sessions
from tests.support.journal import JUMP, lines, replayed, shown
from tests.support.orders import given
from tests.support.service import failed_start, running
from tests.support.waiting import eventually
from tests.support.webhooks import local

MANY = """
    insert into quiz_sessions (id, user_id, quiz_id, started_at, last_saved_at, created_at, updated_at)
    select gen_random_uuid(), 'ada', '7', now(), now(), now(), now()
    from generate_series(1, %s)
"""
VERSIONS = "select version, count(*)::integer from quiz_sessions group by version order by version"
FENCED = """
    select count(*)::integer, count(distinct session_id)::integer
    from session_events
    where type = 'session.fenced'
"""
HOLD = """
    select from quiz_sessions
    where id = (select id from quiz_sessions order by id offset %s limit 1)
    for update
"""
HELD = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%%fence_sessions%%'"

Database = tuple[Urls, psycopg.Connection]


def run_fence(urls: Urls, *arguments: str, command: str = "") -> subprocess.CompletedProcess[str]:
    """Run bin/fence with the settings."""
    words = [command] if command else [sys.executable, "-m", "session_service.storage.fence_command"]
    return subprocess.run(
        [*words, *arguments],
        cwd=ROOT,
        env={**os.environ, **urls},
        capture_output=True,
        text=True,
        check=False,
    )


def _refusal(urls: Urls, *arguments: str) -> str:
    """Return the one line with which the command fails."""
    done = run_fence(urls, *arguments)
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def many(migrated_database: Database) -> Database:
    """A database with sessions for several steps."""
    urls, database = migrated_database
    database.execute(MANY, [2 * STEP + STEP // 2])
    return urls, database


@pytest.fixture
def interrupted(many: Database) -> Database:
    """The same, after a run that was killed in its second step."""
    urls, database = many
    command = [sys.executable, "-m", "session_service.storage.fence_command"]
    with psycopg.connect(database.info.dsn, password=database.info.password) as holder:
        holder.execute(HOLD, [STEP + 1])
        runner = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **urls})
        (pid,) = eventually(lambda: database.execute(HELD).fetchone()) or ()
        runner.kill()
        runner.wait()
        database.execute("select pg_terminate_backend(%s)", [pid])
        eventually(lambda: not database.execute(HELD).fetchall())
    assert database.execute(VERSIONS).fetchall() == [(1, STEP + STEP // 2), (1 + JUMP, STEP)]
    return many


def test_every_session_gets_a_version_that_was_never_shown(migrated_database: Database) -> None:
    """Each session, also one that has ended, has a version a million higher, with a line in its journal."""
    urls, _ = migrated_database
    with running(urls) as service:
        one, paused, completed, expired = (str(service.start()["id"]) for _ in range(4))
        service.save(one, 1, "x")
        given(service, "pause", paused)
        service.complete(completed)
        given(service, "deadline", expired, expires_at="2000-01-01T00:00:00Z")
        before = {session: shown(service, session) for session in (one, paused, completed, expired)}
        cursor = newest(service)
    done = run_fence(urls, command="bin/fence")
    assert (done.returncode, done.stderr) == (0, "")
    with running(urls) as service:
        for session, old in before.items():
            now = shown(service, session)
            assert now == old | {"version": old["version"] + JUMP, "updated_at": now["updated_at"]}
            assert replayed(session, lines(service, session)) == now
            etag = {"if-none-match": f'"{old["version"]}"'}
            assert service.read(session, etag).status_code in (200, 410)
        assert service.save(one, 1, "y", version=before[one]["version"]).status_code == 409
        assert service.client.get(PATH, params={"after": cursor}).json()["errorCode"] == "EVENTS_GONE"
        events = await_events(service, None, [one, paused], 5)
        fenced = [event for event in events if event["type"] == "session.fenced"]
        assert sorted(of_sessions(fenced, one, paused)) == [
            (0, 2 + JUMP, "session.fenced"),
            (1, 2 + JUMP, "session.fenced"),
        ]
        assert {event["session_id"] for event in fenced} == {one, paused}


def test_the_cache_is_cleared(migrated_database: Database, cache: Redis) -> None:
    """Copies of sessions go from the cache, and no other key of the same Redis does."""
    urls, _ = migrated_database
    with running(urls) as service:
        session = str(service.start()["id"])
    cache.set(f"session:{session}", b"s1 9 9999999999999 ada 7 none {}")
    cache.set("session:of-another-program", "kept")
    assert run_fence(urls).returncode == 0
    assert (cache.exists(f"session:{session}"), cache.delete("session:of-another-program")) == (0, 1)


def test_a_dry_run_changes_nothing(many: Database) -> None:
    """It says how many sessions there are and which version is the highest, and changes none."""
    urls, database = many
    done = run_fence(urls, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    size = 2 * STEP + STEP // 2
    assert done.stdout == f"sessions: {size}, of which {size} run or are paused; highest version: 1\n"
    assert database.execute(VERSIONS).fetchall() == [(1, size)]
    assert database.execute("select from fences").fetchall() == []


def test_an_interrupted_run_is_continued(interrupted: Database) -> None:
    """After SIGKILL a second run with --continue finishes: each session has one jump, with one line."""
    urls, database = interrupted
    assert f"was interrupted after {STEP} sessions" in _refusal(urls)
    assert f"was interrupted after {STEP} sessions" in run_fence(urls, "--dry-run").stdout
    done = run_fence(urls, "--continue")
    assert (done.returncode, done.stderr) == (0, "")
    size = 2 * STEP + STEP // 2
    assert f"{size} sessions done" in done.stdout
    assert database.execute(VERSIONS).fetchall() == [(1 + JUMP, size)]
    assert database.execute(FENCED).fetchall() == [(size, size)]
    assert _refusal(urls, "--continue").endswith("no run was interrupted")


def test_a_run_after_a_further_restore_begins_again(interrupted: Database) -> None:
    """With --anew all sessions jump, also those that the interrupted run has reached."""
    urls, database = interrupted
    assert run_fence(urls, "--anew").returncode == 0
    assert database.execute(VERSIONS).fetchall() == [(1 + JUMP, STEP + STEP // 2), (1 + 2 * JUMP, STEP)]
    assert database.execute("select from fences where finished_at is null").fetchall() == []


def test_the_service_does_not_start_before_the_end(interrupted: Database, tmp_path: Path) -> None:
    """While a run is unfinished neither the service nor bin/webhooks starts; afterwards they do."""
    urls, _ = interrupted
    line = "bin/fence has not finished: run it with --continue"
    assert line in failed_start(urls)
    endpoints = tmp_path / "webhooks.json"
    endpoints.write_text(json.dumps({"grading": local("http://127.0.0.1:1")}))
    assert line in failed_start({**urls, "WEBHOOKS_FILE": str(endpoints)}, "session_service.webhooks")
    assert run_fence(urls, "--continue").returncode == 0
    with running(urls) as service:
        service.start()


def test_it_refuses_while_an_instance_runs(migrated_database: Database) -> None:
    """While an instance is connected it changes nothing: the instance could give versions meanwhile."""
    urls, database = migrated_database
    with running(urls) as service:
        service.start()
        assert "stop the service and bin/webhooks first" in _refusal(urls)
        assert database.execute(VERSIONS).fetchall() == [(1, 1)]


def test_it_stops_when_an_instance_appears(many: Database) -> None:
    """An instance that connects in the middle, of an older release for example, ends the run."""
    urls, database = many
    command = [sys.executable, "-m", "session_service.storage.fence_command"]
    with psycopg.connect(database.info.dsn, password=database.info.password) as holder:
        holder.execute(HOLD, [STEP + 1])
        runner = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **urls}, stderr=subprocess.PIPE, text=True
        )
        eventually(lambda: database.execute(HELD).fetchone())
        with psycopg.connect(urls["DATABASE_URL"]):
            holder.rollback()
            _, errors = runner.communicate()
    assert (runner.returncode, "stop the service" in errors) == (1, True)
    assert run_fence(urls, "--continue").returncode == 0
    assert database.execute(FENCED).fetchall() == [(2 * STEP + STEP // 2,) * 2]


def test_two_runs_do_not_mix(many: Database) -> None:
    """While one run is at work another one changes nothing."""
    urls, database = many
    with psycopg.connect(database.info.dsn, password=database.info.password) as holder:
        holder.execute(HOLD, [0])
        command = [sys.executable, "-m", "session_service.storage.fence_command"]
        runner = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **urls})
        eventually(lambda: database.execute(HELD).fetchone())
        assert _refusal(urls, "--anew").endswith("another bin/fence is running")
        holder.rollback()
        assert runner.wait() == 0
    assert database.execute(VERSIONS).fetchall() == [(1 + JUMP, 2 * STEP + STEP // 2)]


def test_a_version_without_room_is_refused(migrated_database: Database) -> None:
    """Near 2^31 it changes nothing, and names the session."""
    urls, database = migrated_database
    database.execute(MANY, [2])
    (session,) = database.execute("select id from quiz_sessions").fetchone() or ()
    database.execute("update quiz_sessions set version = %s where id = %s", [MAX_VERSION + 1, session])
    assert f"session {session} has a version above" in _refusal(urls)
    assert database.execute(FENCED).fetchall() == [(0, 0)]
    database.execute("update quiz_sessions set version = %s where version > 1", [MAX_VERSION])
    assert run_fence(urls).returncode == 0


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1"}, "Redis is out of reach"),
        ({"REDIS_URL": ""}, "REDIS_URL must be set"),
        ({"MIGRATION_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "PostgreSQL has failed"),
    ],
)
def test_it_refuses_what_it_cannot_do(migrated_database: Database, settings: Urls, line: str) -> None:
    """Without Redis or PostgreSQL it changes nothing, and says so in one line."""
    urls, database = migrated_database
    database.execute(MANY, [1])
    assert line in _refusal({**urls, **settings})
    assert database.execute(VERSIONS).fetchall() == [(1, 1)]


def test_a_service_without_a_named_user_is_refused(migrated_database: Database, tmp_path: Path) -> None:
    """If the user of DATABASE_URL is not known, bin/fence changes nothing; PGUSER may name it."""
    urls, database = migrated_database
    unnamed = {**urls, "DATABASE_URL": urls["DATABASE_URL"].replace("session_service@", "")}
    refused = "DATABASE_URL must name its user"
    assert unnamed["DATABASE_URL"] != urls["DATABASE_URL"]
    assert refused in _refusal({**unnamed, "PGUSER": ""})
    service_file = tmp_path / "services"
    service_file.write_text("[one]\nuser=session_service\n")
    in_file = {"PGSERVICE": "one", "PGSERVICEFILE": str(service_file), "PGUSER": "app"}
    assert refused in _refusal({**unnamed, **in_file})
    with running(urls):
        assert "the role session_service has" in _refusal({**unnamed, "PGUSER": "session_service"})
    assert database.execute("select from fences").fetchall() == []


def test_an_older_schema_is_refused(fresh_database: Urls) -> None:
    """A restored database of an older release is migrated first."""
    assert "run bin/migrate" in _refusal(fresh_database)
