"""changeDeadlines: POST /api/sessions/deadline."""

from uuid import uuid4

from tests.support.orders import given, moment, order_quiz, seconds
from tests.support.service import Service


def test_200_adds_seconds_by_the_factor_of_each_session(service: Service) -> None:
    """Each session gets the extra seconds times its own time_factor; a paused one stays paused."""
    quiz = f"quiz-{uuid4()}"
    sessions = [service.start(quiz_id=quiz, time_factor=factor) for factor in (1, 1.5, 2)]
    given(service, "pause", sessions[2]["id"])
    report = order_quiz(service, "deadline", {"quiz_id": quiz, "extra_seconds": 100, "reason": "x"}).json()
    assert (report["changed"], report["unfinished"]) == (3, False)
    changed = [service.read(session["id"]).json() for session in sessions]
    gained = [
        (moment(after, "expires_at") - moment(before, "expires_at")).total_seconds()
        for before, after in zip(sessions, changed, strict=True)
    ]
    assert gained == [100, 150, 200]
    assert [session["status"] for session in changed] == ["in_progress", "in_progress", "paused"]


def test_200_without_a_key(service: Service) -> None:
    """An absolute end needs no key: the same order again finds the end that it asks for."""
    quiz = f"quiz-{uuid4()}"
    session_id = service.start(quiz_id=quiz)["id"]
    body = {"quiz_id": quiz, "time_limit_seconds": 4000}
    assert order_quiz(service, "deadline", body, None).json()["changed"] == 1
    changed = service.read(session_id).json()
    assert seconds(changed, "expires_at", "started_at") == 4000
    assert order_quiz(service, "deadline", body, None).json() == {
        "changed": 0,
        "unchanged": [{"id": session_id, "errorCode": None}],
        "unfinished": False,
    }
    assert service.read(session_id).json() == changed


def test_200_ends_all_sessions(service: Service) -> None:
    """An end in the past ends all sessions of the quiz; a repeat counts them as changed."""
    quiz = f"quiz-{uuid4()}"
    ids = [service.start(quiz_id=quiz)["id"] for _ in range(2)]
    body = {"quiz_id": quiz, "extra_seconds": -86_400}
    for _ in range(2):
        assert order_quiz(service, "deadline", body, "end").json()["changed"] == 2
    for session_id in ids:
        ended = service.read(session_id)
        assert (ended.status_code, ended.json()["session"]["ended_by"]) == (410, "proctor")
