"""Tests of PostgreSQL that take long, because of timeouts: failover, freezes, half-open connections."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

import psycopg
import pytest

from dev.reaper import ROOT
from session_service.storage import session_settings, statements
from session_service.storage.pool import ConnectionPool
from tests.conftest import Urls
from tests.support.inspection import running_in
from tests.support.load import CLIENTS, load
from tests.support.service import folder, free_port, running
from tests.support.waiting import eventually, eventually_async
from tests.verify.faults.deployment import Deployment, deployed, migrated_postgres, running_async
from tests.verify.histories.postgres import Postgres

FRESH = {"cache-control": "no-cache"}


def switchover(urls: Urls) -> None:
    """Switchover: the service leaves a read-only primary for the promoted standby."""
    _fail_over(urls, lambda primary: primary.set("default_transaction_read_only", "on"))


def failover(urls: Urls) -> None:
    """Failover: the service finds the promoted synchronous standby, which has every acknowledged answer."""
    _fail_over(urls, Postgres.kill)


def _fail_over(urls: Urls, end: Callable[[Postgres], None]) -> None:
    async def run(primary: Postgres, standby: Postgres, url: str) -> None:
        async with load(url) as clients:
            await asyncio.to_thread(end, primary)
            await asyncio.to_thread(standby.promote)
            await clients.await_recovery(monotonic())
        assert clients.lost(standby.owner_url) == []

    with folder() as first, folder() as second, migrated_postgres(first) as primary:
        standby = Postgres(second)
        primary.replicate(standby)
        hosts = f"host={first},{second}&target_session_attrs=read-write"
        url = f"postgresql://session_service@/postgres?{hosts}"
        with running(urls | {"DATABASE_URL": url, "ERASE_DATABASE_URL": ""}) as service:
            asyncio.run(run(primary, standby, service.url))
        standby.stop()


def frozen_postgresql(urls: Urls) -> None:
    """While PostgreSQL is frozen each request has a response in time; soon afterwards all are served."""

    async def run(deployment: Deployment) -> None:
        async with load(deployment.service.url) as clients:
            deployment.postgres.freeze()
            # Each client has had responses although PostgreSQL is frozen.
            await clients.await_failures(2 * CLIENTS)
            deployment.postgres.thaw()
            await clients.await_recovery(monotonic())
        assert clients.lost(deployment.postgres.owner_url) == []

    with deployed(urls) as deployment:
        session_id = deployment.service.start()["id"]
        eventually(lambda: _is_answered_in_time(deployment, session_id))
        asyncio.run(run(deployment))


def _is_answered_in_time(deployment: Deployment, session_id: object) -> bool:
    """Return whether a save has its response before its connection is replaced, a second later.

    A service without CPU time in that second does not show it; the caller tries again.
    """
    deployment.postgres.freeze()
    try:
        response = deployment.service.save(session_id, 1, "x")
        waits = running_in(deployment.service, "SessionStore.write") > 0
    finally:
        deployment.postgres.thaw()
    eventually(lambda: deployment.service.read(session_id, FRESH).status_code == 200)
    return waits and (response.status_code, response.json()["outcome"]) == (503, "unknown")


def long_outage(urls: Urls) -> None:
    """After a long outage of PostgreSQL all clients are served within 2 s."""

    async def run(deployment: Deployment) -> None:
        async with load(deployment.service.url) as clients:
            await asyncio.to_thread(deployment.postgres.kill)
            await asyncio.sleep(8)
            await asyncio.to_thread(deployment.postgres.start)
            await clients.await_recovery(monotonic())
        assert clients.lost(deployment.postgres.owner_url) == []

    with deployed(urls) as deployment:
        asyncio.run(run(deployment))


def half_open_connections(urls: Urls) -> None:
    """Half-open connections are all replaced after 6 s."""

    async def run(postgres: Postgres) -> None:
        proxy = postgres.proxy()
        through = urls | {"DATABASE_URL": postgres.url_at(await proxy.start()), "ERASE_DATABASE_URL": ""}
        async with running_async(through) as service, load(service.url) as clients:
            proxy.freeze_open_connections()
            stranded = monotonic()
            await clients.await_failures()
            await clients.await_recovery(stranded + 6)
        assert clients.lost(postgres.owner_url) == []
        await proxy.stop()

    with folder() as base, migrated_postgres(base) as postgres:
        asyncio.run(run(postgres))


def statement_timeouts(urls: Urls) -> None:
    """PostgreSQL cancels statements after 5 s, and closes transactions that are idle for as long."""

    async def sleep_long(pool: ConnectionPool) -> None:
        async with pool.connection() as connection:
            with pytest.raises(psycopg.errors.QueryCanceled):
                await connection.execute("select pg_sleep(9)")

    async def leave_open(pool: ConnectionPool) -> None:
        async with pool.connection() as connection:
            await connection.execute("begin")
            await eventually_async(lambda: not connection.is_alive())
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                await connection.execute("select from quiz_sessions")

    async def run() -> None:
        async with statements.pool(urls["DATABASE_URL"], 2, session_settings.configure) as pool:
            await asyncio.gather(sleep_long(pool), leave_open(pool))

    asyncio.run(run())


def no_postgresql_at_the_start(urls: Urls) -> None:
    """A service waits 30 s for PostgreSQL, then exits with one line."""
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "PORT": str(free_port())}
    begun = monotonic()
    command = [sys.executable, "-m", "session_service"]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **urls, **nowhere}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout.count("cannot start: the PostgreSQL of DATABASE_URL is out of reach: ") == 1
    assert monotonic() - begun > 30


LONG = [
    no_postgresql_at_the_start,
    switchover,
    failover,
    frozen_postgresql,
    long_outage,
    half_open_connections,
    statement_timeouts,
]


Scenario = Callable[[Urls], None]


@pytest.fixture(scope="module", autouse=True)
def outcomes(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[dict[Scenario, Future[None]]]:
    """The outcomes of the selected scenarios, which run at the same time."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    asked = {param.params["scenario"] for param in params if param and "scenario" in param.params}
    with ThreadPoolExecutor(len(LONG)) as executor:
        yield {scenario: executor.submit(scenario, migrated) for scenario in LONG if scenario in asked}


@pytest.mark.parametrize("scenario", LONG, ids=lambda scenario: scenario.__name__)
def test_long_scenario(scenario: Scenario, outcomes: dict[Scenario, Future[None]]) -> None:
    """A long scenario has its outcome."""
    outcomes[scenario].result()
