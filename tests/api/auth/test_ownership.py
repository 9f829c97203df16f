"""Tests of ownership: a foreign session is the same as a missing one, in response and cost."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.api.auth.deployment import ADA, BOB, Deployment, User
from tests.support.service import Headers
from tests.support.waiting import eventually

KEY = "a-key-of-adas"
MISSING = "3f333df6-90a4-4fda-8dd3-9485d27cee36"


def _is_in_progress(_: Deployment, __: User, ___: str) -> None:
    pass


def _is_not_cached(deployment: Deployment, _: User, session_id: str) -> None:
    deployment.redis.delete(f"session:{session_id}")


def _is_completed(_: Deployment, ada: User, session_id: str) -> None:
    assert ada.complete(session_id).status_code == 200


def _is_overdue_and_cached(deployment: Deployment, _: User, session_id: str) -> None:
    # Not at once, so that the row is locked before the sweeper may end it.
    _end_in(deployment, session_id, 3)


def _is_expired(deployment: Deployment, ada: User, session_id: str) -> None:
    _end_in(deployment, session_id, 0)
    deployment.redis.delete(f"session:{session_id}")
    assert ada.read(session_id).status_code == 410


def _end_in(deployment: Deployment, session_id: str, seconds: int) -> None:
    """Let the session be in progress for so many seconds more."""
    move = """
        update quiz_sessions
        set status = 'in_progress', ended_by = null, expires_at = moved.end, closes_at = moved.end
        from (select now() + %s * interval '1 s') as moved ("end")
        where id = %s
    """
    deployment.database.execute(move, [seconds, session_id])


STATES = [_is_in_progress, _is_not_cached, _is_completed, _is_overdue_and_cached, _is_expired]

Request = tuple[str, str, object, Headers]
REQUESTS: list[Request] = [
    ("GET", "", None, {}),
    ("HEAD", "", None, {}),
    ("GET", "", None, {"if-none-match": '"2"'}),
    ("GET", "", None, {"if-none-match": "*"}),
    ("GET", "", None, {"cache-control": "no-cache"}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {}),
    ("PUT", "/progress", {"question_id": 1, "answer": "x"}, {"idempotency-key": KEY}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {"idempotency-key": KEY}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {"if-match": '"2"'}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's", "version": 1}, {}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {"prefer": "return=minimal"}),
    ("PATCH", "/progress", {"answers": {"1": "bob's"}}, {}),
    ("PATCH", "/progress", {"answers": {"2": None}, "version": 9}, {}),
    ("PATCH", "/progress", {"answers": {str(n): 9_000 * "x" for n in range(8)}}, {}),
    ("POST", "/complete", None, {}),
    ("POST", "/complete", {"answers": {"1": "bob's"}}, {"if-match": '"1"', "idempotency-key": KEY}),
]


@pytest.mark.parametrize("state", STATES)
def test_a_foreign_session_is_like_a_missing_one(
    deployment: Deployment, ada: User, bob: User, state: Callable[[Deployment, User, str], None]
) -> None:
    """A request for a foreign session, in any state, has the response and the cost of a missing one: 404."""
    session_id = str(ada.start(user_id=ADA)["id"])
    assert ada.save(session_id, 1, "x", {"idempotency-key": KEY}).status_code == 200
    # The sequencer raises the cache to the version of the start.
    eventually(lambda: deployment.database.execute("select from unplaced_events").rowcount == 0)
    state(deployment, ada, session_id)
    with _without_sweeper(deployment, session_id) if state is _is_overdue_and_cached else nullcontext():
        before = _stored(deployment, session_id)
        for request in REQUESTS:
            # After a slow response of Redis the circuit breaker skips it for a while.
            for _ in range(3):
                foreign, missing = (
                    _response_and_work(deployment, bob, request, place) for place in (session_id, MISSING)
                )
                if foreign == missing:
                    break
            assert foreign[0] == 404, foreign
            assert foreign == missing, request
        assert _stored(deployment, session_id) == before


@contextmanager
def _without_sweeper(deployment: Deployment, session_id: str) -> Iterator[None]:
    """Lock the row, which the sweeper then leaves as it is, and wait until it is overdue."""
    with psycopg.connect(deployment.urls["MIGRATION_DATABASE_URL"]) as holder:
        query = "select status, clock_timestamp() >= closes_at from quiz_sessions where id = %s"
        while holder.execute(f"{query} for update", [session_id]).fetchone() != ("in_progress", False):
            # On a machine that stood still the sweeper came before the lock.
            holder.rollback()
            _end_in(deployment, session_id, 3)
        eventually(lambda: holder.execute(query, [session_id]).fetchone() == ("in_progress", True))
        yield


def _response_and_work(
    deployment: Deployment, user: User, request: Request, session_id: str
) -> tuple[object, ...]:
    """Return the response without the id, and the work of PostgreSQL and Redis for the request."""
    method, path, body, headers = request
    before = deployment.work()
    response = user.client.request(
        method, f"/api/sessions/{session_id}{path}", json=body, headers={"x-request-id": "same", **headers}
    )
    kept = {name: value for name, value in response.headers.items() if name != "date"}
    after = deployment.work()
    calls = [
        (new.split()[0], int(new.split()[1]) - int(old.split()[1]))
        for old, new in zip(before[-2:], after[-2:], strict=True)
    ]
    return (
        response.status_code,
        response.text.replace(session_id, "id"),
        kept,
        after[len(before) - 2 : -2],
        calls,
    )


def _stored(deployment: Deployment, session_id: str) -> tuple[object, object]:
    """Return the row and the cache entry."""
    row = "select to_jsonb(s) from quiz_sessions as s where id = %s"
    return deployment.database.execute(row, [session_id]).fetchone(), deployment.redis.get(
        f"session:{session_id}"
    )


def test_ownership_of_a_cached_session_needs_no_statement(
    deployment: Deployment, ada: User, platform: User
) -> None:
    """Its owner and a service read a cached session without a statement."""
    session = ada.start(user_id=ADA)
    before = deployment.work()[:-2]
    assert ada.read(session["id"]).json() == platform.read(session["id"]).json() == session
    assert deployment.work()[:-2] == before


@pytest.mark.parametrize("other", ["eve", "Eva", "ev", "evaa", 'eva","x":"', "eva ", "e\u0301va"])
def test_similar_user_names_are_different_users(deployment: Deployment, other: str) -> None:
    """Users with similar names are different users, in the cache and in the database."""
    eva, user = User(deployment.service, "eva"), User(deployment.service, other)
    with eva.client, user.client:
        session_id = eva.start(user_id="eva")["id"]
        assert user.read(session_id).status_code == 404
        deployment.redis.delete(f"session:{session_id}")
        assert user.read(session_id).status_code == 404
        assert user.save(session_id, 1, "x").status_code == 404
        assert eva.read(session_id).status_code == 200


def test_a_user_starts_only_its_own_sessions(ada: User, bob: User) -> None:
    """A user starts sessions only for itself, and its idempotency keys are its own."""
    started = ada.start(user_id=ADA, quiz_id=11)
    for body in ({"quiz_id": 11}, {"quiz_id": 11, "if_active": "resume"}):
        rejection = bob.client.post("/api/sessions/start", json={"user_id": ADA, **body})
        assert (rejection.status_code, rejection.json()["errorCode"]) == (403, "FORBIDDEN")
    starts = [
        user.client.post(
            "/api/sessions/start",
            json={"user_id": user.name, "quiz_id": 12},
            headers={"idempotency-key": KEY},
        )
        for user in (ada, bob)
    ]
    assert [response.status_code for response in starts] == [201, 201]
    assert len({started["id"], *(response.json()["id"] for response in starts)}) == 3


def test_a_user_lists_only_its_own_sessions(ada: User, bob: User) -> None:
    """A list has only the user's own sessions, with filters and with the cursor of another user."""
    own = [bob.start(user_id=BOB, quiz_id=21)["id"] for _ in range(3)]
    others = [ada.start(user_id=ADA, quiz_id=21)["id"] for _ in range(3)]
    for query in ("", f"&user_id={BOB}", "&quiz_id=21", f"&quiz_id=21&user_id={BOB}"):
        page = bob.client.get(f"/api/sessions?limit=100{query}").json()
        listed = [item["id"] for item in page["items"]]
        assert {item["user_id"] for item in page["items"]} == {BOB}
        assert set(own) <= set(listed)
    first = ada.client.get("/api/sessions", params={"quiz_id": 21, "limit": 1}).json()
    assert first["items"][0]["id"] in others
    behind = bob.client.get("/api/sessions", params={"cursor": first["next_cursor"]}).json()
    assert {item["user_id"] for item in behind["items"]} == {BOB}
    rejection = bob.client.get("/api/sessions", params={"user_id": ADA})
    assert (rejection.status_code, rejection.json()["errorCode"]) == (403, "FORBIDDEN")


