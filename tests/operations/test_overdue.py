"""Overdue sessions: the sweeper, the cache, a database that accepts no writes, and locked rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls, migrate
from tests.support.ageing import age, stored
from tests.support.batching import without_sequencer
from tests.support.database_settings import close_connections
from tests.support.inspection import waiting_for_locks
from tests.support.service import Service, running
from tests.support.waiting import eventually

FRESH = {"cache-control": "no-cache"}
# Behind the back of the service: only a read from the database shows it.
MOVE = "update quiz_sessions set current_question = '77' where id = %s"
KEY = {"idempotency-key": "k"}


def _await_raised(cache: Redis, session_id: object) -> None:
    """Wait until the entry of the session has version 2."""
    eventually(lambda: cache.getrange(f"session:{session_id}", 0, 4) == b"s1 2 ")


def test_no_read_is_older_than_the_sweepers_version(
    patient_shared_service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """The sweeper ends sessions in one version, and raises the cache: no later read shows an older one."""
    ends = {"expire": ("expired", 410), "complete": ("completed", 200)}
    ids = {
        on_expiry: patient_shared_service.start(time_limit_seconds=60, on_expiry=on_expiry)["id"]
        for on_expiry in ends
    }
    for session_id in ids.values():
        entry = cache.get(f"session:{session_id}")
        assert isinstance(entry, bytes)
        assert entry.startswith(b"s1 1 ")
    # The sequencer also raises the cache, but later.
    with without_sequencer(database):
        for session_id in ids.values():
            # The entry of the session in progress stays: the sweeper may come at any moment.
            age(database, None, session_id, 61)
        for session_id in ids.values():
            _await_raised(cache, session_id)
    for on_expiry, (status, code) in ends.items():
        session_id = ids[on_expiry]
        response = patient_shared_service.read(session_id)
        session = response.json().get("session", response.json())
        assert (response.status_code, session["status"], session["version"]) == (code, status, 2)
        assert session["ended_by"] == "deadline"
        assert session["completed_at"] == (session["closes_at"] if status == "completed" else None)
        assert stored(database, session_id, "start_digest", "recent_writes") == (None, [])


def test_an_expired_session_is_read_from_the_cache(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """The 410 of an expired session comes from the cache, unless `no-cache` is set."""
    session_id = service.start(time_limit_seconds=60)["id"]
    age(database, cache, session_id, 61)
    first = service.read(session_id)
    database.execute(MOVE, [session_id])
    again = service.read(session_id)
    assert (first.status_code, again.status_code) == (410, 410)
    assert again.json()["session"] == first.json()["session"]
    fresh = service.read(session_id, FRESH)
    assert (fresh.status_code, fresh.json()["session"]["current_question"]) == (410, 77)


def test_an_overdue_session_without_writes(fresh_database: Urls) -> None:
    """While the database accepts no writes, an overdue session is a 503, and the others are read."""
    migrate(fresh_database)
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        Redis.from_url(fresh_database["REDIS_URL"]) as cache,
        running(fresh_database) as service,
    ):
        overdue, ended, other, open_end = (
            service.start(time_limit_seconds=limit)["id"] for limit in (60, 60, 600, 0)
        )
        age(database, cache, ended, 61)
        assert service.read(ended).status_code == 410
        alter = f"alter database {database.info.dbname} set default_transaction_read_only"
        database.execute(f"{alter} = on")
        close_connections(database)
        database.execute("set default_transaction_read_only = off")
        age(database, cache, overdue, 61)
        for refused in (service.read(overdue), service.save(overdue, 1, "x"), service.complete(overdue)):
            assert (refused.status_code, refused.json()["outcome"]) == (503, "not_applied")
        assert [service.read(one, FRESH).status_code for one in (ended, other, open_end)] == [410, 200, 200]
        assert stored(database, overdue, "status", "version") == ("in_progress", 1)
        database.execute(f"{alter} = off")
        close_connections(database)
        late = service.read(overdue)
        assert (late.status_code, late.headers["etag"]) == (410, '"2"')


def _requests(service: Service, session_id: object, user: str) -> dict[str, Callable[[], httpx.Response]]:
    body = {"user_id": user, "quiz_id": 7, "time_limit_seconds": 60}
    return {
        "read": lambda: service.read(session_id),
        "save": lambda: service.save(session_id, 1, "x"),
        "completion": lambda: service.complete(session_id),
        "repeated start": lambda: service.client.post("/api/sessions/start", json=body, headers=KEY),
    }


def _lock_overdue(service: Service, holder: psycopg.Connection, cache: Redis) -> tuple[object, str]:
    """Start a session that is overdue and has a locked row; return its id and its user."""
    while True:
        user = f"user-{uuid4()}"
        session_id = _requests(service, None, user)["repeated start"]().json()["id"]
        age(holder, cache, session_id, 61)
        holder.commit()
        holder.execute("select from quiz_sessions where id = %s for update", [session_id])
        # The sweeper may have come before the lock.
        if stored(holder, session_id, "status") == ("in_progress",):
            return session_id, user
        holder.rollback()


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("name", list(_requests(Service.__new__(Service), None, "")))
def test_an_overdue_session_with_a_locked_row(
    patient_shared_service: Service, migrated: Urls, cache: Redis, name: str, *, extended: bool
) -> None:
    """A request for an overdue session waits for the lock of its row, and is judged by the row after it."""
    url = migrated["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url) as holder, ThreadPoolExecutor(1) as client:
        session_id, user = _lock_overdue(patient_shared_service, holder, cache)
        sent = client.submit(_requests(patient_shared_service, session_id, user)[name])
        eventually(lambda: sent.done() or waiting_for_locks(url) > 0)
        assert not sent.done()
        if extended:
            age(holder, cache, session_id, -600)
        holder.commit()
        response = sent.result()
        row = stored(holder, session_id, "status", "version")
    session = response.json().get("session", response.json())
    if not extended:
        assert response.status_code == (200 if name == "repeated start" else 410)
        assert row == ("expired", 2)
    else:
        assert response.status_code == 200, response.text
        status = "completed" if name == "completion" else "in_progress"
        assert row == (status, 2 if name in ("save", "completion") else 1)
    assert (session["status"], session["version"]) == row
