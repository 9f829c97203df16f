"""Tests of PostgreSQL failures under load: outages, restarts, lost connections, locks, read-only."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

import psycopg

from tests.conftest import Urls
from tests.support.inspection import INSIDE, running_in, waiting_for_locks
from tests.support.load import CLIENTS, load
from tests.support.service import Service, running
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import LIMIT, eventually
from tests.verify.faults.deployment import Deployment, execute, running_async

FRESH = {"cache-control": "no-cache"}


def test_postgresql_is_killed(deployment: Deployment) -> None:
    """While PostgreSQL is down requests are 503; within 2 s of its return all are served, without a loss."""

    async def run() -> None:
        async with load(deployment.service.url) as clients:
            await asyncio.to_thread(deployment.postgres.kill)
            await clients.await_failures()
            await asyncio.to_thread(deployment.postgres.start)
            await clients.await_recovery(monotonic())
        assert clients.lost(deployment.postgres.owner_url) == []

    asyncio.run(run())


def test_postgresql_is_restarted(deployment: Deployment) -> None:
    """In a restart, statements in flight are 503 unknown, other requests 503 not_applied; nothing is lost."""

    async def run() -> None:
        async with load(deployment.service.url) as clients:
            for _ in range(3):
                await asyncio.to_thread(deployment.postgres.stop)
                await asyncio.to_thread(deployment.postgres.start)
                await clients.await_recovery(monotonic())
        outcomes = [save.outcome for save in clients.failures()]
        assert set(outcomes) <= {"unknown", "not_applied"}
        assert outcomes.count("unknown") <= 3 * CLIENTS
        assert clients.lost(deployment.postgres.owner_url) == []

    asyncio.run(run())


def test_postgresql_is_restarted_while_idle(deployment: Deployment) -> None:
    """After a restart no statement is sent on an old connection: a save is applied, or 503 not_applied."""
    session_id = deployment.service.start()["id"]
    for turn in range(3):
        deployment.postgres.stop()
        deployment.postgres.start()
        # The circuit breaker may be open, after a statement of the sweeper.
        eventually(partial(_is_saved, deployment.service, session_id, turn))
        assert deployment.service.read(session_id, FRESH).status_code == 200


def _is_saved(service: Service, session_id: object, question: int) -> bool:
    """Save; return whether it was applied, and fail if that is not known."""
    response = service.save(session_id, question, "x")
    assert response.status_code == 200 or response.json()["outcome"] == "not_applied"
    return response.status_code == 200


def test_connections_are_terminated(deployment: Deployment) -> None:
    """A terminated connection fails only the statement in flight on it."""

    async def run() -> None:
        async with load(deployment.service.url) as clients:
            for _ in range(3):
                for backend in await asyncio.to_thread(deployment.postgres.backends):
                    os.kill(backend, signal.SIGTERM)
                    await asyncio.sleep(0.05)
            await clients.await_recovery(monotonic())
        assert {save.outcome for save in clients.failures()} <= {"unknown"}
        assert clients.lost(deployment.postgres.owner_url) == []

    asyncio.run(run())


def test_postgresql_is_out_of_connections(deployment: Deployment) -> None:
    """While PostgreSQL refuses connections, requests are 503 not_applied; afterwards they are served."""

    async def run() -> None:
        async with load(deployment.service.url) as clients:
            execute(deployment, "alter role session_service connection limit 0")
            execute(
                deployment,
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'session_service'",
            )
            await clients.await_failures()
            execute(deployment, "alter role session_service connection limit -1")
            await clients.await_recovery(monotonic())
        assert [save.outcome for save in clients.failures()].count("not_applied") >= CLIENTS

    asyncio.run(run())


def test_a_lock_blocks_all_connections(deployment: Deployment) -> None:
    """A request that waits for a lock for too long is 503 not_applied."""

    async def run() -> None:
        async with load(deployment.service.url) as clients:
            with psycopg.connect(deployment.postgres.owner_url) as holder:
                holder.execute("lock table quiz_sessions in access exclusive mode")
                await clients.await_failures(1)
            await clients.await_recovery(monotonic())
        assert {save.outcome for save in clients.failures()} == {"not_applied"}

    asyncio.run(run())


def test_a_lock_blocks_the_only_connection(deployment: Deployment, servers: Urls) -> None:
    """With every connection blocked each operation is 503 not_applied in time; liveness and health respond.

    A write that timed out at 5 s would be unknown.
    """
    urls = servers | {"DATABASE_URL": deployment.postgres.url, "ERASE_DATABASE_URL": ""}
    with (
        running(urls, DATABASE_POOL_SIZE="1") as service,
        psycopg.connect(deployment.postgres.owner_url) as holder,
        ThreadPoolExecutor(8) as clients,
    ):
        session_id = service.start()["id"]
        holder.execute("lock table quiz_sessions in access exclusive mode")
        asked = [
            clients.submit(service.save, session_id, 1, "x"),
            clients.submit(service.read, session_id, FRESH),
            clients.submit(service.complete, session_id),
            clients.submit(service.client.get, "/api/sessions"),
            clients.submit(service.client.post, "/api/sessions/start", json={"user_id": "u", "quiz_id": 7}),
        ]
        eventually(lambda: waiting_for_locks(deployment.postgres.owner_url))
        # The readiness check waits for the lock, too, once its last result is a second old.
        assert service.client.get("/health").status_code in {200, 503}
        assert service.client.get("/health/live").status_code == 200
        responses = [response.result() for response in asked]
    assert {response.status_code for response in responses} == {503}
    assert {response.json()["outcome"] for response in responses} == {"not_applied"}
    assert all(response.headers["retry-after"] for response in responses)


def test_postgresql_is_read_only(deployment: Deployment) -> None:
    """While PostgreSQL is read-only saves are 503 not_applied and reads succeed; afterwards saves succeed."""

    async def run() -> None:
        session_id = deployment.service.start()["id"]
        async with load(deployment.service.url) as clients:
            await asyncio.to_thread(deployment.postgres.set, "default_transaction_read_only", "on")
            await clients.await_failures()
            seen = await asyncio.to_thread(deployment.service.read, session_id, FRESH)
            await asyncio.to_thread(deployment.postgres.set, "default_transaction_read_only", "off")
            await clients.await_recovery(monotonic())
        assert seen.status_code == 200
        assert {save.outcome for save in clients.failures()} == {"not_applied"}

    asyncio.run(run())


def test_graceful_shutdown_while_postgresql_is_frozen(deployment: Deployment, servers: Urls) -> None:
    """Graceful shutdown ends while PostgreSQL is frozen; requests in flight get 503 unknown."""
    urls = servers | {"DATABASE_URL": deployment.postgres.url, "ERASE_DATABASE_URL": ""}
    with running(urls, PYTHONPATH=INSIDE) as service, ThreadPoolExecutor(1) as clients:
        # The save needs an open connection, also while the sequencer has one; both services have a sequencer.
        with psycopg.connect(deployment.postgres.owner_url) as holder:
            holder.execute("select from event_feeds for update")
            session_id = service.start()["id"]
            eventually(lambda: waiting_for_locks(deployment.postgres.owner_url) == 2)
            assert service.save(session_id, 1, "w").status_code == 200
        deployment.postgres.freeze()
        try:
            saved = clients.submit(service.save, session_id, 1, "x")
            eventually(lambda: running_in(service, "SessionStore.write"))
            service.process.terminate()
            assert (saved.result().status_code, saved.result().json()["outcome"]) == (503, "unknown")
            assert service.process.wait(LIMIT) == 0
        finally:
            deployment.postgres.thaw()


def test_responses_of_postgresql_are_fragmented(deployment: Deployment, servers: Urls) -> None:
    """PostgreSQL may respond byte by byte; after a truncated response a write is unknown, a read repeated."""

    async def run() -> None:
        proxy = deployment.postgres.proxy()
        urls = servers | {
            "DATABASE_URL": deployment.postgres.url_at(await proxy.start()),
            "ERASE_DATABASE_URL": "",
        }
        async with running_async(urls) as service:
            await asyncio.to_thread(_read_and_save_in_fragments, service, proxy)
        await proxy.stop()

    asyncio.run(run())


def _read_and_save_in_fragments(service: Service, proxy: Proxy) -> None:
    session_id = service.start()["id"]
    proxy.delay, proxy.slice = 0.02, 1
    assert service.save(session_id, 1, "slow").status_code == 200
    assert service.read(session_id, FRESH).json()["answers"] == {"1": "slow"}
    proxy.delay, proxy.slice = 0.0, 65536
    proxy.truncate, proxy.drop_response_with = True, b"slow"
    response = service.save(session_id, 2, "torn")
    assert (response.status_code, response.json()["outcome"]) == (503, "unknown")
    proxy.drop_response_with = b"slow"
    assert service.read(session_id, FRESH).json()["answers"] == {"1": "slow", "2": "torn"}
    assert proxy.lost == 2
