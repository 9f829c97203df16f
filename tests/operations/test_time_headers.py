"""The headers session-expires-at and session-now: the time left, without a clock of the client."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import psycopg
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import age
from tests.support.service import Service, running
from tests.support.tcp_proxy import Proxy

FRESH = {"cache-control": "no-cache"}
ORIGIN = "https://quiz.example"
MINIMAL = {"prefer": "return=minimal"}


def _now(response: httpx.Response) -> datetime:
    text = response.headers["session-now"]
    assert len(text) == len("2026-11-23T09:05:12.345Z")
    return datetime.fromisoformat(text)


def _clock(database: psycopg.Connection) -> datetime:
    ((now,),) = database.execute("select date_trunc('milliseconds', clock_timestamp())").fetchall()
    assert isinstance(now, datetime)
    return now.astimezone(UTC)


def _replies(service: Service, end: Callable[[object], None]) -> Iterator[tuple[int, httpx.Response]]:
    """Yield an expected status and a reply of each kind about a session."""
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, "time_limit_seconds": 60, "grace_seconds": 5}
    key = {"idempotency-key": "k"}
    started = service.client.post("/api/sessions/start", json=body, headers=key)
    yield 201, started
    session_id = started.json()["id"]
    path = f"/api/sessions/{session_id}"
    yield 200, service.client.post("/api/sessions/start", json=body, headers=key)
    yield 200, service.save(session_id, 1, "x", key)
    yield 200, service.save(session_id, 1, "x", key)
    yield 200, service.save_many(session_id, {"1": "y"})
    yield 204, service.save(session_id, 1, "z", MINIMAL)
    yield 204, service.save_many(session_id, {"1": "z"}, MINIMAL)
    yield 409, service.save(session_id, 1, "z", version=1)
    yield 409, service.complete(session_id, version=1)
    for more in ({}, FRESH):
        yield 200, service.read(session_id, more)
        yield 200, service.client.head(path, headers=more)
        yield 304, service.read(session_id, {"if-none-match": "*", **more})
    yield 200, service.complete(session_id)
    yield 410, service.save(session_id, 1, "z")
    other = service.client.post("/api/sessions/start", json=body).json()["id"]
    end(other)
    yield 410, service.save(other, 1, "x")
    yield 410, service.read(other)
    yield 410, service.client.head(f"/api/sessions/{other}")
    yield 410, service.read(other, FRESH)


def test_every_reply_about_a_session_has_its_times(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """Every reply about a session has its `expires_at` and the database's time, also without a body."""
    before = start = _clock(database)
    statuses = set()
    expires_at = ""
    for status, response in _replies(service, lambda one: age(database, cache, one, 66)):
        assert response.status_code == status, response.text
        statuses.add(status)
        # A reply without a body follows one with a body of the same session.
        if response.content:
            session = response.json().get("session", response.json())
            expires_at = session["expires_at"]
            assert response.headers["session-now"] >= session["updated_at"]
        assert response.headers["session-expires-at"] == expires_at
        assert before <= _now(response) <= _clock(database)
        before = _now(response)
    assert statuses == {200, 201, 204, 304, 409, 410}
    assert start < before


def test_replies_without_an_end_say_none(service: Service) -> None:
    """A session without an end has `none` and the database's time."""
    session_id = service.start(time_limit_seconds=0)["id"]
    replies = [
        service.read(session_id),
        service.read(session_id, {"if-none-match": "*"}),
        service.read(session_id, FRESH),
        service.save(session_id, 1, "x", MINIMAL),
        service.save(session_id, 1, "x", version=1),
        service.complete(session_id),
        service.save(session_id, 1, "x"),
    ]
    assert [response.status_code for response in replies] == [200, 304, 200, 204, 409, 200, 410]
    assert {response.headers["session-expires-at"] for response in replies} == {"none"}
    assert sorted(map(_now, replies)) == list(map(_now, replies))


def test_other_replies_have_no_times(service: Service) -> None:
    """A reply that is not about sessions has neither header, and a list has only the clock."""
    assert "session-expires-at" not in service.client.get("/api/sessions", params={"limit": "1"}).headers
    for response in (
        service.read(uuid4()),
        service.read("x"),
        service.client.get("/health"),
    ):
        assert "session-now" not in response.headers
        assert "session-expires-at" not in response.headers


def test_the_clock_goes_on_without_statements(service: Service, database: psycopg.Connection) -> None:
    """`session-now` of a read from the cache goes on, and is no later than the database's clock."""
    session_id = service.start()["id"]
    first = _now(service.read(session_id))
    end = _clock(database)
    shown = [first]
    while shown[-1] <= end:
        shown.append(_now(service.read(session_id)))
        assert shown[-1] <= _clock(database)
    assert shown == sorted(shown)


def test_pages_of_other_origins_may_read_the_times(migrated: Urls) -> None:
    """Both headers are exposed to pages of an allowed origin."""
    with running(migrated, CORS_ORIGINS=ORIGIN) as service:
        response = service.read(service.start()["id"], {"origin": ORIGIN})
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"session-expires-at", "session-now"} <= set(exposed)


def _check_behind_proxy(urls: Urls, delay: float, check: Callable[[Service, Proxy], None]) -> None:
    """Run the check with an instance whose PostgreSQL is behind a proxy with this delay in seconds."""
    sockets = urls["REDIS_URL"].removeprefix("unix://").removesuffix("redis.sock")

    def run_check(port: int) -> None:
        database_url = f"postgresql://session_service@127.0.0.1:{port}/postgres"
        with running(urls | {"DATABASE_URL": database_url}) as instance:
            check(instance, proxy)

    async def run() -> None:
        proxy.delay = delay
        await asyncio.to_thread(run_check, await proxy.start())
        await proxy.stop()

    proxy = Proxy(lambda: asyncio.open_unix_connection(f"{sockets}.s.PGSQL.5432"))
    asyncio.run(run())


def test_a_distant_instance_is_not_behind(service: Service, migrated: Urls) -> None:
    """`session-now` is not before the session's last change, also if an instance reads the clock late."""

    def check(distant: Service, _: Proxy) -> None:
        session_id = service.start()["id"]
        for answer in range(10):
            saved = service.save(session_id, 1, answer)
            shown = distant.read(session_id)
            assert shown.headers["etag"] == saved.headers["etag"]
            assert shown.headers["session-now"] >= saved.json()["updated_at"]

    _check_behind_proxy(migrated, 0.05, check)


def test_a_late_result_does_not_set_the_clock_back(service: Service, migrated: Urls) -> None:
    """`session-now` does not go back when the result of a statement arrives late."""

    def check(instance: Service, proxy: Proxy) -> None:
        session_id, other = service.start()["id"], service.start()["id"]
        proxy.delay = 0.3
        shown = [_now(instance.read(session_id))]
        with ThreadPoolExecutor(1) as client:
            late = client.submit(instance.read, other, FRESH)
            while not late.done():
                shown.append(_now(instance.read(session_id)))
        shown.append(_now(instance.read(session_id)))
        assert shown == sorted(shown)
        assert len(shown) > 2

    _check_behind_proxy(migrated, 0.0, check)
