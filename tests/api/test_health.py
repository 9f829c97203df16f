"""Tests of the health checks: correct under load and in every state of the stores, cached for a second."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest
from psycopg.types.numeric import FloatLoader

from dev import servers
from dev.servers import Database
from session_service.api.health import CachedCheck
from session_service.storage import session_settings, statements
from session_service.storage.connection import PostgresConnection
from session_service.storage.readiness import ReadinessCheck
from tests.conftest import Urls, migrate
from tests.support import clock, conformance
from tests.support.inspection import listens, unread, waiting_for_locks
from tests.support.service import Service, copy_repository, folder, running
from tests.support.waiting import LIMIT, eventually

PROBES = ("/health", "/health/live", "/health/ready")
DOWN = {"/health": 503, "/health/live": 200, "/health/ready": 503}
UP = dict.fromkeys(PROBES, 200)


class ControlledStore:
    """A store whose check completes when the test says so; counts the checks."""

    def __init__(self) -> None:
        self.checks = 0
        self.released = asyncio.Event()

    async def run(self) -> bool:
        """Wait, and report success."""
        self.checks += 1
        await self.released.wait()
        return True


def test_health_checks_are_shared_and_cached() -> None:
    """Concurrent callers share one check, also if one is cancelled; its result is cached for a second."""

    async def run() -> None:
        store = ControlledStore()
        check = CachedCheck(store.run)
        probes = [asyncio.create_task(check.run()) for _ in range(500)]
        await asyncio.sleep(0.1)
        probes[0].cancel()
        store.released.set()
        assert await asyncio.gather(*probes[1:]) == [True] * 499
        assert await check.run()
        assert store.checks == 1
        await asyncio.sleep(1)
        assert await check.run()
        assert store.checks == 2

    clock.run(run())


def test_a_health_check_times_out() -> None:
    """A check without a result within a second fails at once for all callers until it ends."""

    async def run() -> None:
        store = ControlledStore()
        check = CachedCheck(store.run)
        assert not await check.run()
        passed = asyncio.get_running_loop().time()
        assert await asyncio.gather(*(check.run() for _ in range(500))) == [False] * 500
        assert asyncio.get_running_loop().time() == passed
        assert store.checks == 1
        store.released.set()
        await asyncio.sleep(0)
        assert await check.run()
        assert store.checks == 2

    clock.run(run())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Database]:
    """A private PostgreSQL, migrated."""
    with folder() as base, servers.postgres(base, servers.postgres_homes()[0], base) as server:
        migrate({"DATABASE_URL": server.url, "MIGRATION_DATABASE_URL": server.owner_url})
        yield server


def test_health_checks_do_not_use_the_connection_pool_of_requests(
    fresh_database: Urls, patient_repository: Path
) -> None:
    """Health checks succeed while locks block every connection of the requests' pool."""
    migrate(fresh_database)
    with (
        running(fresh_database, patient_repository, DATABASE_POOL_SIZE="2") as service,
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        ThreadPoolExecutor(2) as clients,
        ThreadPoolExecutor(8) as probes,
    ):
        session_id = service.start()["id"]
        _await_expiry()
        with database.transaction():
            database.execute("lock table quiz_sessions in share row exclusive mode")
            stuck = [
                clients.submit(service.save, session_id, 1, "x"),
                clients.submit(
                    service.client.post, "/api/sessions/start", json={"user_id": "ada", "quiz_id": 7}
                ),
            ]
            eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 2)
            responses = [probes.submit(service.client.get, PROBES[number % 3]) for number in range(24)]
            assert {response.result().status_code for response in responses} == {200}
            assert not any(request.done() for request in stuck)
        assert [request.result().status_code for request in stuck] == [200, 201]


def test_a_frozen_postgresql_is_down(postgres: Database, migrated: Urls) -> None:
    """A frozen PostgreSQL is reported as down, at any rate of probes without a leak, and as up afterwards."""
    urls = migrated | {"DATABASE_URL": postgres.url, "ERASE_DATABASE_URL": ""}
    with running(urls) as service, ThreadPoolExecutor(20) as probes:
        with _frozen(postgres):
            _await_statuses(service, DOWN)
            opened = psutil.Process(service.process.pid).num_fds()
            responses = [probes.submit(service.client.get, PROBES[number % 3]) for number in range(300)]
            assert {(one.result().url.path, one.result().status_code) for one in responses} == set(
                DOWN.items()
            )
            assert psutil.Process(service.process.pid).num_fds() <= opened + 20
        _await_statuses(service, UP)


