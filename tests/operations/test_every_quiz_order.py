"""Responses that all orders for a quiz share: access, keys, limits, and what they cover."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.support.ageing import stored
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.orders import given, order, order_quiz
from tests.support.service import Service

KINDS = {"changeDeadlines": "deadline", "pauseSessions": "pause", "resumeSessions": "resume"}
FIELDS: dict[str, dict[str, Any]] = {"changeDeadlines": {"extra_seconds": 60}}
ORDERS = pytest.mark.parametrize("operation", list(KINDS))
BAD: list[object] = [
    {},
    None,
    [],
    {"quiz_id": 0},
    {"quiz_id": None},
    {"user_ids": []},
    {"user_ids": ["ada", 7]},
    {"user_ids": 501 * ["ada"]},
    {"user_ids": "ada"},
    {"reason": ""},
    {"version": 1},
]


def _quiz() -> str:
    return f"quiz-{uuid4()}"


def _order(service: Service, operation: str, quiz: object, *args: Any, **more: Any) -> httpx.Response:
    body = {**FIELDS.get(operation, {}), "quiz_id": quiz, **more.pop("fields", {})}
    return order_quiz(service, KINDS[operation], body, *args, **more)


def _prepared(service: Service, operation: str, quiz: str, count: int = 1) -> list[Any]:
    """Start sessions that the order will change, and return their ids."""
    ids = [service.start(quiz_id=quiz)["id"] for _ in range(count)]
    if operation == "resumeSessions":
        for session_id in ids:
            given(service, "pause", session_id)
    return ids


@ORDERS
def test_200_covers_the_running_sessions_of_the_quiz(
    service: Service, database: psycopg.Connection, operation: str
) -> None:
    """An order changes each running session of the quiz once, and no ended one, none of another quiz."""
    quiz = _quiz()
    ids = _prepared(service, operation, quiz, 3)
    others = _prepared(service, operation, _quiz())
    completed, expired = _prepared(service, operation, quiz, 2)
    given(service, "resume", completed)
    service.complete(completed)
    given(service, "deadline", expired, extra_seconds=-86_400)
    others += [completed, expired]
    untouched = [service.read(session_id).headers["etag"] for session_id in others]
    before = [int(service.read(session_id).headers["etag"].strip('"')) for session_id in ids]
    first = _order(service, operation, quiz, "k")
    assert first.json() == {"changed": 3, "unchanged": [], "unfinished": False}
    after = [service.read(session_id) for session_id in ids]
    assert [reply.json()["version"] for reply in after] == [version + 1 for version in before]
    # A repeat changes nothing, and neither does it for a session that was started later.
    later = _prepared(service, operation, quiz)
    assert _order(service, operation, quiz, "k").json() == first.json()
    versions = [stored(database, session_id, "version")[0] for session_id in ids]
    assert versions == [version + 1 for version in before]
    assert [service.read(session_id).headers["etag"] for session_id in others] == untouched
    assert stored(database, later[0], "version") == ((2,) if operation == "resumeSessions" else (1,))


@ORDERS
def test_200_covers_only_the_given_users(service: Service, operation: str) -> None:
    """With user_ids an order changes the sessions of these users only."""
    quiz = _quiz()
    first, second, _ = (service.read(one).json() for one in _prepared(service, operation, quiz, 3))
    users = [first["user_id"], second["user_id"], "nobody", first["user_id"]]
    report = _order(service, operation, quiz, fields={"user_ids": users}).json()
    assert report == {"changed": 2, "unchanged": [], "unfinished": False}
    assert service.read(first["id"]).json()["version"] == first["version"] + 1


@ORDERS
def test_200_lists_the_sessions_that_have_the_wanted_state(service: Service, operation: str) -> None:
    """A session that has the wanted state stays as it is, and is listed without an error code."""
    quiz, twice = _quiz(), {"extra_seconds": None, "time_limit_seconds": 7200}
    fields = twice if operation == "changeDeadlines" else {}
    (session_id,) = _prepared(service, operation, quiz)
    assert _order(service, operation, quiz, fields=fields).json()["changed"] == 1
    session = service.read(session_id).json()
    report = _order(service, operation, quiz, fields=fields).json()
    unchanged = [{"id": session_id, "errorCode": None}]
    assert report == {"changed": 0, "unchanged": unchanged, "unfinished": False}
    assert service.read(session_id).json() == session


@ORDERS
def test_200_leaves_locked_sessions_to_the_next_call(
    service: Service, migrated: dict[str, str], operation: str
) -> None:
    """A locked session is left out and the order is unfinished; the next call changes only that session.

    A session that was started since the first call is not covered.
    """
    quiz = _quiz()
    ids = _prepared(service, operation, quiz, 3)
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
        holder.execute("select from quiz_sessions where id = %s for update", [ids[1]])
        first = _order(service, operation, quiz, "k").json()
        (later,) = _prepared(service, operation, quiz)
        before = service.read(later).json()
        again = _order(service, operation, quiz, "k").json()
        assert first == again == {"changed": 2, "unchanged": [], "unfinished": True}
        holder.rollback()
    assert _order(service, operation, quiz, "k").json() == {
        "changed": 3,
        "unchanged": [],
        "unfinished": False,
    }
    assert len({service.read(session_id).json()["version"] for session_id in ids}) == 1
    assert service.read(later).json() == before


@ORDERS
def test_200_for_many_sessions_and_callers(
    service: Service, database: psycopg.Connection, operation: str
) -> None:
    """Concurrent calls with one key, for more sessions than a step has, change each session once."""
    quiz = _quiz()
    (template,) = _prepared(service, operation, quiz)
    database.execute(COPIES, [template])

    def call(_: int) -> Any:
        return _order(service, operation, quiz, "k").json()

    with ThreadPoolExecutor(4) as callers:
        reports = list(callers.map(call, range(4)))
    while (last := _order(service, operation, quiz, "k").json())["unfinished"]:
        pass
    assert last["changed"] == 601
    assert all(report["changed"] <= 601 and report["unchanged"] == [] for report in reports)
    query = "select distinct version from quiz_sessions where quiz_id = %s"
    assert len(database.execute(query, [quiz]).fetchall()) == 1


@ORDERS
def test_200_changes_nothing_after_the_last_call(service: Service, operation: str) -> None:
    """Once an order has reached every session, a repeat changes none, also if one has another state since."""
    quiz = _quiz()
    (session_id,) = _prepared(service, operation, quiz)
    # It has the wanted state, so that its row need not have the key.
    opposite = {"pauseSessions": "pause", "resumeSessions": "resume"}.get(operation)
    if opposite:
        given(service, opposite, session_id)
    first = _order(service, operation, quiz, "k").json()
    assert first["unfinished"] is False
    for number in range(17):
        order(service, "deadline", session_id, {"extra_seconds": 1}, f"other-{number}")
    if opposite:
        given(service, "resume" if opposite == "pause" else "pause", session_id)
    session = service.read(session_id).json()
    again = _order(service, operation, quiz, "k").json()
    assert again == {"changed": first["changed"], "unchanged": [], "unfinished": False}
    assert service.read(session_id).json() == session


COPIES = """
    insert into quiz_sessions
    select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid()))).*
    from quiz_sessions as s, generate_series(1, 600)
    where id = %s
