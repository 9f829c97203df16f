"""listEvents: GET /api/events, with orders."""

from uuid import uuid4

import psycopg
from redis import Redis

from tests.support.ageing import age
from tests.support.feed import await_events, follow, newest, of_sessions
from tests.support.orders import given, order, order_quiz
from tests.support.service import Service


def test_200_with_each_order(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """The feed has every order that changes a session, and an end that it finds; no save in a pause."""
    begin, quiz = newest(service), f"quiz-{uuid4()}"
    one, many, overdue = (service.start(quiz_id=quiz, grace_seconds=60)["id"] for _ in range(3))
    given(service, "pause", one)
    service.save(one, 3, "Paris")
    given(service, "pause", one)
    given(service, "resume", one)
    service.complete(one)
    given(service, "reopen", one)
    given(service, "deadline", one, extra_seconds=-86_400)
    age(database, cache, overdue, 7200)
    assert order(service, "pause", overdue).status_code == 410
    assert order_quiz(service, "pause", {"quiz_id": quiz}).json()["changed"] == 1
    events = await_events(service, begin, [one, many, overdue], 10)
    assert sorted(of_sessions(events, one, many, overdue)) == [
        (0, 1, "session.started"),
        (0, 2, "session.paused"),
        (0, 4, "session.resumed"),
        (0, 5, "session.completed"),
        (0, 6, "session.reopened"),
        (0, 7, "session.expired"),
        (1, 1, "session.started"),
        (1, 2, "session.paused"),
        (2, 1, "session.started"),
        (2, 2, "session.expired"),
    ]
    line = next(event for event in events if (event["session_id"], event["version"]) == (one, 6))
    history = service.client.get(f"/api/sessions/{one}/events").json()["items"]
    assert {"session_id": one, "user_id": line["user_id"], "quiz_id": quiz, **history[5]} == line
    moved = follow(service, begin, quiz_id=quiz, types=["session.reopened", "session.deadline_changed"])[0]
    assert of_sessions(moved, one, many, overdue) == [(0, 6, "session.reopened")]
