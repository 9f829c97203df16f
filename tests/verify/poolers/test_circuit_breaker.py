"""Tests of the circuit breaker behind PgBouncer, which takes connections while PostgreSQL is away."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
from attrs import asdict

from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import pool as connection_pool
from session_service.storage import queries, session_settings, statements
from session_service.storage.pool import ConnectionPool
from session_service.storage.readiness import PROBE
from tests.conftest import migrate
from tests.support.pgbouncer import COMMAND, pgbouncer, prepares
from tests.support.service import folder
from tests.support.waiting import eventually_async
from tests.verify.faults.deployment import migrated_postgres
from tests.verify.histories.postgres import Postgres

pytestmark = pytest.mark.needs(COMMAND)

CONNECTIONS = 3
MODES = ["transaction", "session"]

Start = Callable[..., AbstractContextManager[Callable[[], ConnectionPool]]]


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL, migrated."""
    with folder() as base, migrated_postgres(base) as one:
        yield one


@pytest.fixture
def start(postgres: Postgres) -> Start:
    """Return the function that runs a PgBouncer before PostgreSQL, for pools of connections to it."""

    @contextmanager
    def started(mode: str, *options: str) -> Iterator[Callable[[], ConnectionPool]]:
        urls = {"DATABASE_URL": postgres.url, "MIGRATION_DATABASE_URL": postgres.owner_url}
        with folder() as base, pgbouncer(base, urls, mode, *options) as pooler:
            migrate(pooler.urls)
            yield partial(
                statements.pool,
                pooler.urls["DATABASE_URL"],
                CONNECTIONS,
                session_settings.configure,
                prepares=prepares(mode),
            )

    return started


@pytest.mark.parametrize("mode", MODES)
def test_it_opens_and_closes_by_itself(start: Start, postgres: Postgres, mode: str) -> None:
    """Without PostgreSQL the circuit breaker opens after one request, and closes once it is back."""

    async def run(pools: Callable[[], ConnectionPool]) -> None:
        async with pools() as pool:
            await asyncio.gather(*(_failure(pool) for _ in range(2 * CONNECTIONS)))
            for end in (postgres.stop, postgres.kill):
                assert await _failure(pool) is None
                await asyncio.to_thread(end)
                assert await _failure(pool) is not None
                await eventually_async(lambda: pool.is_down)
                assert await _failure(pool) == "database_down"
                await asyncio.to_thread(postgres.start)
                await eventually_async(lambda: not pool.is_down)
                assert await _failure(pool) is None

    with start(mode) as pools:
        asyncio.run(run(pools))


@pytest.mark.parametrize("mode", MODES)
def test_the_log_has_the_cause(
    start: Start,
    postgres: Postgres,
    mode: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failed connection attempt is logged with the error of the connection."""
    monkeypatch.setattr(connection_pool, "LOG_INTERVAL", 0)

    async def run(pools: Callable[[], ConnectionPool]) -> None:
        async with pools() as pool:
            await asyncio.to_thread(postgres.stop)
            await _failure(pool)
            await eventually_async(lambda: len(logged()) > 1)

    def logged() -> list[str]:
        records = (record for record in caplog.records if record.name == "psycopg.pool")
        return [line for line in map(logging.LogRecord.getMessage, records) if "error connecting" in line]

    with start(mode) as pools:
        asyncio.run(run(pools))
    assert all(": server " in line or "input failed: server closed" in line for line in logged()), logged()


def test_a_frozen_postgresql_keeps_it_closed(start: Start, postgres: Postgres) -> None:
    """A wait that PgBouncer ends does not open the circuit breaker: PostgreSQL is slow and not away."""

    async def run(pools: Callable[[], ConnectionPool]) -> None:
        async with pools() as pool:
            postgres.freeze()
            try:
                assert await _failure(pool) == "no_connection"
                await eventually_async(lambda: pool.get_stats().get("connections_num", 0) > 1)
                assert not pool.is_down
            finally:
                postgres.thaw()

    with start("transaction", "query_wait_timeout = 1") as pools:
        asyncio.run(run(pools))


async def _failure(pool: ConnectionPool) -> str | None:
    """Send a statement; return the reason of its failure, None if it succeeds."""
    try:
        await queries.ping(pool, **asdict(PROBE))
    except ServiceUnavailableError as error:
        return error.reason
    return None
