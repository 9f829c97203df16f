"""Ends of sessions: the time limit, no end, the grace, and what the deadline does."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import age, stored
from tests.support.service import Service, running

FRESH = {"cache-control": "no-cache"}
YEAR = 31_536_000
END_NAMES = ("status", "ended_by", "completed_at", "late_saves")


def _seconds(session: dict[str, Any], first: str = "started_at", last: str = "expires_at") -> float:
    start, end = (datetime.fromisoformat(session[name]) for name in (first, last))
    return (end - start) / timedelta(seconds=1)


def _end(session: dict[str, Any]) -> list[Any]:
    return [session[name] for name in END_NAMES]


@pytest.fixture(scope="module")
def service_with_grace(migrated: Urls) -> Iterator[Service]:
    """A service whose sessions have by default no end, and 20 seconds of grace."""
    with running(migrated, GRACE_SECONDS="20", SESSION_TIMEOUT_SECONDS="0") as service:
        yield service


def test_0_is_no_end(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """A session with a time limit of 0 has no end, is never overdue, and is completed by its learner."""
    session = service.start(time_limit_seconds=0, grace_seconds=5, time_factor=2, on_expiry="complete")
    session_id = session["id"]
    assert (session["expires_at"], session["closes_at"]) == (None, None)
    assert _end(session) == ["in_progress", None, None, 0]
    age(database, cache, session_id, 10 * YEAR)
    for headers in (FRESH, {}):
        response = service.read(session_id, headers)
        assert (response.status_code, response.headers["session-expires-at"]) == (200, "none")
    assert service.save(session_id, 1, "x").json()["late_saves"] == 0
    listed = service.client.get("/api/sessions", params={"user_id": str(session["user_id"])}).json()["items"]
    assert [(item["status"], item["expires_at"]) for item in listed] == [("in_progress", None)]
    assert _end(service.complete(session_id).json())[:2] == ["completed", "learner"]


@pytest.mark.parametrize(
    ("fields", "limit", "grace"),
    [
        ({}, 1800, 0),
        ({"time_limit_seconds": 1}, 1, 0),
        ({"time_limit_seconds": YEAR}, YEAR, 0),
        ({"time_limit_seconds": YEAR, "time_factor": 10, "grace_seconds": 3600}, 10 * YEAR, 3600),
        ({"time_limit_seconds": 7, "time_factor": 1.5, "grace_seconds": 4}, 10.5, 4),
        ({"time_factor": 1.25}, 2250, 0),
        ({"time_factor": 1, "grace_seconds": 0}, 1800, 0),
    ],
)
def test_the_ends_follow_from_the_start(
    service: Service, fields: dict[str, Any], limit: float, grace: int
) -> None:
    """The session expires after the time limit times the factor, and closes after the grace."""
    session = service.start(**fields)
    assert _seconds(session) == limit
    assert _seconds(session, "expires_at", "closes_at") == grace
    assert session["on_expiry"] == "expire"


@pytest.mark.parametrize(
    ("name", "wrong", "number"),
    [
        ("time_limit_seconds", -1, 0),
        ("time_limit_seconds", YEAR + 1, YEAR),
        ("grace_seconds", -1, 0),
        ("grace_seconds", 3601, 3600),
        ("time_factor", 0.999, 1),
        ("time_factor", 10.001, 10),
        ("max_attempts", 0, 1),
        ("max_attempts", 1001, 1000),
        ("on_expiry", "close", "expire, complete"),
    ],
)
def test_a_value_beyond_its_bound(service: Service, name: str, wrong: object, number: object) -> None:
    """A value beyond its bound is refused with the field and the bound."""
    body = {"user_id": "ada", "quiz_id": 7, name: wrong}
    refused = service.client.post("/api/sessions/start", json=body)
    assert refused.status_code == 400, refused.text
    (detail,) = refused.json()["details"]
    assert (detail["path"], str(number) in detail["message"]) == (f"body.{name}", True)


@pytest.mark.parametrize(
    ("given", "seconds"), [({}, 20), ({"grace_seconds": 5}, 5), ({"grace_seconds": 0}, 0)]
)
def test_the_operator_sets_the_default_grace(
    service_with_grace: Service, given: dict[str, int], seconds: int
) -> None:
    """GRACE_SECONDS is the grace of a start that has none, and SESSION_TIMEOUT_SECONDS=0 is no end."""
    session = service_with_grace.start(time_limit_seconds=60, **given)
    assert _seconds(session, "expires_at", "closes_at") == seconds
    assert service_with_grace.start()["closes_at"] is None


@pytest.mark.parametrize("on_expiry", ["expire", "complete"])
def test_writes_land_in_the_grace(
    service: Service, database: psycopg.Connection, cache: Redis, on_expiry: str
) -> None:
    """Until `closes_at` writes land; those with answers or annotations after `expires_at` are counted."""
    session_id = service.start(time_limit_seconds=60, grace_seconds=3600, on_expiry=on_expiry)["id"]
    assert service.save(session_id, 1, "in time").json()["late_saves"] == 0
    age(database, cache, session_id, 61)
    for headers in (FRESH, {}):
        response = service.read(session_id, headers)
        assert (response.status_code, response.json()["status"]) == (200, "in_progress")
    assert service.save(session_id, 2, "late").json()["late_saves"] == 1
    changes: list[tuple[dict[str, Any], int]] = [
        ({"answers": {"1": None}}, 2),
        ({"annotations": {"1": "x"}}, 3),
        ({"current_question": 9}, 3),
    ]
    for change, count in changes:
        saved = service.client.patch(f"/api/sessions/{session_id}/progress", json=change).json()
        assert (saved["late_saves"], saved["status"]) == (count, "in_progress")
    completed = service.complete(session_id, answers={"3": "last"}).json()
    assert (completed["status"], completed["ended_by"], completed["late_saves"]) == (
        "completed",
        "learner",
        4,
    )
    assert completed["completed_at"] == completed["updated_at"] > completed["expires_at"]
    assert completed["answers"] == {"2": "late", "3": "last"}


def test_a_completion_in_time_is_the_learners(service: Service) -> None:
    """A completion before the end is the learner's, and no save is late."""
    session = service.start(time_limit_seconds=60, grace_seconds=60)
    completed = service.complete(session["id"], answers={"1": "x"}).json()
    assert _end(completed) == ["completed", "learner", completed["updated_at"], 0]


