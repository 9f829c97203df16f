"""reopenSession: POST /api/sessions/{id}/reopen."""

import psycopg
import pytest
from redis import Redis

from tests.support.ageing import age
from tests.support.orders import AGAIN, given, order, seconds
from tests.support.service import Service

BAD: list[object] = [
    {},
    None,
    {"time_limit_seconds": 900},
    {"reason": "x"},
    {**AGAIN, "reason": None},
    {**AGAIN, "time_limit_seconds": None},
    {**AGAIN, "time_limit_seconds": -1},
    {**AGAIN, "extra_seconds": 5},
]


@pytest.mark.parametrize("how", ["learner", "deadline", "unswept", "proctor", "completed by the deadline"])
def test_200_lets_an_ended_session_run_again(
    service: Service, database: psycopg.Connection, cache: Redis, how: str
) -> None:
    """A completed or expired session runs again for a limit from now, times time_factor, with its answers."""
    on_expiry = "complete" if how == "completed by the deadline" else "expire"
    session = service.start(time_limit_seconds=60, time_factor=2, grace_seconds=7, on_expiry=on_expiry)
    service.save(session["id"], 1, "x", {"idempotency-key": "k"})
    if how == "learner":
        service.complete(session["id"])
    elif how == "proctor":
        given(service, "deadline", session["id"], extra_seconds=-3600)
    else:
        age(database, cache, session["id"], 200)
    if how != "unswept":
        service.read(session["id"])
    again = given(service, "reopen", session["id"])
    assert (again["status"], again["completed_at"], again["ended_by"]) == ("in_progress", None, None)
    assert (again["answers"], again["attempt"]) == ({"1": "x"}, None)
    assert (seconds(again, "expires_at", "updated_at"), seconds(again, "closes_at", "expires_at")) == (
        1800,
        7,
    )
    assert again["version"] in (3, 4)
    assert service.read(session["id"]).json() == again
    # Late repeats change nothing.
    assert service.save(session["id"], 1, "x", {"idempotency-key": "k"}).json() == again
    assert service.save(session["id"], 2, "y").json()["version"] == again["version"] + 1


def test_200_without_an_end(service: Service) -> None:
    """With a limit of 0 the session has no end."""
    session_id = service.start()["id"]
    service.complete(session_id)
    assert given(service, "reopen", session_id, time_limit_seconds=0)["closes_at"] is None


def test_200_for_a_session_that_has_not_ended(service: Service) -> None:
    """A session in progress or paused stays as it is; a repeat of that order reopens no later end."""
    session = service.start()
    assert order(service, "reopen", session["id"], AGAIN, "running").json() == session
    paused = given(service, "pause", session["id"])
    assert order(service, "reopen", session["id"], AGAIN, "paused").json() == paused
    given(service, "resume", session["id"])
    completed = service.complete(session["id"]).json()
    for key in ("running", "paused"):
        assert order(service, "reopen", session["id"], AGAIN, key).json() == completed


def test_200_for_a_late_repeat(service: Service) -> None:
    """A late repeat does not reopen the session that was completed again, also with another body."""
    session_id = service.start()["id"]
    service.complete(session_id)
    order(service, "reopen", session_id, AGAIN, "k")
    completed = service.complete(session_id).json()
    for body in (AGAIN, {**AGAIN, "time_limit_seconds": 5}):
        late = order(service, "reopen", session_id, body, "k")
        assert (late.status_code, late.json()) == (200, completed)


@pytest.mark.parametrize("body", BAD)
def test_400_changes_nothing(service: Service, body: object) -> None:
    """An invalid body is rejected, and the session does not change."""
    session = service.start()
    path, key = f"/api/sessions/{session['id']}/reopen", {"idempotency-key": "k"}
    assert service.client.post(path, json=body, headers=key).status_code == 400
    assert service.read(session["id"]).json() == session
