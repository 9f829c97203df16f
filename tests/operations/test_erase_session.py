"""eraseSession: DELETE /api/sessions/{id}."""

from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import age
from tests.support.erasing import erase, erase_user, new_user
from tests.support.feed import await_events, newest, of_sessions
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.orders import given, order
from tests.support.service import Service, running
from tests.support.waiting import eventually

OFF = "session-service: erasing is off: ERASE_DATABASE_URL is not set"


def test_204_and_every_request_is_404(service: Service) -> None:
    """After a session is erased, no read, save, completion, order or history of it is anything but 404."""
    session_id = service.start()["id"]
    tag = service.save(session_id, 1, "x").headers["etag"]
    assert erase(service, session_id).status_code == 204
    replies = [
        service.read(session_id),
        service.read(session_id, {"if-none-match": tag}),
        service.read(session_id, {"cache-control": "no-cache"}),
        service.save(session_id, 1, "y", {"idempotency-key": "k"}),
        service.save_many(session_id, {"1": "y"}),
        service.complete(session_id),
        order(service, "pause", session_id),
        service.client.get(f"/api/sessions/{session_id}/events"),
        erase(service, session_id),
    ]
    assert [reply.status_code for reply in replies] == [404] * len(replies)


def test_204_on_another_instance(service: Service, migrated: Urls) -> None:
    """An instance whose cache had the session does not show it after another one has erased it."""
    with running(migrated) as other:
        session_id = service.start()["id"]
        assert other.read(session_id).status_code == 200
        assert erase(service, session_id).status_code == 204
        assert [one.read(session_id).status_code for one in (other, service)] == [404, 404]


@pytest.mark.parametrize("status", ["in_progress", "paused", "completed", "expired", "overdue"])
def test_204_whatever_its_status(
    service: Service, database: psycopg.Connection, cache: Redis, status: str
) -> None:
    """A session is erased in every status, and its row and its lines but one are deleted."""
    session_id = service.start(time_limit_seconds=60)["id"]
    if status == "paused":
        given(service, "pause", session_id)
    if status == "completed":
        service.complete(session_id)
    if status in ("expired", "overdue"):
        age(database, cache, session_id, 61)
    if status == "expired":
        assert service.read(session_id).status_code == 410
    assert erase(service, session_id).status_code == 204
    assert database.execute("select from quiz_sessions where id = %s", [session_id]).fetchall() == []
    query = "select type from session_events where session_id = %s"
    assert database.execute(query, [session_id]).fetchall() == [("session.erased",)]


def test_204_for_an_attempt_that_was_started_with_a_key(service: Service) -> None:
    """The key of an erased session's start makes a new session, and the erased one is no attempt any more."""
    body = {"user_id": new_user(), "quiz_id": 7, "max_attempts": 1}
    key = {"idempotency-key": str(uuid4())}
    first = service.client.post("/api/sessions/start", json=body, headers=key)
    assert erase(service, first.json()["id"]).status_code == 204
    again = service.client.post("/api/sessions/start", json=body, headers=key)
    assert (again.status_code, again.json()["attempt"]) == (201, 1)
    assert again.json()["id"] != first.json()["id"]
    erase_user(service, body["user_id"])


def test_204_with_one_event_in_the_feed(service: Service) -> None:
    """The feed has one event of an erased session, with its quiz and next version, and without a user."""
    begin = newest(service)
    quiz = int(uuid4().int % 10**15)
    kept, erased = (service.start(quiz_id=quiz)["id"] for _ in range(2))
    service.complete(erased, {"client-id": "tab-1"})
    await_events(service, begin, [erased], 2)
    assert erase(service, erased).status_code == 204
    await_events(service, begin, [erased], 1)

    def shown() -> list[dict[str, object]]:
        query: dict[str, str | int] = {"after": begin, "quiz_id": quiz}
        items: list[dict[str, object]] = service.client.get("/api/events", params=query).json()["items"]
        return [event for event in items if event["session_id"] == erased]

    (event,) = shown() if len(shown()) == 1 else []
    assert event | {"at": ""} == {
        "session_id": erased,
        "user_id": None,
        "quiz_id": quiz,
        "version": 3,
        "type": "session.erased",
        "at": "",
        "actor": {"type": "anonymous"},
        "client_id": None,
        "request_id": None,
        "trace_id": None,
        "data": {"quiz_id": quiz},
    }
    only = service.client.get("/api/events", params={"after": begin, "types": "session.erased"}).json()
    assert of_sessions(only["items"], kept, erased) == [(1, 3, "session.erased")]


