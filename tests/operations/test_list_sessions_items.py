"""listSessions: what a list shows of each session, its counts, and its versions in the cache."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import lock_overdue
from tests.support.orders import given
from tests.support.service import Service

MEBIBYTE = 1024 * 1024
# A version behind the back of the service, as that of an instance which has not reached the cache yet.
CHANGE = "update quiz_sessions set version = version + 1, current_question = '77' where id = %s"


def _page(service: Service, **query: Any) -> Any:
    return service.client.get("/api/sessions", params=query).json()


def test_200_with_the_state_of_each_session(service: Service) -> None:
    """A list shows the version, the number of answers, the late saves, the pause, the end and the attempt."""
    quiz = f"quiz-{uuid4()}"
    chosen: dict[str, Any] = {"quiz_id": quiz, "metadata": {"seat": 14}, "max_attempts": 3}
    ids = [service.start(**chosen)["id"] for _ in range(4)]
    service.save_many(ids[0], {"1": "x", "2": [], "3": None, "4": ""})
    service.complete(ids[1])
    given(service, "pause", ids[2])
    given(service, "deadline", ids[3], extra_seconds=-86_400)
    page = _page(service, quiz_id=quiz)
    for item in page["items"]:
        reply = service.read(item["id"]).json()
        session = reply.get("session", reply)
        shown = {name: value for name, value in item.items() if name not in ("answered", "client_ids")}
        assert shown == {name: session[name] for name in shown}
        assert item["answered"] == len(session["answers"])
    assert [item["answered"] for item in page["items"]] == [0, 0, 0, 3]
    assert [item["ended_by"] for item in page["items"]] == ["proctor", None, "learner", None]
    assert [item["paused_at"] is None for item in page["items"]] == [True, False, True, True]
    assert page["counts"] == {"in_progress": 1, "paused": 1, "completed": 1, "expired": 1}


def test_200_with_answers(service: Service) -> None:
    """With include=answers a list has the answers of each session, also of an expired and a completed one."""
    quiz, answers = f"quiz-{uuid4()}", {"1": {"a": None}, "2": "x", "q3": []}
    ids = [service.start(quiz_id=quiz)["id"] for _ in range(4)]
    for session_id in ids[:3]:
        service.save_many(session_id, answers)
    given(service, "deadline", ids[1], extra_seconds=-86_400)
    service.complete(ids[2])
    items = _page(service, quiz_id=quiz, include="answers")["items"]
    assert [item["answers"] for item in items] == [{}, answers, answers, answers]
    assert [item["status"] for item in items] == ["in_progress", "completed", "expired", "in_progress"]


def test_200_with_pages_below_4_mib(service: Service) -> None:
    """A page with answers ends before 4 MiB; the pages together have each session once, in order."""
    quiz = f"quiz-{uuid4()}"
    ids = [service.start(quiz_id=quiz)["id"] for _ in range(12)]
    for session_id in ids:
        for question in range(3):
            assert service.save(session_id, question, 240_000 * "x").status_code == 200
    query: dict[str, Any] = {"quiz_id": quiz, "include": "answers", "limit": 100}
    items, sizes = [], []
    while query.get("cursor", "first"):
        response = service.client.get("/api/sessions", params=query)
        items += response.json()["items"]
        sizes.append(len(response.content))
        query["cursor"] = response.json()["next_cursor"]
    assert [item["id"] for item in items] == ids[::-1]
    assert {tuple(map(len, item["answers"].values())) for item in items} == {(240_000, 240_000, 240_000)}
    assert [3 * MEBIBYTE < size < 4 * MEBIBYTE for size in sizes] == [True, True, False]


def test_200_with_counts_of_the_quiz(service: Service) -> None:
    """The counts are those of the quiz, or of the user at it, whatever the status, the limit and the page."""
    quiz, user = f"quiz-{uuid4()}", f"user-{uuid4()}"
    for _ in range(2):
        service.start(quiz_id=quiz, user_id=user)
    service.complete(service.start(quiz_id=quiz)["id"])
    service.start(user_id=user)
    none = {"paused": 0, "expired": 0}
    first = _page(service, quiz_id=quiz, limit=1)
    for query in ({}, {"status": "paused"}, {"limit": 1}, {"cursor": first["next_cursor"]}):
        assert _page(service, quiz_id=quiz, **query)["counts"] == {"in_progress": 2, "completed": 1, **none}
    assert _page(service, quiz_id=quiz, user_id=user)["counts"] == {"in_progress": 2, "completed": 0, **none}
    assert _page(service, user_id=user)["counts"] is None


@pytest.mark.parametrize(("on_expiry", "status"), [("expire", "expired"), ("complete", "completed")])
def test_an_overdue_session_has_no_version_until_its_end_is_stored(
    service: Service, migrated: Urls, on_expiry: str, status: str
) -> None:
    """A list shows the end of an overdue session without a version, which follows once the end is stored."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
        quiz = f"quiz-{uuid4()}"
        session_id = lock_overdue(service, holder, quiz_id=quiz, on_expiry=on_expiry)
        found = _page(service, quiz_id=quiz, status=status)
        (item,) = (one for one in found["items"] if one["id"] == session_id)
        holder.rollback()
    assert (item["version"], item["ended_by"], found["counts"]["in_progress"]) == (None, "deadline", 0)
    service.read(session_id, {"cache-control": "no-cache"})
    items = _page(service, quiz_id=quiz)["items"]
    assert {one["version"] for one in items if one["id"] == session_id} == {2}


def test_no_read_is_older_than_the_list_before(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """Once a list has shown a version, no read of the session is older, also from the cache."""
    quiz = f"quiz-{uuid4()}"
    session_id = service.start(quiz_id=quiz)["id"]
    database.execute(CHANGE, [session_id])
    assert service.read(session_id).json()["version"] == 1
    (item,) = _page(service, quiz_id=quiz)["items"]
    assert item["version"] == 2
    assert str(cache.getrange(f"session:{session_id}", 0, 4)) == "b's1 2 '"
    read = service.read(session_id)
    assert (read.headers["etag"], read.json()["current_question"]) == ('"2"', 77)