"""


@ORDERS
@pytest.mark.parametrize("body", BAD)
def test_400_changes_nothing(service: Service, operation: str, body: Any) -> None:
    """An invalid body is rejected, and no session changes."""
    quiz = _quiz()
    (session_id,) = _prepared(service, operation, quiz)
    before = service.read(session_id).json()
    if body:
        body = {"quiz_id": quiz, **FIELDS.get(operation, {}), **body}
    assert order_quiz(service, KINDS[operation], body).status_code == 400
    assert service.read(session_id).json() == before


@ORDERS
def test_400_without_a_key(service: Service, operation: str) -> None:
    """An order without a key is rejected, and no session changes."""
    quiz = _quiz()
    (session_id,) = _prepared(service, operation, quiz)
    before = service.read(session_id).json()
    refused = _order(service, operation, quiz, None)
    assert (refused.status_code, refused.json()["details"][0]["path"]) == (400, "header")
    assert service.read(session_id).json() == before


@ORDERS
def test_403_for_a_learner(service_with_tokens: Service, operation: str) -> None:
    """A learner's token may give no order for a quiz, also for its own sessions only."""
    service, quiz, user = service_with_tokens, _quiz(), f"user-{uuid4()}"
    start = {"user_id": user, "quiz_id": quiz}
    session = service.client.post("/api/sessions/start", json=start, headers=bearer(user)).json()
    for fields in ({}, {"user_ids": [user]}):
        refused = _order(service, operation, quiz, fields=fields, **bearer(user))
        assert (refused.status_code, refused.json()["errorCode"]) == (403, "FORBIDDEN")
    assert service.read(session["id"], bearer(user)).json() == session
    staff = bearer("back-end", scope=SERVICE_SCOPE)
    assert _order(service, operation, quiz, **staff).status_code == 200


