"""Probes: answered at any rate and in any state of the stores, and no load on what they ask about."""

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
from session_service.storage import queries, statements
from session_service.storage.connection import Connection
from session_service.storage.readiness import ReadinessCheck
from tests.conftest import Urls, migrate
from tests.support import clock, conformance
from tests.support.inspection import listens, unread, waiting_for_locks
from tests.support.service import Service, copy_house, folder, running
from tests.support.waiting import LIMIT, eventually

PROBES = ("/health", "/health/live", "/health/ready")
DOWN = {"/health": 503, "/health/live": 200, "/health/ready": 503}
UP = dict.fromkeys(PROBES, 200)


class Store:
    """A store that answers when the test says so, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def ask(self) -> bool:
        """Wait, and say that it is up."""
        self.asked += 1
        await self.answers.wait()
        return True


def test_a_store_is_asked_once_a_second_by_one_for_all() -> None:
    """However many want to know, and whoever of them leaves, there is one question at a time."""

    async def run() -> None:
        store = Store()
        asked = CachedCheck(store.ask)
        probes = [asyncio.create_task(asked.run()) for _ in range(500)]
        await asyncio.sleep(0.1)
        probes[0].cancel()
        store.answers.set()
        assert await asyncio.gather(*probes[1:]) == [True] * 499
        assert await asked.run()
        assert store.asked == 1
        await asyncio.sleep(1)
        assert await asked.run()
        assert store.asked == 2

    clock.run(run())


def test_a_store_that_stands_still_is_down_and_asked_no_more() -> None:
    """Without an answer within a second the word is no, and it is no at once until there is an answer."""

    async def run() -> None:
        store = Store()
        asked = CachedCheck(store.ask)
        assert not await asked.run()
        passed = asyncio.get_running_loop().time()
        assert await asyncio.gather(*(asked.run() for _ in range(500))) == [False] * 500
        assert asyncio.get_running_loop().time() == passed
        assert store.asked == 1
        store.answers.set()
        await asyncio.sleep(0)
        assert await asked.run()
        assert store.asked == 2

    clock.run(run())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Database]:
    """A PostgreSQL of the tests' own, migrated."""
    with folder() as base, servers.postgres(base, servers.postgres_homes()[0], base) as server:
        migrate({"DATABASE_URL": server.url, "MIGRATION_DATABASE_URL": server.owner_url})
        yield server


def test_probes_need_nothing_of_the_requests(fresh_database: Urls) -> None:
    """While operators' locks hold up every connection there is, any number of probes is told the truth."""
    migrate(fresh_database)
    with (
        running(fresh_database, DATABASE_POOL_SIZE="2") as service,
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        ThreadPoolExecutor(2) as clients,
        ThreadPoolExecutor(8) as probes,
    ):
        session_id = service.start()["id"]
        _forget()
        with database.transaction():
            database.execute("lock table quiz_sessions in share row exclusive mode")
            stuck = [
                clients.submit(service.save, session_id, 1, "x"),
                clients.submit(
                    service.client.post, "/api/sessions/start", json={"user_id": "ada", "quiz_id": 7}
                ),
            ]
            eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 2)
            asked = [probes.submit(service.client.get, PROBES[number % 3]) for number in range(24)]
            assert {probe.result().status_code for probe in asked} == {200}
            assert not any(request.done() for request in stuck)
        assert [request.result().status_code for request in stuck] == [200, 201]


def test_a_frozen_postgresql_is_told_as_down(postgres: Database, migrated: Urls) -> None:
    """A PostgreSQL that stands still is down to any number of probes within moments, and up when it thaws."""
    urls = migrated | {"DATABASE_URL": postgres.url}
    with running(urls) as service, ThreadPoolExecutor(20) as probes:
        with _frozen(postgres):
            _await_told(service, DOWN)
            opened = psutil.Process(service.process.pid).num_fds()
            asked = [probes.submit(service.client.get, PROBES[number % 3]) for number in range(300)]
            assert {(one.result().url.path, one.result().status_code) for one in asked} == set(DOWN.items())
            assert psutil.Process(service.process.pid).num_fds() <= opened + 20
        _await_told(service, UP)