def _requests(service: Service, session_id: object) -> dict[str, Callable[[], httpx.Response]]:
    return {
        "read": lambda: service.read(session_id),
        "fresh read": lambda: service.read(session_id, FRESH),
        "conditional read": lambda: service.read(session_id, {"if-none-match": '"2"'}),
        "head": lambda: service.client.head(f"/api/sessions/{session_id}"),
        "save": lambda: service.save(session_id, 1, "late"),
        "save onto a version": lambda: service.save(session_id, 1, "late", version=2),
        "save of a position": lambda: service.client.patch(
            f"/api/sessions/{session_id}/progress", json={"current_question": 5}
        ),
        "completion": lambda: service.complete(session_id),
        "completion with answers": lambda: service.complete(session_id, answers={"1": "late"}),
    }


NAMES = list(_requests(Service.__new__(Service), None))


@pytest.mark.parametrize("name", NAMES)
def test_after_its_end_a_session_is_expired(
    service: Service, database: psycopg.Connection, cache: Redis, name: str
) -> None:
    """From `closes_at` on every request is 410; the first one ends the session, in one version."""
    session_id = service.start(time_limit_seconds=60, grace_seconds=30)["id"]
    saved = service.save(session_id, 1, "x", {"idempotency-key": "k"}).json()
    age(database, cache, session_id, 91)
    first = _requests(service, session_id)[name]()
    assert (first.status_code, first.headers["etag"]) == (410, '"3"')
    expired = service.read(session_id).json()["session"]
    assert _end(expired) == ["expired", "deadline", None, 0]
    assert (expired["version"], expired["answers"]) == (3, saved["answers"])
    assert expired["last_saved_at"] == saved["last_saved_at"]
    if name != "head":
        assert (first.json()["errorCode"], first.json()["session"]) == ("SESSION_EXPIRED", expired)
    row = stored(database, session_id, "status", "version", "ended_by", "completed_at")
    assert row == ("expired", 3, "deadline", None)
    for again in _requests(service, session_id).values():
        response = again()
        assert (response.status_code, response.headers["etag"]) == (410, '"3"')


