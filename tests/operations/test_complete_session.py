"""completeSession: POST /api/sessions/{id}/complete."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.service import Service, await_expiry


def test_200_ends_the_session(service: Service) -> None:
    """A completion keeps the answers, sets completed_at and increments the version."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 3, "Paris").json()
    response = service.complete(session_id)
    completed = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"3"')
    assert (completed["status"], completed["answers"]) == ("completed", {"3": "Paris"})
    assert completed["completed_at"] == completed["updated_at"]
    assert completed["last_saved_at"] == saved["last_saved_at"]
    assert completed["completed_at"] >= saved["updated_at"]
    assert completed["current_question"] == saved["current_question"]


def test_200_saves_the_last_answers_in_the_same_step(service: Service) -> None:
    """Answers of a completion are merged into the saved ones in the same change; `null` clears an answer."""
    session_id = service.start()["id"]
    service.save(session_id, 3, "Paris")
    completed = service.complete(session_id, answers={"5": "Lima", "3": None}, version=2).json()
    assert (completed["answers"], completed["version"]) == ({"5": "Lima"}, 3)
    assert completed["last_saved_at"] == completed["completed_at"]


def test_200_for_a_second_completion_with_the_same_answers(service: Service) -> None:
    """A second completion with the same answers returns the completed session, with any version."""
    session_id = service.start()["id"]
    completed = service.complete(session_id, answers={"1": "x", "2": ["a", "b"]}).json()
    bodies: list[dict[str, Any]] = [
        {},
        {"version": 1},
        {"answers": {"1": "x"}},
        {"answers": {"2": ["a", "b"], "1": "x"}},
        {"answers": {"3": None}},
    ]
    for body in bodies:
        again = service.complete(session_id, **body)
        assert (again.status_code, again.json()) == (200, completed)
    assert service.read(session_id).json() == completed


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_200_for_an_empty_body_of_any_type(service: Service, kind: str) -> None:
    """An empty body is the same as no body."""
    path = f"/api/sessions/{service.start()['id']}/complete"
    assert service.client.post(path, headers={"content-type": kind} if kind else {}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"answers": {}},
        {"answers": {"": "x"}},
        {"answers": {"a\n": "x"}},
        {"answers": {"1": "\x00"}},
        {"answers": {str(n): "x" for n in range(501)}},
        {"version": "1"},
        {"status": "completed"},
        [],
        False,
    ],
)
def test_400_changes_nothing(service: Service, body: object) -> None:
    """An invalid body is rejected, and the session stays in progress."""
    session = service.start()
    response = service.client.post(f"/api/sessions/{session['id']}/complete", json=body)
    assert response.status_code == 400
    assert service.read(session["id"]).json() == session


def test_404_for_an_unknown_id(service: Service) -> None:
    """Completing an unknown session returns 404."""
    assert service.complete(uuid4()).status_code == 404


def test_409_on_a_stale_version(service: Service) -> None:
    """A completion with a stale version leaves the session in progress."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x").json()
    response = service.complete(session_id, version=1)
    assert (response.status_code, response.json()["session"]) == (409, saved)
    assert service.read(session_id).json()["status"] == "in_progress"


def test_410_for_an_expired_session(service: Service) -> None:
    """A completion after the time limit is rejected, and the response includes the saved session."""
    session = service.start(time_limit_seconds=3)
    service.save(session["id"], 1, "in time")
    await_expiry(session)
    response = service.complete(session["id"])
    assert (response.status_code, response.json()["errorCode"]) == (410, "SESSION_EXPIRED")
    assert response.json()["session"]["answers"] == {"1": "in time"}


@pytest.mark.parametrize(
    "late", [{"2": "late"}, {"1": "other"}, {"1": None}, {"1": ["x"]}, {"1": "x", "2": "late"}]
)
def test_410_for_a_second_completion_with_other_answers(service: Service, late: dict[str, object]) -> None:
    """A second completion with other answers is rejected, not ignored."""
    session_id = service.start()["id"]
    completed = service.complete(session_id, answers={"1": "x"}).json()
    for headers in ({}, {"idempotency-key": "second-tab"}, {"if-match": '"2"'}):
        response = service.complete(session_id, headers, answers=late)
        assert (response.status_code, response.json()["errorCode"]) == (410, "SESSION_COMPLETED")
        assert response.json()["session"] == completed
    assert service.read(session_id).json() == completed


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected."""
    response = service.client.post(f"/api/sessions/{uuid4()}/complete", content=b" " * (256 * 1024 + 1))
    assert response.status_code == 413


def test_415_for_anything_but_json(service: Service) -> None:
    """A body must be application/json."""
    path = f"/api/sessions/{uuid4()}/complete"
    assert service.client.post(path, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert service_without_table.complete(uuid4()).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """A completion is not acknowledged without the database."""
    assert service_without_postgresql.complete(uuid4()).status_code == 503


def test_200_for_a_repeat_with_the_same_idempotency_key(service: Service) -> None:
    """A repeated completion has one effect, with and without an idempotency key."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "done", "if-match": '"1"'}
    completed = service.complete(session_id, key, answers={"1": "x"}).json()
    assert service.complete(session_id, key, answers={"1": "x"}).json() == completed
    assert service.complete(session_id).json() == completed


def test_409_on_another_if_match(service: Service) -> None:
    """`If-Match` is the expected version if the body has none, or if there is no body."""
    session_id = service.start()["id"]
    assert service.complete(session_id, {"if-match": '"2"'}).status_code == 409


def test_422_for_an_idempotency_key_of_a_save(service: Service) -> None:
    """An idempotency key that was used for a save cannot be used for a completion."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x", {"idempotency-key": "k"}).json()
    assert service.complete(session_id, {"idempotency-key": "k"}).status_code == 422
    assert service.read(session_id).json() == saved
