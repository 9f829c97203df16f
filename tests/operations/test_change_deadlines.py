"""changeDeadlines: POST /api/sessions/deadline."""

from uuid import uuid4

import psycopg
import pytest

from tests.support.journal import shown
from tests.support.orders import given, moment, order_quiz, seconds
from tests.support.service import Service

NO_CACHE = {"cache-control": "no-cache"}
END_NOW = """
    update quiz_sessions
    set expires_at = now, closes_at = now
    from date_trunc('milliseconds', clock_timestamp()) as now
    where id = any (%s)
"""


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


@pytest.mark.parametrize("found", ["by the order", "before the order"])
@pytest.mark.parametrize("on_expiry", ["expire", "complete"])
def test_200_with_sessions_that_end_before_the_order_reaches_them(
    service: Service, migrated: dict[str, str], database: psycopg.Connection, on_expiry: str, found: str
) -> None:
    """More time reaches a session whose time ends between two calls; one handed in meanwhile is named.

    A session that another order ends meanwhile stays ended.
    """
    quiz = f"quiz-{uuid4()}"
    expiring, handed_in, ended = ids = [
        service.start(quiz_id=quiz, on_expiry=on_expiry)["id"] for _ in range(3)
    ]
    body = {"quiz_id": quiz, "extra_seconds": 600}
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
        holder.execute("select from quiz_sessions where id = any (%s) for update", [ids])
        first = order_quiz(service, "deadline", body, "k").json()
        holder.rollback()
    assert first == {"changed": 0, "unchanged": [], "unfinished": True}
    service.complete(handed_in)
    given(service, "deadline", ended, extra_seconds=-86_400)
    database.execute(END_NOW, [[expiring]])
    if found == "before the order":
        assert service.read(expiring, NO_CACHE).json().get("status") != "in_progress"
    unchanged = [{"id": handed_in, "errorCode": "SESSION_COMPLETED"}]
    assert order_quiz(service, "deadline", body, "k").json() == {
        "changed": 1,
        "unchanged": unchanged,
        "unfinished": False,
    }
    revived = service.read(expiring).json()
    assert (revived["status"], revived["ended_by"], revived["completed_at"]) == ("in_progress", None, None)
    assert [shown(service, session_id)["ended_by"] for session_id in (handed_in, ended)] == [
        "learner",
        "proctor",
    ]


@pytest.mark.parametrize(("on_expiry", "status"), [("expire", "expired"), ("complete", "completed")])
def test_200_reaches_no_session_a_second_time_after_its_end(
    service: Service, migrated: dict[str, str], database: psycopg.Connection, on_expiry: str, status: str
) -> None:
    """A session that the order has reached, and that ends before the next call, is left as it is."""
    quiz = f"quiz-{uuid4()}"
    reached, handed_in, locked = (service.start(quiz_id=quiz, on_expiry=on_expiry)["id"] for _ in range(3))
    body = {"quiz_id": quiz, "extra_seconds": 600}
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
        holder.execute("select from quiz_sessions where id = %s for update", [locked])
        assert order_quiz(service, "deadline", body, "k").json()["changed"] == 2
        holder.rollback()
    service.complete(handed_in)
    database.execute(END_NOW, [[reached]])
    assert service.read(reached, NO_CACHE).json().get("status") != "in_progress"
    report = order_quiz(service, "deadline", body, "k").json()
    assert report == {"changed": 3, "unchanged": [], "unfinished": False}
    assert shown(service, reached)["status"] == status