def test_a_database_that_takes_no_writes_is_told_as_down(postgres: Database, migrated: Urls) -> None:
    """Failed over to a server that only reads, the service wants no requests, until it can save again."""
    urls = migrated | {"DATABASE_URL": postgres.url}
    with running(urls) as service, psycopg.connect(postgres.owner_url, autocommit=True) as operator:
        for mode, told in (("on", DOWN), ("off", UP)):
            operator.execute(f"alter system set default_transaction_read_only = {mode}")
            operator.execute("select pg_reload_conf()")
            _await_told(service, told)


def test_a_database_that_returns_other_values_is_down(postgres: Database) -> None:
    """A value that comes back changed is no success of the readiness check."""

    async def configure(connection: Connection) -> None:
        connection.adapters.register_loader("int4", FloatLoader)
        await queries.configure(connection)

    async def run() -> None:
        async with ReadinessCheck(statements.pool(postgres.url, 1, queries.configure)) as check:
            assert await check()
        async with ReadinessCheck(statements.pool(postgres.url, 1, configure)) as check:
            assert not await check()

    asyncio.run(run())


def test_a_setting_that_is_not_pinned_is_not_ready(fresh_database: Urls, tmp_path: Path) -> None:
    """A service without the date format of its own is 503, not 200 or 500, where it cannot read dates."""
    migrate(fresh_database)
    file = copy_house(tmp_path) / "sql" / "configure.sql"
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
        _await_told(service, DOWN)


def test_a_connection_that_has_broken_is_no_word_on_the_server(postgres: Database, migrated: Urls) -> None:
    """A PostgreSQL that has closed the connections of before is up as soon as it takes new ones."""
    urls = migrated | {"DATABASE_URL": postgres.url}
    with running(urls) as service, psycopg.connect(postgres.owner_url, autocommit=True) as operator:
        _forget()
        ended = operator.execute(
            "select pid, pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        pids = [pid for pid, _ in ended]
        left = "select from pg_stat_activity where pid = any (%s)"
        eventually(lambda: not operator.execute(left, [pids]).fetchall())
        assert _told(service) == UP


def test_what_a_request_has_found_out_of_redis_counts_at_once(migrated: Urls) -> None:
    """Redis is told as down with the first request that misses it, however lately it was seen to be up."""
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        running(migrated, REDIS_URL=redis.url) as service,
    ):
        session_id = service.start()["id"]
        assert service.client.get("/health").json()["checks"]["redis"] == "up"
        redis.process.kill()
        redis.process.wait()
        assert service.save(session_id, 1, "x").status_code == 200
        assert service.client.get("/health").json()["checks"]["redis"] == "down"


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_a_service_that_ends_wants_no_requests(migrated: Urls, server: str) -> None:
    """Once told to end, a service tells it on the connections that it still has."""
    with running(migrated, SERVER=server) as service:
        reply = ask_at_the_end(service)
        assert (reply.status_code, reply.json()["status"]) == (503, "draining")


def ask_at_the_end(service: Service) -> httpx.Response:
    """Tell the service to end, and return what it says of its readiness on a connection that it still has."""
    connection = HTTPConnection(urlsplit(service.url).netloc, timeout=LIMIT)
    connection.putrequest("GET", "/health/ready")
    connection.putheader("content-length", "2")
    connection.endheaders()
    # With a request under way the service does not end; this one has begun to arrive.
    eventually(lambda: unread(service.url) == 0)
    service.process.terminate()
    eventually(lambda: not listens(service.url))
    connection.send(b"{}")
    with connection.getresponse() as told:
        reply = httpx.Response(told.status, headers=told.getheaders(), content=told.read())
    reply.request = httpx.Request("GET", f"{service.url}/health/ready")
    conformance.check(reply)
    assert service.process.wait(LIMIT) == 0
    return reply


def _forget() -> None:
    """Wait until what the stores said is of no use any more."""
    time.sleep(1.1)


def _told(service: Service) -> dict[str, int]:
    return {path: service.client.get(path).status_code for path in PROBES}


def _await_told(service: Service, told: dict[str, int]) -> None:
    eventually(lambda: _told(service) == told)


@contextmanager
def _frozen(server: Database) -> Iterator[None]:
    """Stop a server with all its processes, and let them go on in the end."""
    main = psutil.Process(server.process.pid)
    family = [main, *main.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()