def test_400_for_an_id_that_is_no_uuid(service: Service) -> None:
    """An id that is no UUID v4 is rejected, and nothing is erased."""
    assert erase(service, "1").status_code == 400


def test_403_without_the_scope(service_with_tokens: Service) -> None:
    """Only the scope for erasing allows it: a service's token without it erases nothing."""
    session_id = service_with_tokens.client.post(
        "/api/sessions/start", json={"user_id": "ada", "quiz_id": 7}, headers=bearer("ada")
    ).json()["id"]
    for token in (
        bearer("ada"),
        bearer("back-end", scope=SERVICE_SCOPE),
        bearer("grader", scope="sessions:read"),
        bearer("teacher", scope="sessions:proctor", quiz_ids=[7]),
    ):
        assert erase(service_with_tokens, session_id, token).status_code == 403
    officer = bearer("officer", scope="sessions:erase")
    assert erase(service_with_tokens, session_id, officer).status_code == 204


@pytest.mark.parametrize(
    "settings",
    [{"ERASE_DATABASE_URL": ""}, {"HOST": "0.0.0.0", "ALLOW_UNAUTHENTICATED": "yes"}],  # noqa: S104 - refused
    ids=["without its role", "without tokens on another address"],
)
def test_403_where_erasing_is_off(migrated: Urls, settings: dict[str, str]) -> None:
    """Without ERASE_DATABASE_URL, and without tokens on any address but loopback, nothing is erased.

    The log says once at the start that there is no role for it.
    """
    with running(migrated, **settings) as service:
        session = service.start()
        assert erase(service, session["id"]).status_code == 403
        assert erase_user(service, session["user_id"]).status_code == 403
        assert service.read(session["id"]).status_code == 200
        assert service.log.read_text().count(OFF.partition(": ")[2]) == ("HOST" not in settings)


def test_404_for_a_repeat(service: Service, cache: Redis) -> None:
    """A repeat is 404, and writes the tombstone that a killed instance may have left out."""
    session_id = service.start()["id"]
    assert erase(service, session_id).status_code == 204
    cache.delete(f"session:{session_id}")
    assert erase(service, session_id).status_code == 404
    assert cache.get(f"session:{session_id}") == b"s1 9999999999 0 "


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    path = f"/api/sessions/{uuid4()}"
    reply = service.client.request("DELETE", path, content=b" " * (256 * 1024 + 1))
    assert reply.status_code == 413


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert erase(service_without_table, uuid4()).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """Erasing needs the database."""
    reply = erase(service_without_postgresql, uuid4())
    assert (reply.status_code, reply.json()["outcome"]) == (503, "not_applied")


def test_503_without_redis_and_nothing_is_erased(migrated: Urls, database: psycopg.Connection) -> None:
    """A session whose tombstone cannot be written is not erased: another instance could show its entry."""
    with running(migrated, REDIS_URL="redis://127.0.0.1:1") as service:
        session = service.start()
        replies = erase(service, session["id"]), erase_user(service, session["user_id"])
        assert [(one.status_code, one.json()["outcome"]) for one in replies] == 2 * [(503, "not_applied")]
        assert service.read(session["id"]).json() == session
    query = "select count(*) from session_events where session_id = %s"
    assert database.execute(query, [session["id"]]).fetchone() == (1,)
    with running(migrated) as service:
        assert erase(service, session["id"]).status_code == 204
        eventually(lambda: service.read(session["id"]).status_code == 404)