def test_a_read_only_postgresql_is_not_ready(postgres: Database, migrated: Urls) -> None:
    """After a failover to a read-only server the service is not ready until writes succeed again."""
    urls = migrated | {"DATABASE_URL": postgres.url, "ERASE_DATABASE_URL": ""}
    with running(urls) as service, psycopg.connect(postgres.owner_url, autocommit=True) as operator:
        for mode, statuses in (("on", DOWN), ("off", UP)):
            operator.execute(f"alter system set default_transaction_read_only = {mode}")
            operator.execute("select pg_reload_conf()")
            _await_statuses(service, statuses)


def test_a_postgresql_that_returns_other_values_is_not_ready(postgres: Database) -> None:
    """The readiness check fails if PostgreSQL returns a value other than the one that was sent."""

    async def configure(connection: PostgresConnection) -> None:
        connection.adapters.register_loader("int4", FloatLoader)
        await session_settings.configure(connection)

    async def run() -> None:
        async with ReadinessCheck(statements.pool(postgres.url, 1, session_settings.configure)) as check:
            assert await check()
        async with ReadinessCheck(statements.pool(postgres.url, 1, configure)) as check:
            assert not await check()

    asyncio.run(run())


def test_a_postgresql_with_another_date_style_is_not_ready(fresh_database: Urls, tmp_path: Path) -> None:
    """Without its own DateStyle the service is 503, not 200 or 500, while it cannot parse dates."""
    migrate(fresh_database)
    file = copy_repository(tmp_path) / "sql" / "configure.sql"
    pin = "('datestyle', 'ISO, MDY'),"
    assert pin in file.read_text()
    file.write_text(file.read_text().replace(pin, ""))
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as operator,
        running(fresh_database, tmp_path) as service,
    ):
        operator.execute(f"alter database {operator.info.dbname} set datestyle = 'German, DMY'")
        operator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        _await_statuses(service, DOWN)


def test_broken_connections_do_not_fail_the_health_check(postgres: Database, migrated: Urls) -> None:
    """A PostgreSQL that has closed the pooled connections is up as soon as it accepts new ones."""
    urls = migrated | {"DATABASE_URL": postgres.url, "ERASE_DATABASE_URL": ""}
    with running(urls) as service, psycopg.connect(postgres.owner_url, autocommit=True) as operator:
        _await_expiry()
        ended = operator.execute(
            "select pid, pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        pids = [pid for pid, _ in ended]
        left = "select from pg_stat_activity where pid = any (%s)"
        eventually(lambda: not operator.execute(left, [pids]).fetchall())
        assert _statuses(service) == UP


def test_a_redis_failure_in_a_request_is_reported_at_once(migrated: Urls) -> None:
    """A Redis failure that a request has seen is reported at once, despite a cached result."""
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        running(migrated, REDIS_URL=redis.url) as service,
    ):
        session_id = service.start()["id"]
        # On a busy machine a slow Redis is down for a moment.
        eventually(lambda: service.client.get("/health").json()["checks"]["redis"] == "up")
        redis.process.kill()
        redis.process.wait()
        assert service.save(session_id, 1, "x").status_code == 200
        assert service.client.get("/health").json()["checks"]["redis"] == "down"


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_readiness_is_draining_during_graceful_shutdown(migrated: Urls, server: str) -> None:
    """Graceful shutdown: readiness is 503 draining on connections that are still open."""
    with running(migrated, SERVER=server) as service:
        response = readiness_during_shutdown(service)
        assert (response.status_code, response.json()["status"]) == (503, "draining")


def readiness_during_shutdown(service: Service) -> httpx.Response:
    """Return the readiness response of a service during its graceful shutdown, on an open connection."""
    connection = HTTPConnection(urlsplit(service.url).netloc, timeout=LIMIT)
    connection.putrequest("GET", "/health/ready")
    connection.putheader("content-length", "2")
    connection.endheaders()
    # A shutdown waits for this request, which has begun to arrive.
    eventually(lambda: unread(service.url) == 0)
    service.process.terminate()
    eventually(lambda: not listens(service.url))
    connection.send(b"{}")
    with connection.getresponse() as raw:
        response = httpx.Response(raw.status, headers=raw.getheaders(), content=raw.read())
    response.request = httpx.Request("GET", f"{service.url}/health/ready")
    conformance.check(response)
    assert service.process.wait(LIMIT) == 0
    return response


def _await_expiry() -> None:
    """Wait until the cached results have expired."""
    time.sleep(1.1)


def _statuses(service: Service) -> dict[str, int]:
    return {path: service.client.get(path).status_code for path in PROBES}


def _await_statuses(service: Service, statuses: dict[str, int]) -> None:
    eventually(lambda: _statuses(service) == statuses)


@contextmanager
def _frozen(server: Database) -> Iterator[None]:
    """Suspend all processes of a server until the block ends."""
    main = psutil.Process(server.process.pid)
    family = [main, *main.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()
