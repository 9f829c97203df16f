"""pauseSession: POST /api/sessions/{id}/pause."""

import psycopg
import pytest
from redis import Redis

from tests.support.ageing import age, stored
from tests.support.orders import given, order
from tests.support.service import Service
from tests.support.waiting import eventually

BAD: list[object] = [[], "x", {"reason": ""}, {"reason": 5}, {"version": 0}, {"time_limit_seconds": 5}]


def test_200_stops_the_time(service: Service) -> None:
    """A pause adds 1 to the version; the session has no close, and its headers show no end."""
    session = service.start(grace_seconds=5)
    paused = order(service, "pause", session["id"], {"reason": "Fire alarm"})
    shown = paused.json()
    assert (shown["status"], shown["version"], shown["closes_at"]) == ("paused", 2, None)
    assert (shown["paused_at"], shown["expires_at"]) == (shown["updated_at"], session["expires_at"])
    assert paused.headers["session-expires-at"] == "none"
    read = service.read(session["id"])
    assert (read.status_code, read.json()) == (200, shown)
    assert read.headers["session-expires-at"] == "none"


def test_200_without_a_body_and_for_a_second_pause(service: Service) -> None:
    """A pause needs no body; a paused session stays as it is, with a new key and with the same."""
    session_id = service.start()["id"]
    paused = order(service, "pause", session_id, None, "first").json()
    for key in ("first", "second", "second"):
        assert order(service, "pause", session_id, {}, key).json() == paused


def test_200_for_a_repeat_after_the_resumption(service: Service) -> None:
    """A late repeat of a pause does not pause again, also if the first one had changed nothing."""
    session_id = service.start()["id"]
    for key in ("changed", "unchanged"):
        order(service, "pause", session_id, {}, key)
    resumed = given(service, "resume", session_id)
    for key in ("changed", "unchanged"):
        assert order(service, "pause", session_id, {}, key).json() == resumed


def test_410_for_an_ended_session(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """An ended session is not paused: 410 with the session, also onto a stale version."""
    completed, expired = service.start()["id"], service.start(time_limit_seconds=60)["id"]
    service.complete(completed)
    age(database, cache, expired, 61)
    for session_id, code in ((completed, "SESSION_COMPLETED"), (expired, "SESSION_EXPIRED")):
        refused = order(service, "pause", session_id, {"version": 1})
        assert (refused.status_code, refused.json()["errorCode"]) == (410, code)
        assert refused.json()["session"]["version"] == 2
        assert stored(database, session_id, "version", "paused_at") == (2, None)


@pytest.mark.parametrize("body", BAD)
def test_400_changes_nothing(service: Service, body: object) -> None:
    """An invalid body is rejected, and the session does not change."""
    session = service.start()
    path, key = f"/api/sessions/{session['id']}/pause", {"idempotency-key": "k"}
    assert service.client.post(path, json=body, headers=key).status_code == 400
    assert service.read(session["id"]).json() == session


def test_no_list_and_no_sweeper_ends_a_paused_session(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """A paused session stays paused long after its end: in reads, lists, the sweeper and a resuming start."""
    session = service.start(time_limit_seconds=60, quiz_id="fire-drill", max_attempts=1)
    start = {"user_id": session["user_id"], "quiz_id": "fire-drill"}
    paused = given(service, "pause", session["id"])
    other = service.start(time_limit_seconds=60)["id"]
    for session_id in (session["id"], other):
        age(database, cache, session_id, 7200)
    # The sweeper has come once it has ended the other session.
    eventually(lambda: stored(database, other, "status") == ("expired",))
    assert service.read(session["id"]).json()["version"] == paused["version"]
    for query in ({}, {"status": "paused"}):
        page = service.client.get("/api/sessions", params={"quiz_id": "fire-drill", **query}).json()
        assert [(item["id"], item["status"]) for item in page["items"]] == [(session["id"], "paused")]
    for status in ("in_progress", "expired"):
        page = service.client.get("/api/sessions", params={"quiz_id": "fire-drill", "status": status}).json()
        assert page["items"] == []
    found = service.client.post("/api/sessions/start", json={**start, "if_active": "resume"})
    assert (found.status_code, found.json()["id"]) == (200, session["id"])
    assert service.client.post("/api/sessions/start", json=start).status_code == 403
