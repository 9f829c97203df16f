"""Tests of a proctor's token in the exam room: its orders, its counts and its feed."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import age, stored
from tests.support.feed import await_events, follow, newest, of_sessions
from tests.support.inspection import waiting_for_locks
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.orders import METHODS, order, order_quiz
from tests.support.service import Headers, Service
from tests.support.waiting import eventually

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


def test_a_proctors_order_lets_an_overdue_session_run(
    service_with_tokens: Service, migrated: Urls, cache: Redis
) -> None:
    """A proctor's extension of a session whose end is not stored makes one change, as a service's does."""
    quiz, url = str(uuid4()), migrated["MIGRATION_DATABASE_URL"]
    body, headers = {"extra_seconds": 172_800}, _proctor("teacher", quiz)
    for _ in range(5):
        with psycopg.connect(url) as holder, ThreadPoolExecutor(1) as proctor:
            session_id = _lock_overdue(service_with_tokens, holder, cache, quiz)
            ordered = proctor.submit(order, service_with_tokens, "deadline", session_id, body, **headers)
            eventually(lambda: waiting_for_locks(url) > 0)
            holder.commit()
            assert ordered.result().status_code == 200
        state = _state(service_with_tokens, session_id)
        # At the unlock the sweeper may come before the order that waits: then each makes a change.
        if state != ("in_progress", 3):
            break
    assert state == ("in_progress", 2)


def _lock_overdue(service: Service, holder: psycopg.Connection, cache: Redis, quiz: str) -> str:
    """Start a session that is overdue and has a locked row; return its id."""
    while True:
        session_id = _start(service, quiz, "ada")
        age(holder, cache, session_id, 86_400)
        holder.commit()
        holder.execute("select from quiz_sessions where id = %s for update", [session_id])
        # The sweeper may have come before the lock.
        if stored(holder, session_id, "status") == ("in_progress",):
            return session_id
        holder.rollback()
