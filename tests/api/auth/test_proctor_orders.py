"""Tests of a proctor's token in the exam room: its orders, its counts and its feed."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.feed import await_events, follow, newest, of_sessions
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.orders import METHODS, order, order_quiz
from tests.support.service import Headers, Service

BODIES: dict[str, dict[str, Any]] = {
    "deadline": {"extra_seconds": 60},
    "reopen": {"time_limit_seconds": 900, "reason": "x"},
}


def _service() -> Headers:
    return bearer("back-end", scope=SERVICE_SCOPE)


def _proctor(name: str, *quiz_ids: str) -> Headers:
    return bearer(name, scope="sessions:proctor", quiz_ids=quiz_ids)


def _start(service: Service, quiz_id: str, user: str) -> str:
    body = {"user_id": user, "quiz_id": quiz_id}
    response = service.client.post("/api/sessions/start", json=body, headers=_service())
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def _state(service: Service, session_id: str) -> tuple[str, int]:
    session = service.read(session_id, _service()).json()
    return session["status"], session["version"]


@pytest.mark.parametrize("kind", METHODS)
def test_a_proctor_orders_the_sessions_of_its_quizzes(service_with_tokens: Service, kind: str) -> None:
    """An order for a learner's session of its quiz is given; for its own session there it is 403."""
    quiz, name = str(uuid4()), f"teacher-{uuid4()}"
    learners, own = _start(service_with_tokens, quiz, "ada"), _start(service_with_tokens, quiz, name)
    for session_id, status in ((learners, 200), (own, 403)):
        response = order(service_with_tokens, kind, session_id, BODIES.get(kind), **_proctor(name, quiz))
        assert response.status_code == status, response.text
    assert _state(service_with_tokens, own) == ("in_progress", 1)


@pytest.mark.parametrize("kind", ["deadline", "pause"])
def test_a_proctors_order_for_a_quiz_leaves_its_own_session_out(
    service_with_tokens: Service, kind: str
) -> None:
    """An order for a quiz changes the sessions of learners; that of the proctor is not even named."""
    quiz, name = str(uuid4()), f"teacher-{uuid4()}"
    learners, own = _start(service_with_tokens, quiz, "ada"), _start(service_with_tokens, quiz, name)
    body = {"quiz_id": quiz, **BODIES.get(kind, {})}
    for fields, changed in (({"user_ids": [name]}, 0), ({}, 1)):
        response = order_quiz(service_with_tokens, kind, body | fields, **_proctor(name, quiz))
        assert response.json() == {"changed": changed, "unchanged": [], "unfinished": False}
    assert _state(service_with_tokens, own) == ("in_progress", 1)
    assert _state(service_with_tokens, learners)[1] == 2
    again = order_quiz(service_with_tokens, kind, body, **_service())
    assert again.json()["changed"] + len(again.json()["unchanged"]) == 2
    assert _state(service_with_tokens, own)[1] == 2


def test_counts_have_the_sessions_of_the_list(service_with_tokens: Service) -> None:
    """A proctor sees the counts of its quizzes; of another quiz, as a learner, those of its own sessions."""
    quiz, other, name = str(uuid4()), str(uuid4()), f"teacher-{uuid4()}"
    for quiz_id in (quiz, other):
        for user in (name, "ada", "bob"):
            _start(service_with_tokens, quiz_id, user)
    for headers, query, count in (
        (_service(), {"quiz_id": quiz}, 3),
        (_proctor(name, quiz), {"quiz_id": quiz}, 3),
        (_proctor(name, quiz), {"quiz_id": quiz, "user_id": "ada"}, 1),
        (_proctor(name, quiz), {"quiz_id": other}, 1),
        (_proctor(name, quiz), {"quiz_id": other, "user_id": "ada"}, 0),
        (bearer("ada"), {"quiz_id": quiz}, 1),
        (bearer("eve"), {"quiz_id": quiz}, 0),
    ):
        page = service_with_tokens.client.get("/api/sessions", params=query, headers=headers).json()
        assert (page["counts"]["in_progress"], len(page["items"])) == (count, count), query


def test_a_proctors_feed_has_the_events_of_its_quizzes(service_with_tokens: Service) -> None:
    """The feed of a proctor has the events of its quizzes, with any filter, and none of its own sessions."""
    service, name = service_with_tokens, f"teacher-{uuid4()}"
    quiz, other = str(uuid4()), str(uuid4())
    begin = newest(service, _service())
    ids = [
        _start(service, quiz_id, user)
        for quiz_id, user in ((quiz, "ada"), (quiz, name), (other, "ada"), (other, name))
    ]
    await_events(service, begin, ids, 4, _service())
    started = "session.started"
    everything = [(number, 1, started) for number in range(4)]
    for headers, query, expected in (
        (_service(), {}, everything),
        (bearer("grader", scope="sessions:read"), {}, everything),
        (_proctor(name, quiz), {}, everything[:1]),
        (_proctor(name, quiz, other), {}, [everything[0], everything[2]]),
        (_proctor(name, quiz, other), {"quiz_id": other}, [everything[2]]),
        (_proctor(name, quiz), {"quiz_id": other}, []),
        (_proctor(name), {}, []),
    ):
        events, end = follow(service, begin, headers, **query)
        assert sorted(of_sessions(events, *ids)) == expected, query
        assert end != begin
