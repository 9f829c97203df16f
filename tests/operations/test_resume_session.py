"""resumeSession: POST /api/sessions/{id}/resume."""

from datetime import datetime
from typing import Any

import psycopg
import pytest
from redis import Redis

from tests.support.ageing import age
from tests.support.orders import given, moment, order, seconds
from tests.support.service import Service

BAD: list[object] = [[], "x", {"reason": ""}, {"reason": 5}, {"version": 0}, {"time_limit_seconds": 5}]


def test_200_moves_the_end_by_the_pause(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """After a pause of an hour the session has the time left that it had, and its grace."""
    session = service.start(time_limit_seconds=600, grace_seconds=7)
    paused = given(service, "pause", session["id"])
    age(database, cache, session["id"], 3600)
    resumed = given(service, "resume", session["id"])
    assert (resumed["status"], resumed["version"], resumed["paused_at"]) == ("in_progress", 3, None)
    left = seconds(resumed, "expires_at", "updated_at")
    assert left == round(600 - seconds(paused, "paused_at", "started_at"), 3)
    assert seconds(resumed, "closes_at", "expires_at") == 7
    assert service.save(session["id"], 1, "x").status_code == 200


def test_200_for_a_session_in_progress(service: Service) -> None:
    """A session in progress stays as it is; a repeat of that order resumes no later pause."""
    session = service.start()
    assert order(service, "resume", session["id"], None, "k").json() == session
    paused = given(service, "pause", session["id"])
    assert order(service, "resume", session["id"], {}, "k").json() == paused


@pytest.mark.parametrize("body", BAD)
def test_400_changes_nothing(service: Service, body: object) -> None:
    """An invalid body is rejected, and the session does not change."""
    session = service.start()
    path, key = f"/api/sessions/{session['id']}/resume", {"idempotency-key": "k"}
    assert service.client.post(path, json=body, headers=key).status_code == 400
    assert service.read(session["id"]).json() == session


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"extra_seconds": 100}, 750),
        ({"time_limit_seconds": 4800}, 7200),
        ({"time_limit_seconds": 0}, None),
    ],
)
def test_200_with_the_time_left_of_a_deadline_order(
    service: Service, database: psycopg.Connection, cache: Redis, change: dict[str, Any], left: int | None
) -> None:
    """A deadline order on a paused session fixes the time left as if it were resumed then."""
    session = service.start(time_limit_seconds=400, time_factor=1.5)
    paused = given(service, "pause", session["id"])
    age(database, cache, session["id"], 6000)
    changed = given(service, "deadline", session["id"], **change)
    assert (changed["status"], changed["version"], changed["closes_at"]) == ("paused", 3, None)
    age(database, cache, session["id"], 6000)
    resumed = given(service, "resume", session["id"])
    if left is None:
        assert (resumed["expires_at"], resumed["closes_at"]) == (None, None)
    else:
        before = paused if "extra_seconds" in change else changed
        passed = seconds(before, "updated_at", "started_at")
        assert seconds(resumed, "expires_at", "updated_at") == round(left - passed, 3)


def test_200_with_the_time_left_until_an_absolute_end(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """An absolute end of a paused session leaves the time from the order until that end."""
    session_id = service.start(time_limit_seconds=60)["id"]
    given(service, "pause", session_id)
    age(database, cache, session_id, 600)
    changed = given(service, "deadline", session_id, expires_at="2100-01-01T00:00:00Z")
    left = datetime.fromisoformat("2100-01-01T00:00:00Z") - moment(changed, "updated_at")
    resumed = given(service, "resume", session_id)
    assert moment(resumed, "expires_at") - moment(resumed, "updated_at") == left


def test_410_for_an_ended_session(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """An ended session is not resumed: 410 with the session, also if it was ended in a pause."""
    completed, expired, stopped = (service.start(time_limit_seconds=60)["id"] for _ in range(3))
    service.complete(completed)
    given(service, "pause", stopped)
    given(service, "deadline", stopped, extra_seconds=-3600)
    age(database, cache, expired, 61)
    codes = {completed: "SESSION_COMPLETED", expired: "SESSION_EXPIRED", stopped: "SESSION_EXPIRED"}
    for session_id, code in codes.items():
        refused = order(service, "resume", session_id, {})
        assert (refused.status_code, refused.json()["errorCode"]) == (410, code)
        assert (refused.json()["session"]["closes_at"] is None, refused.json()["session"]["paused_at"]) == (
            False,
            None,
        )
