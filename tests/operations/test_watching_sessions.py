"""listSessions for a page that watches an exam: ETag, clock, and the devices of the learners."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import age
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.orders import given
from tests.support.service import Service, running

CHANGE = "update quiz_sessions set version = version + 1, current_question = '77' where id = %s"


def _poll(service: Service, quiz: str, last: httpx.Response | None = None, **query: Any) -> httpx.Response:
    headers = {"if-none-match": last.headers["etag"]} if last else {}
    return service.client.get("/api/sessions", params={"quiz_id": quiz, **query}, headers=headers)


def test_every_change_changes_the_etag(service: Service) -> None:
    """A start, a save, an order, and an end each change the ETag of a page; without a change it is 304."""
    quiz = f"quiz-{uuid4()}"
    last = _poll(service, quiz)
    session = service.start(quiz_id=quiz)["id"]
    steps = (
        lambda: service.save(session, 1, "x"),
        lambda: given(service, "pause", session),
        lambda: given(service, "resume", session),
        lambda: given(service, "deadline", session, extra_seconds=60),
        lambda: service.complete(session),
    )
    for step in steps:
        page = _poll(service, quiz, last)
        assert (page.status_code, _poll(service, quiz, page).status_code) == (200, 304)
        step()
        last = page
    assert _poll(service, quiz, last).json()["items"][0]["status"] == "completed"


def test_a_session_beyond_the_page_changes_its_counts(service: Service) -> None:
    """A page with the counts of a quiz is not 304 if a session of another page has changed its status."""
    quiz = f"quiz-{uuid4()}"
    older = service.start(quiz_id=quiz)["id"]
    service.start(quiz_id=quiz)
    page = _poll(service, quiz, limit=1)
    assert _poll(service, quiz, page, limit=1).status_code == 304
    service.complete(older)
    assert _poll(service, quiz, page, limit=1).json()["counts"]["completed"] == 1


def test_an_end_by_the_clock_is_no_304(service: Service, migrated: Urls) -> None:
    """An overdue session whose end is not stored yet changes the ETag by the clock alone."""
    quiz = f"quiz-{uuid4()}"
    session = service.start(quiz_id=quiz, time_limit_seconds=60)["id"]
    page = _poll(service, quiz)
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
        age(holder, None, session, 61)
        holder.commit()
        holder.execute("select from quiz_sessions where id = %s for update", [session])
        after = _poll(service, quiz, page)
    assert (after.status_code, after.json()["items"][0]["status"]) == (200, "expired")


def test_no_read_is_older_than_a_304(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """A 304 confirms the versions of the page that the client has: no later read of them is older."""
    quiz = f"quiz-{uuid4()}"
    session = service.start(quiz_id=quiz)["id"]
    database.execute(CHANGE, [session])
    page = _poll(service, quiz)
    cache.delete(f"session:{session}")
    assert _poll(service, quiz, page).status_code == 304
    assert str(cache.getrange(f"session:{session}", 0, 4)) == "b's1 2 '"


def test_a_page_has_the_clock_of_the_database(service: Service, database: psycopg.Connection) -> None:
    """`session-now` of a page and of its 304 is the database's clock, from before the reply."""
    quiz = f"quiz-{uuid4()}"
    started = service.start(quiz_id=quiz)
    page = _poll(service, quiz)
    unchanged = _poll(service, quiz, page)
    (now,) = database.execute("select clock_timestamp()").fetchone() or ()
    times = [datetime.fromisoformat(reply.headers["session-now"]) for reply in (page, unchanged)]
    assert datetime.fromisoformat(str(started["started_at"])) <= times[0] <= times[1] <= now


@pytest.mark.parametrize(
    ("clients", "shown"),
    [
        ([], []),
        ([None, None], []),
        (["a", "a"], ["a"]),
        (["a", None, "b", "c"], ["a", "c"]),
        (["a", "b", "a"], ["a"]),
        ([None, "b"], ["b"]),
    ],
)
def test_a_list_shows_the_first_and_the_last_device(
    service: Service, clients: list[str | None], shown: list[str]
) -> None:
    """A list has the Client-Id of the first and of the last save, and none of an order."""
    quiz = f"quiz-{uuid4()}"
    session = service.start(quiz_id=quiz)["id"]
    for number, client in enumerate(clients):
        assert service.save(session, number, "x", {"client-id": client} if client else {}).status_code == 200
    given(service, "pause", session)
    (item,) = _poll(service, quiz).json()["items"]
    assert item["client_ids"] == shown


def test_a_learner_sees_no_device_of_another_actor(service_with_tokens: Service) -> None:
    """A learner's list has the devices of its own saves only, as its history has; the platform's has all."""
    client, learner = service_with_tokens.client, bearer("ada")
    platform = bearer("back-end", scope=SERVICE_SCOPE)
    quiz = f"quiz-{uuid4()}"
    wanted = {"user_id": "ada", "quiz_id": quiz}
    session = client.post("/api/sessions/start", json=wanted, headers=learner).json()["id"]
    for token, device in ((learner, "laptop"), (platform, "back-end")):
        saved = client.put(
            f"/api/sessions/{session}/progress",
            json={"question_id": 1, "answer": device},
            headers={**token, "client-id": device},
        )
        assert saved.status_code == 200
    for token, devices in ((learner, ["laptop"]), (platform, ["laptop", "back-end"])):
        page = client.get("/api/sessions", params={"quiz_id": quiz}, headers=token).json()
        assert [item["client_ids"] for item in page["items"]] == [devices]


def test_an_etag_is_the_same_on_every_instance(migrated: Urls, service: Service) -> None:
    """A page that another instance has sent is 304 on this one, so that a balancer needs no stickiness."""
    quiz = f"quiz-{uuid4()}"
    service.start(quiz_id=quiz)
    with running(migrated) as other:
        assert _poll(service, quiz, _poll(other, quiz)).status_code == 304
