"""saveAnswers: PATCH /api/sessions/{id}/progress."""

from uuid import uuid4

import pytest

from tests.support.service import Service, await_expiry


def test_200_saves_all_in_one_change(service: Service) -> None:
    """A save merges, replaces and clears answers in one change, and keeps current_question."""
    session_id = service.start()["id"]
    service.save(session_id, 3, "Paris")
    response = service.save_many(session_id, {"1": "a", "2": ["b", "c"], "3": None, "4": None})
    saved = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"3"')
    assert (saved["answers"], saved["version"], saved["current_question"]) == (
        {"1": "a", "2": ["b", "c"]},
        3,
        3,
    )
    assert service.read(session_id).json() == saved


def test_200_sets_current_question(service: Service) -> None:
    """A save sets current_question if the client sends it."""
    saved = service.save_many(service.start()["id"], {"1": "a"}, current_question=0).json()
    assert saved["current_question"] == 0
    assert service.save_many(saved["id"], {"1": "a"}, current_question=9).json()["current_question"] == 9


def test_200_for_five_hundred_answers(service: Service) -> None:
    """A save takes up to 500 answers."""
    answers = {str(n): "x" for n in range(500)}
    assert service.save_many(service.start()["id"], answers).json()["answers"] == answers


def test_200_for_a_repeat_with_the_same_idempotency_key(service: Service) -> None:
    """A repeat is recognised by its idempotency key, with the fields in any order."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "k", "if-match": '"1"'}
    saved = service.save_many(session_id, {"1": "a", "2": "b"}, key).json()
    assert service.save_many(session_id, {"2": "b", "1": "a"}, key).json() == saved


def test_204_with_prefer_return_minimal(service: Service) -> None:
    """`Prefer: return=minimal` gets the new version without a body."""
    response = service.save_many(service.start()["id"], {"1": "a"}, {"prefer": "return=minimal"})
    assert (response.status_code, response.headers["etag"]) == (204, '"2"')


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"answers": {}},
        {"answers": {"": "x"}},
        {"answers": {"1": "\x00"}},
        {"answers": {str(n): "x" for n in range(501)}},
        {"answers": {"1": "x"}, "current_question": -1},
        {"answers": {"1": "x"}, "question_id": 1},
    ],
)
def test_400_changes_nothing(service: Service, body: dict[str, object]) -> None:
    """A save with one invalid answer saves none."""
    session = service.start()
    assert service.client.patch(f"/api/sessions/{session['id']}/progress", json=body).status_code == 400
    assert service.read(session["id"]).json() == session


def test_404_for_an_unknown_id(service: Service) -> None:
    """A save to an unknown session returns 404."""
    assert service.save_many(uuid4(), {"1": "x"}).status_code == 404


def test_409_on_a_stale_version(service: Service) -> None:
    """A save with a stale version changes nothing and gets the current session."""
    session_id = service.start()["id"]
    current = service.save_many(session_id, {"1": "x"}, version=1).json()
    response = service.save_many(session_id, {"1": "y", "2": "y"}, version=1)
    assert (response.status_code, response.json()["session"]) == (409, current)


def test_410_for_a_completed_or_expired_session(service: Service) -> None:
    """A completed or expired session accepts no answers."""
    session_id = service.start()["id"]
    service.complete(session_id)
    assert service.save_many(session_id, {"1": "x"}).json()["errorCode"] == "SESSION_COMPLETED"
    session = service.start(time_limit_seconds=1)
    await_expiry(session)
    assert service.save_many(session["id"], {"1": "x"}).json()["errorCode"] == "SESSION_EXPIRED"


def test_413_over_the_size_limit_of_a_session(service: Service) -> None:
    """A save that would exceed 1 MiB of answers is rejected as a whole."""
    session_id = service.start()["id"]
    many = {str(n): "\u00fc" * 10_000 for n in range(10)}
    responses = [
        service.save_many(session_id, {f"{n}{key}": text for key, text in many.items()}) for n in range(1, 7)
    ]
    assert [response.status_code for response in responses] == [200] * 5 + [413]
    assert service.read(session_id).json() == responses[4].json()


def test_415_for_anything_but_json(service: Service) -> None:
    """The body must be application/json."""
    path = f"/api/sessions/{uuid4()}/progress"
    headers = {"content-type": "application/merge-patch+json"}
    assert service.client.patch(path, content=b"{}", headers=headers).status_code == 415


def test_422_for_another_write_with_the_same_idempotency_key(service: Service) -> None:
    """An idempotency key identifies one write."""
    session_id = service.start()["id"]
    service.save_many(session_id, {"1": "x"}, {"idempotency-key": "k"})
    assert service.save_many(session_id, {"1": "x", "2": "x"}, {"idempotency-key": "k"}).status_code == 422


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert service_without_table.save_many(uuid4(), {"1": "x"}).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """A save is not acknowledged without the database."""
    assert service_without_postgresql.save_many(uuid4(), {"1": "x"}).status_code == 503


def test_400_reports_one_violation_of_many(service: Service) -> None:
    """Of hundreds of violations one is reported; a key that is not plain is given by its place."""
    response = service.save_many(uuid4(), {f"secret {n}": "\x00" for n in range(400)})
    assert (response.status_code, len(response.json()["details"])) == (400, 1)
    assert "secret" not in response.text
    few = service.save_many(uuid4(), {"secret 1": "\x00", "7": "\x00"})
    assert {detail["path"] for detail in few.json()["details"]} == {"body.answers.#1", "body.answers.7"}
