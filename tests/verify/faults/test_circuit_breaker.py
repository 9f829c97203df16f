"""The circuit breaker: while PostgreSQL refuses connections, requests are rejected without a wait."""

import asyncio
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from attrs import asdict

from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries, statements
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import Probe
from session_service.storage.readiness import PROBE
from tests.conftest import Urls
from tests.support.service import Service, folder, free_port, running
from tests.support.waiting import eventually, eventually_async
from tests.verify.faults.test_postgres import server
from tests.verify.histories.postgres import Postgres

REQUESTS = 40
FRESH = {"cache-control": "no-cache"}


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, migrated."""
    with folder() as base, server(base) as one:
        yield one


def test_a_refusal_takes_no_wait(postgres: Postgres) -> None:
    """Once an attempt was refused, statements fail without a single turn of the event loop."""

    async def run() -> None:
        async with statements.pool(postgres.url, 3, queries.configure) as pool:
            await asyncio.gather(*(_ping(pool) for _ in range(6)))
            await asyncio.to_thread(postgres.stop)
            assert await _is_rejected(pool)
            for _ in range(REQUESTS):
                assert _is_rejected_at_once(pool)

    asyncio.run(run())


def test_it_closes_without_a_request(postgres: Postgres) -> None:
    """The pool finds a PostgreSQL that is back by itself, as often as it goes; the next request is served."""

    async def run() -> None:
        async with statements.pool(postgres.url, 1, queries.configure) as pool:
            for end in (postgres.stop, postgres.kill):
                await _ping(pool)
                await asyncio.to_thread(end)
                assert await _is_rejected(pool)
                await asyncio.to_thread(postgres.start)
                await _until_closed(pool)
                await _ping(pool)

    asyncio.run(run())


def test_those_who_wait_are_rejected_with_the_refusal(postgres: Postgres) -> None:
    """Requests that already wait for a connection when PostgreSQL refuses one are rejected then."""

    async def run() -> None:
        async with statements.pool(postgres.url, 1, queries.configure) as pool:
            async with pool.connection():
                # So that only the breaker can end a wait.
                pool.timeout = 3600
                waiting = [asyncio.create_task(_is_rejected(pool)) for _ in range(REQUESTS)]
                await asyncio.sleep(0)
                await asyncio.to_thread(postgres.kill)
            async with asyncio.timeout(20):
                assert all(await asyncio.gather(*waiting))

    asyncio.run(run())


def test_a_connection_that_is_left_is_used(postgres: Postgres) -> None:
    """A server that refuses further connections is not down: requests share those that there are."""

    async def run() -> None:
        with psycopg.connect(postgres.owner_url, autocommit=True) as operator:
            operator.execute("alter role session_service connection limit 1")
        async with statements.pool(postgres.url, 5, queries.configure) as pool:
            await _ping(pool)
            for _ in range(5):
                await asyncio.gather(*(_ping(pool) for _ in range(REQUESTS)))
                await asyncio.sleep(0.1)
            assert not pool.is_down

    asyncio.run(run())


@pytest.mark.parametrize(
    "place",
    ["nowhere.invalid", "127.0.0.1:{closed}", "127.0.0.1:{closed},nowhere.invalid,127.0.0.1:{closed}"],
)
def test_every_kind_of_refusal_counts(place: str) -> None:
    """A closed port, a name that does not resolve, and several hosts of both kinds."""

    async def run() -> None:
        url = f"postgresql://u@{place.format(closed=free_port())}/d"
        async with statements.pool(url, 2, queries.configure) as pool:
            assert await _is_rejected(pool)
            assert _is_rejected_at_once(pool)

    asyncio.run(run())


def test_a_role_that_may_not_log_in_counts(postgres: Postgres) -> None:
    """An error of the server itself is a refusal, until it takes the role again."""

    async def run() -> None:
        with psycopg.connect(postgres.owner_url, autocommit=True) as operator:
            operator.execute("alter role session_service nologin")
            async with statements.pool(postgres.url, 2, queries.configure) as pool:
                assert await _is_rejected(pool)
                assert _is_rejected_at_once(pool)
                operator.execute("alter role session_service login")
                await _until_closed(pool)
                await _ping(pool)

    asyncio.run(run())


def test_a_postgresql_that_stands_still_has_refused_nothing(postgres: Postgres) -> None:
    """Without an answer the breaker stays closed: requests wait, for as long as they did."""

    async def run() -> None:
        async with statements.pool(postgres.url, 1, queries.configure) as pool:
            postgres.freeze()
            try:
                assert await _is_rejected(pool)
                await eventually_async(lambda: pool.get_stats().get("connections_errors"))
                assert not pool.is_down
            finally:
                postgres.thaw()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["hypercorn", "uvicorn"])
def test_an_outage_piles_up_no_work(postgres: Postgres, migrated: Urls, name: str) -> None:
    """Dozens of requests one after the other have their 503 while one slow body has not run out of time."""
    urls = migrated | {"DATABASE_URL": postgres.url}
    with running(urls, SERVER=name) as service:
        session_id = service.start()["id"]
        postgres.stop()
        assert service.save(session_id, 1, "x").status_code == 503
        with _slow_body(service) as slow:
            for _ in range(REQUESTS // 4):
                replies = [
                    service.save(session_id, 1, "x"),
                    service.read(session_id, FRESH),
                    service.client.get("/api/sessions"),
                    service.client.post("/api/sessions/start", json={"user_id": "u", "quiz_id": 7}),
                ]
                assert {reply.status_code for reply in replies} == {503}
                assert {reply.json()["outcome"] for reply in replies} == {"not_applied"}
            assert not _has_reply(slow)
        postgres.start()
        eventually(lambda: service.save(session_id, 1, "x").status_code == 200)
        assert service.read(session_id, FRESH).json()["answers"] == {"1": "x"}


async def _ping(pool: ConnectionPool) -> Probe:
    return await queries.ping(pool, **asdict(PROBE))


async def _is_rejected(pool: ConnectionPool) -> bool:
    try:
        await _ping(pool)
    except ServiceUnavailableError as error:
        return error.outcome == "not_applied"
    return False


def _is_rejected_at_once(pool: ConnectionPool) -> bool:
    """Run a statement up to its first wait, for whatever it is."""
    statement = _is_rejected(pool)
    try:
        statement.send(None)
    except StopIteration as end:
        return bool(end.value)
    statement.close()
    return False


async def _until_closed(pool: ConnectionPool) -> None:
    await eventually_async(lambda: not pool.is_down)


@contextmanager
def _slow_body(service: Service) -> Iterator[socket.socket]:
    """A request whose body does not come: it has its 408 after ten seconds."""
    with socket.create_connection(("127.0.0.1", urlsplit(service.url).port or 0)) as connection:
        connection.sendall(b"POST /api/sessions/start HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        yield connection


def _has_reply(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])