@pytest.mark.parametrize("name", NAMES)
def test_after_its_end_a_session_is_completed(
    service: Service, database: psycopg.Connection, cache: Redis, name: str
) -> None:
    """With `on_expiry: complete` the deadline completes the session at `closes_at`, in one version."""
    session_id = service.start(time_limit_seconds=60, grace_seconds=30, on_expiry="complete")["id"]
    service.save(session_id, 1, "x")
    age(database, cache, session_id, 91)
    first = _requests(service, session_id)[name]()
    refused = name.startswith("save") or name == "completion with answers"
    assert (first.status_code, first.headers["etag"]) == (410 if refused else 200, '"3"')
    completed = service.read(session_id).json()
    assert _end(completed) == ["completed", "deadline", completed["closes_at"], 0]
    assert (completed["version"], completed["answers"]) == (3, {"1": "x"})
    if refused:
        assert first.json()["errorCode"] == "SESSION_COMPLETED"
    if name != "head":
        assert first.json().get("session", first.json()) == completed
    row = stored(database, session_id, "status", "version", "ended_by", "completed_at = closes_at")
    assert row == ("completed", 3, "deadline", True)
    for again, status in ((service.complete(session_id), 200), (service.save(session_id, 1, "y"), 410)):
        assert (again.status_code, again.json().get("session", again.json())) == (status, completed)
    assert service.complete(session_id, answers={"1": "x"}).json() == completed
    current = service.read(session_id, {"if-none-match": '"3"'})
    assert (current.status_code, current.headers["etag"]) == (304, '"3"')


@pytest.mark.parametrize(("on_expiry", "status"), [("expire", "expired"), ("complete", "completed")])
def test_a_repeated_start_ends_its_session(
    service: Service, database: psycopg.Connection, cache: Redis, on_expiry: str, status: str
) -> None:
    """The repeat of a start whose session is overdue ends the session, and returns it."""
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, "time_limit_seconds": 60, "on_expiry": on_expiry}
    key = {"idempotency-key": "k"}
    session_id = service.client.post("/api/sessions/start", json=body, headers=key).json()["id"]
    age(database, cache, session_id, 61)
    again = service.client.post("/api/sessions/start", json=body, headers=key)
    assert (again.status_code, again.headers["etag"]) == (200, '"2"')
    assert (again.json()["id"], again.json()["status"]) == (session_id, status)
    assert stored(database, session_id, "status", "version") == (status, 2)
    resumed = service.client.post("/api/sessions/start", json={**body, "if_active": "resume"})
    assert (resumed.status_code, resumed.json()["id"] == session_id) == (201, False)


@pytest.mark.parametrize(("on_expiry", "status"), [("expire", "expired"), ("complete", "completed")])
def test_a_list_shows_the_end(
    service: Service, database: psycopg.Connection, cache: Redis, on_expiry: str, status: str
) -> None:
    """A list shows an overdue session as ended, and finds it by that status."""
    session = service.start(time_limit_seconds=60, grace_seconds=30, on_expiry=on_expiry)
    user = str(session["user_id"])
    age(database, cache, session["id"], 61)
    for filters, count in (({"status": "in_progress"}, 1), ({"status": status}, 0)):
        page = service.client.get("/api/sessions", params={"user_id": user, **filters}).json()
        assert len(page["items"]) == count
    age(database, cache, session["id"], 30)
    (item,) = service.client.get("/api/sessions", params={"user_id": user, "status": status}).json()["items"]
    (closes_at,) = stored(database, session["id"], "closes_at")
    shown = item["completed_at"] and datetime.fromisoformat(item["completed_at"])
    assert shown == (closes_at if status == "completed" else None)
    left = service.client.get("/api/sessions", params={"user_id": user, "status": "in_progress"})
    assert left.json()["items"] == []
