"""listSessionEvents: GET /api/sessions/{id}/events."""

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls, migrate
from tests.support.ageing import age, stored
from tests.support.database_settings import close_connections
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.journal import lines, page
from tests.support.service import Headers, Service, running
from tests.support.waiting import eventually

START = "/api/sessions/start"
MEBIBYTE = 1024 * 1024
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def _staff() -> Headers:
    """Return a new token of a service: one from the import of this file would expire in a long run."""
    return bearer("back-end", scope=SERVICE_SCOPE)


def _path(session_id: object) -> str:
    return f"/api/sessions/{session_id}/events"


def test_200_with_one_line_for_each_version(service: Service) -> None:
    """The history has the lines of a start, of each save and of the completion, in the order of versions."""
    session = service.start(metadata={"course": "B12"})
    service.save(session["id"], 3, "Paris", {"client-id": "tab-1"})
    service.save_many(session["id"], {"3": None, "q": [1]}, annotations={"3": {"review": True}})
    completed = service.complete(session["id"], answers={"4": "x"})
    found = page(service, session["id"])
    assert [(line["version"], line["type"]) for line in found["items"]] == [
        (1, "session.started"),
        (2, "session.saved"),
        (3, "session.saved"),
        (4, "session.completed"),
    ]
    assert (found["version"], found["first_version"], found["next_after"]) == (4, 1, None)
    start, save, several, end = found["items"]
    assert start["data"]["metadata"] == {"course": "B12"}
    assert save["data"] == {"answers": {"3": "Paris"}, "current_question": 3}
    assert save["client_id"] == "tab-1"
    assert several["data"] == {"answers": {"3": None, "q": [1]}, "annotations": {"3": {"review": True}}}
    assert end["data"] == {
        "answers": {"4": "x"},
        "ended_by": "learner",
        "completed_at": completed.json()["completed_at"],
    }
    assert end["request_id"] == completed.headers["x-request-id"]
    assert {line["actor"]["type"] for line in found["items"]} == {"anonymous"}


def test_200_in_pages(service: Service) -> None:
    """Pages of any size have each line once, in order, and only the last one has no successor."""
    session_id = service.start()["id"]
    for number in range(6):
        service.save(session_id, number, "x")
    whole = page(service, session_id)["items"]
    assert [line["version"] for line in whole] == list(range(1, 8))
    for limit in (1, 2, 3, 7, 1000):
        assert lines(service, session_id, limit=limit) == whole
    assert page(service, session_id, after=3, limit=2)["items"] == whole[3:5]
    assert page(service, session_id, after=5, limit=2)["next_after"] is None
    for after in (7, 2**31 - 1):
        beyond = page(service, session_id, after=after)
        assert (beyond["items"], beyond["next_after"], beyond["version"]) == ([], None, 7)


def test_200_in_pages_of_one_mebibyte(service: Service) -> None:
    """A page ends before its body has more than 1 MiB, and the next page goes on with the next line."""
    session_id = service.start(time_limit_seconds=0)["id"]
    # Less than 8 KiB in the request, more than 330 KiB in a reply.
    numbers = "[" + ",".join(1100 * ["1e308"]) + "]"
    body, headers = f'{{"answers": {{"1": {numbers}}}}}', {"content-type": "application/json"}
    for _ in range(4):
        path = f"/api/sessions/{session_id}/progress"
        assert service.client.patch(path, content=body, headers=headers).status_code == 200
        service.save(session_id, 1, None)
    pages, after = [], 0
    while after is not None:
        pages.append(service.client.get(_path(session_id), params={"after": after}))
        after = pages[-1].json()["next_after"]
    assert [[line["version"] for line in one.json()["items"]] for one in pages] == [
        [1, 2, 3, 4, 5, 6, 7],
        [8, 9],
    ]
    # Three of the four large lines, and no room for the fourth.
    sizes = [len(one.content) for one in pages]
    assert sizes[0] <= MEBIBYTE < sum(sizes)


def test_200_for_the_owner_without_other_actors(service_with_tokens: Service) -> None:
    """A learner sees its own name only; a service's token sees every actor, client and request."""
    client = service_with_tokens.client
    session = client.post(START, json={"user_id": "ada", "quiz_id": 7}, headers=_staff()).json()
    acted = {**bearer("ada", act={"sub": "tutor"}), "client-id": "tutors-tab", "traceparent": PARENT}
    service_with_tokens.save(session["id"], 1, "x", {**bearer("ada"), "client-id": "adas-tab"})
    service_with_tokens.save(session["id"], 2, "y", acted)
    whole = lines(service_with_tokens, session["id"], _staff())
    own = lines(service_with_tokens, session["id"], bearer("ada"))
    assert [(line["actor"], line["client_id"]) for line in whole] == [
        ({"type": "staff", "subject": "back-end"}, None),
        ({"type": "learner", "subject": "ada"}, "adas-tab"),
        ({"type": "learner", "subject": "ada", "acting": "tutor"}, "tutors-tab"),
    ]
    assert [line["trace_id"] for line in whole] == [None, None, TRACE]
    hidden = {"actor": None, "client_id": None, "request_id": None, "trace_id": None}
    assert own == [whole[0] | hidden, whole[1], whole[2] | hidden]
    assert None not in [line["request_id"] for line in whole]


