"""bin/erase: the operator's command."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Sequence
from uuid import uuid4

import psycopg
import pytest

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.erasing.test_retention import DAY, OLD
from tests.support.erasing import new_user
from tests.support.service import Service, running

COMMAND = (sys.executable, "-m", "session_service.storage.erase_command")


def run_erase(
    urls: Urls, *arguments: str, stdin: int = subprocess.DEVNULL, command: Sequence[str] = COMMAND
) -> subprocess.CompletedProcess[str]:
    """Run bin/erase."""
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, **urls},
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def own(migrated: Urls) -> Iterator[Service]:
    """An instance of this module."""
    with running(migrated) as service:
        yield service


def test_a_user_is_erased(own: Service, migrated: Urls) -> None:
    """It says what would go, and with the second run it has gone, also from the cache of an instance."""
    user = new_user()
    ids = [own.start(user_id=user)["id"] for _ in range(2)]
    own.save(ids[0], 1, "x")
    dry = run_erase(migrated, "--user", user, "--dry-run", command=["bin/erase"])
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.startswith("quiz_sessions: 2, session_events: 3, event_positions: ")
    assert dry.stdout.endswith("; the user's name in other journals: 0\n")
    assert [own.read(session_id).status_code for session_id in ids] == [200, 200]
    done = run_erase(migrated, "--user", user)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "erased 2 sessions")
    assert [own.read(session_id).status_code for session_id in ids] == [404, 404]
    again = run_erase(migrated, "--user", user)
    assert (again.returncode, len(again.stdout.splitlines())) == (0, 1)


def test_a_session_is_erased(own: Service, migrated: Urls) -> None:
    """One session of a user is erased, and not the other one."""
    user = new_user()
    one, other = (own.start(user_id=user)["id"] for _ in range(2))
    assert run_erase(migrated, "--session", str(one)).returncode == 0
    assert [own.read(session_id).status_code for session_id in (one, other)] == [404, 200]


def test_old_sessions_are_erased(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """Sessions that ended so many days ago, or before a day, are erased; later and running ones are not."""
    urls, database = migrated_database
    with running(urls) as service:
        oldest, old, new, runs = (service.start(time_limit_seconds=0)["id"] for _ in range(4))
        for session_id, days in ((oldest, 30), (old, 3), (new, 0)):
            service.complete(session_id)
            database.execute(OLD, [days * DAY, session_id])
        database.execute(OLD, [90 * DAY, runs])
        day = database.execute("select (now() - interval '10 days')::date::text").fetchone()
        assert day is not None
        assert run_erase(urls, "--before", str(day[0])).stdout.splitlines()[-1] == "erased 1 sessions"
        assert run_erase(urls, "--older-than", "2").stdout.splitlines()[-1] == "erased 1 sessions"
        assert [service.read(one).status_code for one in (oldest, old, new)] == [404, 404, 200]


@pytest.mark.parametrize(("reply", "status"), [("n\n", 1), ("\n", 1), ("y\n", 0)])
def test_it_asks_on_a_terminal(own: Service, migrated: Urls, reply: str, status: int) -> None:
    """On a terminal it erases only after a yes."""
    session_id = own.start()["id"]
    ours, theirs = pty.openpty()
    os.write(ours, reply.encode())
    done = run_erase(migrated, "--session", str(session_id), stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == status, done.stderr
    assert own.read(session_id).status_code == (200 if status else 404)


@pytest.mark.parametrize(
    ("settings", "arguments", "status", "line"),
    [
        ({}, [], 2, "one of the arguments"),
        ({}, ["--user", "a", "--session", str(uuid4())], 2, "not allowed with"),
        ({}, ["--before", "31.1.2026"], 2, "invalid _date value"),
        ({}, ["--user", "\udcff"], 2, "a byte is no UTF-8"),
        ({}, ["--older-than", "-1"], 2, "0 to 36500 days"),
        ({"ERASE_DATABASE_URL": ""}, ["--user", "a"], 1, "ERASE_DATABASE_URL must be set"),
        ({"REDIS_URL": ""}, ["--user", "a"], 1, "REDIS_URL must be set"),
    ],
)
def test_it_refuses_what_it_cannot_do(
    migrated: Urls, settings: Urls, arguments: list[str], status: int, line: str
) -> None:
    """Wrong arguments exit with 2, a missing setting with 1, each with one line that says why."""
    done = run_erase({**migrated, **settings}, *arguments)
    assert done.returncode == status
    assert line in done.stderr.splitlines()[-1]


def test_it_refuses_without_redis(own: Service, migrated: Urls) -> None:
    """While Redis is out of reach it erases nothing: instances that reach it could show their copies."""
    session = own.start()
    done = run_erase({**migrated, "REDIS_URL": "redis://127.0.0.1:1"}, "--session", str(session["id"]))
    assert done.returncode == 1
    assert "Redis is out of reach" in done.stderr
    assert own.read(session["id"]).json() == session