def test_a_service_acts_for_all_users(ada: User, bob: User, platform: User) -> None:
    """A service starts, reads, saves, completes and lists the sessions of all users."""
    session_id = platform.start(user_id=BOB, quiz_id=31)["id"]
    assert bob.save(session_id, 1, "bob's").status_code == 200
    assert platform.save(session_id, 2, "x", {"if-match": '"2"'}).status_code == 200
    assert platform.save_many(session_id, {"3": "y"}).status_code == 200
    assert bob.read(session_id).json() == platform.read(session_id, {"cache-control": "no-cache"}).json()
    ada.start(user_id=ADA, quiz_id=31)
    page = platform.client.get("/api/sessions", params={"quiz_id": 31}).json()
    assert {item["user_id"] for item in page["items"]} == {ADA, BOB}
    page = platform.client.get("/api/sessions", params={"user_id": BOB, "quiz_id": 31}).json()
    assert [item["id"] for item in page["items"]] == [session_id]
    assert platform.complete(session_id).json()["answers"] == {"1": "bob's", "2": "x", "3": "y"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/sessions/start", {"user_id": BOB, "quiz_id": 7}),
        ("PUT", "/api/sessions/{id}/progress", {"question_id": 1, "answer": "x"}),
        ("PATCH", "/api/sessions/{id}/progress", {"answers": {"1": "x"}}),
        ("POST", "/api/sessions/{id}/complete", {}),
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        {"owner": ADA},
        {"id": str(uuid4())},
        {"status": "completed"},
        {"expires_at": "2999-01-01T00:00:00.000Z"},
        {"time_limit_seconds": -1},
        {"started_at": None},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_body_cannot_set_other_fields(
    bob: User, method: str, path: str, body: dict[str, Any], more: dict[str, object]
) -> None:
    """A body cannot set the owner, id, status or times of a session."""
    session = bob.start(user_id=BOB)
    others = {"user_id": ADA} if "{id}" in path else {}
    response = bob.client.request(method, path.format(id=session["id"]), json={**body, **more, **others})
    assert (response.status_code, response.json()["errorCode"]) == (400, "VALIDATION_ERROR")
    assert bob.read(session["id"]).json() == session


def test_a_foreign_request_does_not_wait_for_a_lock(deployment: Deployment, ada: User, bob: User) -> None:
    """While a session is locked, its owner's save waits, and a foreign request is 404 at once."""
    session_id = str(ada.start(user_id=ADA)["id"])
    with ThreadPoolExecutor(1) as client:
        with psycopg.connect(deployment.urls["MIGRATION_DATABASE_URL"]) as holder:
            holder.execute("select from quiz_sessions where id = %s for update", [session_id])
            for _ in range(2):
                # The second time the owner's save waits already.
                for request in REQUESTS:
                    assert _response_and_work(deployment, bob, request, session_id)[0] == 404
                waiting = client.submit(ada.save, session_id, 1, "ada's")
                deployment.await_locks()
            assert not waiting.done()
        assert waiting.result().status_code == 200
