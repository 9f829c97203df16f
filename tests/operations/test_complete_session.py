"""completeSession: POST /api/sessions/{id}/complete."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.service import Service, await_end


def test_200_ends_the_session(service: Service) -> None:
    """A completion keeps the answers, sets completed_at and is a change of its own."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 3, "Paris").json()
    reply = service.complete(session_id)
    completed = reply.json()
    assert (reply.status_code, reply.headers["etag"]) == (200, '"3"')
    assert (completed["status"], completed["answers"]) == ("completed", {"3": "Paris"})
    assert completed["completed_at"] == completed["updated_at"]
    assert completed["last_saved_at"] == saved["last_saved_at"]
    assert completed["completed_at"] >= saved["updated_at"]
    assert completed["current_question"] == saved["current_question"]


def test_200_saves_the_last_answers_in_the_same_step(service: Service) -> None:
    """Answers given with the completion are merged in, `null` clears, in one change."""
    session_id = service.start()["id"]
    service.save(session_id, 3, "Paris")
    completed = service.complete(session_id, answers={"5": "Lima", "3": None}, version=2).json()
    assert (completed["answers"], completed["version"]) == ({"5": "Lima"}, 3)
    assert completed["last_saved_at"] == completed["completed_at"]


def test_200_again_with_the_same_session(service: Service) -> None:
    """Completing a completed session with what it has already returns it, with whatever version."""
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
    """An empty body counts as none."""
    path = f"/api/sessions/{service.start()['id']}/complete"
    assert service.client.post(path, headers={"content-type": kind} if kind else {}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"answers": {}},
        {"answers": {"01": "x"}},
        {"answers": {"2147483648": "x"}},
        {"answers": {"-1": "x"}},
        {"answers": {"1": ""}},
        {"answers": {str(n): "x" for n in range(501)}},
        {"version": "1"},
        {"status": "completed"},
        [],
        None,
    ],
)
def test_400_changes_nothing(service: Service, body: object) -> None:
    """Whatever does not fit the contract is refused, and the session goes on."""
    session = service.start()
    content = service.client.build_request("POST", "/", json=body).content if body is not None else b"null"
    headers = {"content-type": "application/json"}
    reply = service.client.post(f"/api/sessions/{session['id']}/complete", content=content, headers=headers)
    assert reply.status_code == 400
    assert service.read(session["id"]).json() == session


def test_404_for_an_id_that_no_session_has(service: Service) -> None:
    """There is nothing to complete."""
    assert service.complete(uuid4()).status_code == 404


def test_409_on_a_stale_version(service: Service) -> None:
    """A completion of an older version leaves the session running."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x").json()
    reply = service.complete(session_id, version=1)
    assert (reply.status_code, reply.json()["session"]) == (409, saved)
    assert service.read(session_id).json()["status"] == "in_progress"


def test_410_after_the_time_is_over(service: Service) -> None:
    """A completion that comes late is refused and carries the session as saved."""
    session = service.start(time_limit_seconds=3)
    service.save(session["id"], 1, "in time")
    await_end(session)
    reply = service.complete(session["id"])
    assert (reply.status_code, reply.json()["errorCode"]) == (410, "SESSION_EXPIRED")
    assert reply.json()["session"]["answers"] == {"1": "in time"}


@pytest.mark.parametrize(
    "late", [{"2": "late"}, {"1": "other"}, {"1": None}, {"1": ["x"]}, {"1": "x", "2": "late"}]
)
def test_410_for_a_second_completion_with_other_answers(service: Service, late: dict[str, object]) -> None:
    """Answers that a completed session does not have are refused, not dropped without a word."""
    session_id = service.start()["id"]
    completed = service.complete(session_id, answers={"1": "x"}).json()
    for headers in ({}, {"idempotency-key": "second-tab"}, {"if-match": '"2"'}):
        reply = service.complete(session_id, headers, answers=late)
        assert (reply.status_code, reply.json()["errorCode"]) == (410, "SESSION_COMPLETED")
        assert reply.json()["session"] == completed
    assert service.read(session_id).json() == completed


def test_413_over_256_kib(service: Service) -> None:
    """A body over the limit is refused."""
    reply = service.client.post(f"/api/sessions/{uuid4()}/complete", content=b" " * (256 * 1024 + 1))
    assert reply.status_code == 413


def test_415_for_anything_but_json(service: Service) -> None:
    """A body that is there has to be application/json."""
    path = f"/api/sessions/{uuid4()}/complete"
    assert service.client.post(path, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415


def test_500_tells_nothing_but_the_request_id(broken_service: Service) -> None:
    """A bug is told in the contract's shape."""
    assert broken_service.complete(uuid4()).status_code == 500


def test_503_without_postgresql(cut_off_service: Service) -> None:
    """A completion that cannot reach the database is not acknowledged."""
    assert cut_off_service.complete(uuid4()).status_code == 503


def test_200_for_a_repeat_with_its_key(service: Service) -> None:
    """A completion that is repeated has one effect, with the key or without."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "done", "if-match": '"1"'}
    completed = service.complete(session_id, key, answers={"1": "x"}).json()
    assert service.complete(session_id, key, answers={"1": "x"}).json() == completed
    assert service.complete(session_id).json() == completed


def test_409_on_another_if_match(service: Service) -> None:
    """`If-Match` counts as the version where the body has none, or where there is no body."""
    session_id = service.start()["id"]
    assert service.complete(session_id, {"if-match": '"2"'}).status_code == 409


def test_422_for_the_key_of_a_save(service: Service) -> None:
    """A key that stands for a save does not complete."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x", {"idempotency-key": "k"}).json()
    assert service.complete(session_id, {"idempotency-key": "k"}).status_code == 422
    assert service.read(session_id).json() == saved