@ORDERS
def test_404_for_a_quiz_of_another_proctor(service_with_tokens: Service, operation: str) -> None:
    """An order of a proctor for a quiz that is not in its token is 404, and changes nothing."""
    service, quiz, user = service_with_tokens, _quiz(), f"user-{uuid4()}"
    start = {"user_id": user, "quiz_id": quiz}
    session = service.client.post("/api/sessions/start", json=start, headers=bearer(user)).json()
    for quizzes in ([], [f"not-{quiz}"]):
        proctor = bearer("teacher", scope="sessions:proctor", quiz_ids=quizzes)
        refused = _order(service, operation, quiz, **proctor)
        assert (refused.status_code, refused.json()["errorCode"]) == (404, "QUIZ_NOT_FOUND")
    assert service.read(session["id"], bearer(user)).json() == session


@ORDERS
def test_413_over_256_kib(service: Service, operation: str) -> None:
    """A body over 256 KiB is rejected."""
    path = f"/api/sessions/{KINDS[operation]}"
    assert service.client.post(path, content=b" " * 262_145).status_code == 413


@ORDERS
def test_415_for_anything_but_json(service: Service, operation: str) -> None:
    """A body must be application/json."""
    headers = {"content-type": "text/plain", "idempotency-key": "k"}
    refused = service.client.post(f"/api/sessions/{KINDS[operation]}", content=b"{}", headers=headers)
    assert refused.status_code == 415


@ORDERS
def test_422_for_a_key_of_another_order(service: Service, operation: str) -> None:
    """A key that another order for the quiz has used is 422; for another quiz it is free."""
    quiz = _quiz()
    (session_id,) = _prepared(service, operation, quiz)
    order_quiz(service, "deadline", {"quiz_id": quiz, "extra_seconds": 77}, "k")
    before = service.read(session_id).json()
    refused = _order(service, operation, quiz, "k")
    assert (refused.status_code, refused.json()["errorCode"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert service.read(session_id).json() == before
    assert _order(service, operation, _quiz(), "k").status_code == 200


@ORDERS
def test_200_with_a_session_that_has_used_the_key(service: Service, operation: str) -> None:
    """A session that has used the key for an order of its own is listed with that error, and stays."""
    quiz = _quiz()
    (session_id,) = _prepared(service, operation, quiz)
    key = "mine"
    path = f"/api/sessions/{session_id}/deadline"
    before = service.client.put(path, json={"extra_seconds": 7}, headers={"idempotency-key": key}).json()
    report = _order(service, operation, quiz, key).json()
    assert report["unchanged"] == [{"id": session_id, "errorCode": "IDEMPOTENCY_KEY_REUSED"}]
    assert service.read(session_id).json() == before


@ORDERS
def test_500_reveals_only_the_request_id(service_without_table: Service, operation: str) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert _order(service_without_table, operation, _quiz()).status_code == 500


@ORDERS
def test_503_without_postgresql(service_without_postgresql: Service, operation: str) -> None:
    """An order is not acknowledged without the database."""
    assert _order(service_without_postgresql, operation, _quiz()).status_code == 503
