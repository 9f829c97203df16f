"""saveAnswers: PATCH /api/sessions/{id}/progress."""

from uuid import uuid4

import pytest

from tests.support.service import Service, await_end


def test_200_saves_all_in_one_change(service: Service) -> None:
    """Answers are merged in, replaced and cleared in one step, and current_question stays where it is."""
    session_id = service.start()["id"]
    service.save(session_id, 3, "Paris")
    reply = service.save_many(session_id, {"1": "a", "2": ["b", "c"], "3": None, "4": None})
    saved = reply.json()
    assert (reply.status_code, reply.headers["etag"]) == (200, '"3"')
    assert (saved["answers"], saved["version"], saved["current_question"]) == (
        {"1": "a", "2": ["b", "c"]},
        3,
        3,
    )
    assert service.read(session_id).json() == saved


def test_200_moves_current_question_where_it_is_given(service: Service) -> None:
    """A learner who resumes is put where the client says."""
    saved = service.save_many(service.start()["id"], {"1": "a"}, current_question=0).json()
    assert saved["current_question"] == 0
    assert service.save_many(saved["id"], {"1": "a"}, current_question=9).json()["current_question"] == 9


def test_200_for_five_hundred_answers(service: Service) -> None:
    """A save takes 500 answers."""
    answers = {str(n): "x" for n in range(500)}
    assert service.save_many(service.start()["id"], answers).json()["answers"] == answers


def test_200_for_a_repeat_has_one_effect(service: Service) -> None:
    """A repeat is known by its key, whatever the order of its fields."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "k", "if-match": '"1"'}
    saved = service.save_many(session_id, {"1": "a", "2": "b"}, key).json()
    assert service.save_many(session_id, {"2": "b", "1": "a"}, key).json() == saved


def test_204_where_no_body_is_wanted(service: Service) -> None:
    """With `Prefer: return=minimal` a save tells its version and nothing else."""
    reply = service.save_many(service.start()["id"], {"1": "a"}, {"prefer": "return=minimal"})
    assert (reply.status_code, reply.headers["etag"]) == (204, '"2"')


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"answers": {}},
        {"answers": {"01": "x"}},
        {"answers": {"1": " "}},
        {"answers": {str(n): "x" for n in range(501)}},
        {"answers": {"1": "x"}, "current_question": -1},
        {"answers": {"1": "x"}, "question_id": 1},
    ],
)
def test_400_changes_nothing(service: Service, body: dict[str, object]) -> None:
    """One answer that does not fit the contract, and none is saved."""
    session = service.start()
    assert service.client.patch(f"/api/sessions/{session['id']}/progress", json=body).status_code == 400
    assert service.read(session["id"]).json() == session


def test_404_for_an_id_that_no_session_has(service: Service) -> None:
    """Nothing is made by saving to it."""
    assert service.save_many(uuid4(), {"1": "x"}).status_code == 404


def test_409_on_a_stale_version(service: Service) -> None:
    """A save onto an older version changes nothing and is told the current session."""
    session_id = service.start()["id"]
    current = service.save_many(session_id, {"1": "x"}, version=1).json()
    reply = service.save_many(session_id, {"1": "y", "2": "y"}, version=1)
    assert (reply.status_code, reply.json()["session"]) == (409, current)


def test_410_after_the_end(service: Service) -> None:
    """Neither a completed nor an expired session takes answers."""
    session_id = service.start()["id"]
    service.complete(session_id)
    assert service.save_many(session_id, {"1": "x"}).json()["errorCode"] == "SESSION_COMPLETED"
    session = service.start(time_limit_seconds=1)
    await_end(session)
    assert service.save_many(session["id"], {"1": "x"}).json()["errorCode"] == "SESSION_EXPIRED"


def test_413_over_the_session_s_bounds(service: Service) -> None:
    """A save that would take the session over 1 MiB is refused whole."""
    session_id = service.start()["id"]
    many = {str(n): "\u00fc" * 10_000 for n in range(10)}
    replies = [
        service.save_many(session_id, {f"{n}{key}": text for key, text in many.items()}) for n in range(1, 7)
    ]
    assert [reply.status_code for reply in replies] == [200] * 5 + [413]
    assert service.read(session_id).json() == replies[4].json()


def test_415_for_anything_but_json(service: Service) -> None:
    """The body has to be application/json."""
    path = f"/api/sessions/{uuid4()}/progress"
    headers = {"content-type": "application/merge-patch+json"}
    assert service.client.patch(path, content=b"{}", headers=headers).status_code == 415


def test_422_for_anything_else_under_the_key(service: Service) -> None:
    """A key stands for one write."""
    session_id = service.start()["id"]
    service.save_many(session_id, {"1": "x"}, {"idempotency-key": "k"})
    assert service.save_many(session_id, {"1": "x", "2": "x"}, {"idempotency-key": "k"}).status_code == 422


def test_500_tells_nothing_but_the_request_id(broken_service: Service) -> None:
    """A bug is told in the contract's shape."""
    assert broken_service.save_many(uuid4(), {"1": "x"}).status_code == 500


def test_503_without_postgresql(cut_off_service: Service) -> None:
    """A save that cannot reach the database is not acknowledged."""
    assert cut_off_service.save_many(uuid4(), {"1": "x"}).status_code == 503


def test_400_tells_one_fault_of_many_at_once(service: Service) -> None:
    """Of a body with thousands of faults, which take long to find, one is told, and none of its keys."""
    reply = service.save_many(uuid4(), {f"secret-{n}": "" for n in range(2_000)})
    assert (reply.status_code, len(reply.json()["details"])) == (400, 1)
    few = service.save_many(uuid4(), {"secret-1": "", "7": ""})
    assert {detail["path"] for detail in few.json()["details"]} == {"body.answers", "body.answers.7"}