def test_200_for_a_session_that_is_older_than_the_journal(
    service: Service, database: psycopg.Connection
) -> None:
    """A session without lines says so, and its history begins with the next change."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    database.execute("delete from session_events where session_id = %s", [session_id])
    old = page(service, session_id)
    assert (old["items"], old["version"], old["first_version"], old["next_after"]) == ([], 2, None, None)
    service.save(session_id, 2, "y")
    found = page(service, session_id)
    assert [line["version"] for line in found["items"]] == [3]
    assert (found["version"], found["first_version"]) == (3, 3)


@pytest.mark.parametrize(("on_expiry", "kind"), [("expire", "expired"), ("complete", "completed")])
def test_200_ends_an_overdue_session(
    service: Service, database: psycopg.Connection, cache: Redis, on_expiry: str, kind: str
) -> None:
    """The history of a session whose deadline has passed has its end, whether it was stored before or not."""
    session_id = service.start(time_limit_seconds=60, on_expiry=on_expiry)["id"]
    age(database, cache, session_id, 61)
    response = service.client.get(_path(session_id))
    assert [line["type"] for line in response.json()["items"]] == ["session.started", f"session.{kind}"]
    assert response.json()["version"] == 2
    assert stored(database, session_id, "status", "version") == (kind, 2)
    row = stored(database, session_id, "expires_at")[0].isoformat(timespec="milliseconds")
    assert response.headers["session-expires-at"] == row.replace("+00:00", "Z")


def test_200_without_an_end(service: Service) -> None:
    """The headers of a history are those of its session."""
    response = service.client.get(_path(service.start(time_limit_seconds=0)["id"]))
    assert response.headers["session-expires-at"] == "none"
    assert response.json()["items"][0]["data"]["expires_at"] is None


def test_200_raises_the_cache(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """After a history has shown a version, no read shows an older one."""
    session_id = service.start()["id"]
    database.execute("update quiz_sessions set version = 5 where id = %s", [session_id])
    eventually(lambda: service.client.get("/health").json()["checks"]["redis"] == "up")
    assert service.read(session_id).json()["version"] == 1
    assert page(service, session_id)["version"] == 5
    assert service.read(session_id).json()["version"] == 5
    assert cache.getrange(f"session:{session_id}", 0, 4) == b"s1 5 "


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"after": "-1"},
        {"after": "2147483648"},
        {"after": "x"},
        {"wait": "1"},
    ],
    ids=json.dumps,
)
def test_400_names_the_parameter(service: Service, query: dict[str, str]) -> None:
    """An invalid or unknown parameter is rejected by name."""
    response = service.client.get(_path(uuid4()), params=query)
    (name,) = query
    assert response.status_code == 400
    assert [detail["path"] for detail in response.json()["details"]] == [
        "query" if name == "wait" else f"query.{name}"
    ]


def test_404_for_a_foreign_or_a_missing_session(service_with_tokens: Service) -> None:
    """A learner's token finds no history of another user, as if the session did not exist."""
    body = {"user_id": "grace", "quiz_id": 7}
    session = service_with_tokens.client.post(START, json=body, headers=bearer("grace")).json()
    replies: list[dict[str, Any]] = []
    for session_id in (session["id"], str(uuid4())):
        response = service_with_tokens.client.get(_path(session_id), headers=bearer("ada"))
        assert response.status_code == 404
        replies.append({**response.json(), "requestId": None, "sessionId": None})
    assert replies[0] == replies[1]
    assert len(lines(service_with_tokens, session["id"], bearer("grace"))) == 1


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    content = b" " * (256 * 1024 + 1)
    assert service.client.request("GET", _path(uuid4()), content=content).status_code == 413


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert service_without_table.client.get(_path(uuid4())).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """A history needs the database."""
    response = service_without_postgresql.client.get(_path(uuid4()))
    assert response.json()["outcome"] == "not_applied"


def test_503_for_an_overdue_session_without_writes(fresh_database: Urls) -> None:
    """While the database accepts no writes, the end of an overdue session cannot be shown; others are."""
    migrate(fresh_database)
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        running(fresh_database) as service,
    ):
        overdue, other = (service.start(time_limit_seconds=600)["id"] for _ in range(2))
        alter = f"alter database {database.info.dbname} set default_transaction_read_only"
        database.execute(f"{alter} = on")
        close_connections(database)
        database.execute("set default_transaction_read_only = off")
        age(database, None, overdue, 601)
        statuses = [service.client.get(_path(one)).status_code for one in (overdue, other)]
        assert statuses == [503, 200]
        database.execute(f"{alter} = off")
        close_connections(database)
