"""Tests of the circuit breaker of PostgreSQL: while it is open, requests are rejected without a wait."""

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
from session_service.storage import queries, session_settings, statements
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import Probe
from session_service.storage.readiness import PROBE
from tests.conftest import Urls
from tests.support.service import Service, folder, free_port, running
from tests.support.waiting import eventually, eventually_async
from tests.verify.faults.deployment import migrated_postgres
from tests.verify.histories.postgres import Postgres

REQUESTS = 40
FRESH = {"cache-control": "no-cache"}


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL, migrated."""
    with folder() as base, migrated_postgres(base) as one:
        yield one


def test_the_open_circuit_breaker_rejects_without_a_wait(postgres: Postgres) -> None:
    """With the circuit breaker open, statements fail within one step of the event loop."""

    async def run() -> None:
        async with statements.pool(postgres.url, 3, session_settings.configure) as pool:
            await asyncio.gather(*(_ping(pool) for _ in range(6)))
            await asyncio.to_thread(postgres.stop)
            assert await _is_rejected(pool)
            for _ in range(REQUESTS):
                assert _is_rejected_at_once(pool)

    asyncio.run(run())


def test_the_circuit_breaker_closes_by_itself(postgres: Postgres) -> None:
    """The circuit breaker closes by itself once PostgreSQL is back."""

    async def run() -> None:
        async with statements.pool(postgres.url, 1, session_settings.configure) as pool:
            for end in (postgres.stop, postgres.kill):
                await _ping(pool)
                await asyncio.to_thread(end)
                assert await _is_rejected(pool)
                await asyncio.to_thread(postgres.start)
                await _until_closed(pool)
                await _ping(pool)

    asyncio.run(run())


def test_the_circuit_breaker_rejects_waiting_requests(postgres: Postgres) -> None:
    """Requests that wait for a connection are rejected when the circuit breaker opens."""

    async def run() -> None:
        async with statements.pool(postgres.url, 1, session_settings.configure) as pool:
            async with pool.connection():
                # Only the circuit breaker may end the wait.
                pool.timeout = 3600
                waiting = [asyncio.create_task(_is_rejected(pool)) for _ in range(REQUESTS)]
                await asyncio.sleep(0)
                await asyncio.to_thread(postgres.kill)
            async with asyncio.timeout(20):
                assert all(await asyncio.gather(*waiting))

    asyncio.run(run())


def test_remaining_connections_keep_the_circuit_breaker_closed(postgres: Postgres) -> None:
    """A server that only refuses further connections does not open the circuit breaker."""

    async def run() -> None:
        with psycopg.connect(postgres.owner_url, autocommit=True) as operator:
            operator.execute("alter role session_service connection limit 1")
        async with statements.pool(postgres.url, 5, session_settings.configure) as pool:
            await _ping(pool)
            for _ in range(5):
                await asyncio.gather(*(_ping(pool) for _ in range(REQUESTS)))
                await asyncio.sleep(0.1)
            assert not pool.is_down

    asyncio.run(run())


@pytest.mark.parametrize(
    "hosts",
    ["nowhere.invalid", "127.0.0.1:{closed}", "127.0.0.1:{closed},nowhere.invalid,127.0.0.1:{closed}"],
)
def test_every_connection_error_opens_the_circuit_breaker(hosts: str) -> None:
    """A closed port, an unknown host name and a list of both open the circuit breaker."""

    async def run() -> None:
        url = f"postgresql://u@{hosts.format(closed=free_port())}/d"
        async with statements.pool(url, 2, session_settings.configure) as pool:
            assert await _is_rejected(pool)
            assert _is_rejected_at_once(pool)

    asyncio.run(run())


def test_a_role_without_login_opens_the_circuit_breaker(postgres: Postgres) -> None:
    """A role without login opens the circuit breaker, until it may log in again."""

    async def run() -> None:
        with psycopg.connect(postgres.owner_url, autocommit=True) as operator:
            operator.execute("alter role session_service nologin")
            async with statements.pool(postgres.url, 2, session_settings.configure) as pool:
                assert await _is_rejected(pool)
                assert _is_rejected_at_once(pool)
                operator.execute("alter role session_service login")
                await _until_closed(pool)
                await _ping(pool)

    asyncio.run(run())


def test_a_frozen_postgresql_keeps_the_circuit_breaker_closed(postgres: Postgres) -> None:
    """A frozen PostgreSQL does not open the circuit breaker: requests wait until their timeout."""

    async def run() -> None:
        async with statements.pool(postgres.url, 1, session_settings.configure) as pool:
            postgres.freeze()
            try:
                assert await _is_rejected(pool)
                await eventually_async(lambda: pool.get_stats().get("connections_errors"))
                assert not pool.is_down
            finally:
                postgres.thaw()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["hypercorn", "uvicorn"])
def test_requests_are_rejected_at_once_during_an_outage(
    postgres: Postgres, migrated: Urls, name: str
) -> None:
    """During an outage requests are 503 at once: dozens in less time than the timeout of one body."""
    urls = migrated | {"DATABASE_URL": postgres.url, "ERASE_DATABASE_URL": ""}
    with running(urls, SERVER=name) as service:
        session_id = service.start()["id"]
        postgres.stop()
        assert service.save(session_id, 1, "x").status_code == 503
        with _slow_body(service) as slow:
            for _ in range(REQUESTS // 4):
                responses = [
                    service.save(session_id, 1, "x"),
                    service.read(session_id, FRESH),
                    service.client.get("/api/sessions"),
                    service.client.post("/api/sessions/start", json={"user_id": "u", "quiz_id": 7}),
                ]
                assert {response.status_code for response in responses} == {503}
                assert {response.json()["outcome"] for response in responses} == {"not_applied"}
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
    """Run a statement up to its first wait; return whether it was rejected before."""
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
    """Send a request whose body does not arrive: it is 408 after ten seconds."""
    with socket.create_connection(("127.0.0.1", urlsplit(service.url).port or 0)) as connection:
        connection.sendall(b"POST /api/sessions/start HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        yield connection


def _has_reply(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])
