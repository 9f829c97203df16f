"""Redis outages: requests without the cache, the circuit breaker, dirty sessions and tombstones."""

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from redis import Redis

from dev import servers
from dev.servers import Server
from session_service.sessions.models import EncodedSession
from tests.conftest import Urls
from tests.support.caches import encoded_session, session_cache
from tests.support.inspection import suspended, unread
from tests.support.service import Service, folder, running
from tests.support.waiting import LIMIT, eventually, eventually_async


def test_redis_killed_and_back(migrated: Urls) -> None:
    """Every request succeeds while Redis is down; when Redis is back, the cache is used again."""
    with folder() as base, ExitStack() as stack:
        with servers.redis(base, base) as redis:
            service = stack.enter_context(running(migrated, REDIS_URL=redis.url))
            session_id = service.start()["id"]
            redis.process.kill()
            redis.process.wait()
            assert service.save(session_id, 1, "without redis").status_code == 200
            assert {service.read(session_id).json()["version"] for _ in range(50)} == {2}
            assert service.client.get("/health").json()["status"] == "degraded"
        with servers.redis(base, base) as redis, Redis.from_url(redis.url) as connection:
            _await_healthy(service)
            assert service.read(session_id).json()["version"] == 2
            assert connection.get(f"session:{session_id}") is not None


def test_redis_frozen(migrated: Urls) -> None:
    """A frozen Redis costs one timeout, not one for each request."""
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        running(migrated, REDIS_URL=redis.url) as service,
    ):
        session_id = service.start()["id"]
        redis.process.send_signal(signal.SIGSTOP)
        try:
            assert service.save(session_id, 1, "while frozen").status_code == 200
            assert {service.read(session_id).json()["version"] for _ in range(50)} == {2}
        finally:
            redis.process.send_signal(signal.SIGCONT)
        _await_healthy(service)
        with Redis.from_url(redis.url) as connection:
            # Redis now also executes the commands that it received while it was frozen.
            assert "cmdstat_mget" not in connection.info("commandstats")
        assert service.read(session_id).json()["version"] == 2


def test_redis_full(migrated: Urls) -> None:
    """A full Redis is a cache that misses; the older version of a saved session is deleted."""
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        running(migrated, REDIS_URL=redis.url) as service,
    ):
        session_id = service.start()["id"]
        with Redis.from_url(redis.url) as connection:
            connection.config_set("maxmemory", "1")
            assert service.save(session_id, 1, "x").status_code == 200
            assert connection.get(f"session:{session_id}") is None
        assert service.read(session_id).json()["version"] == 2
        assert service.client.get("/health").json()["status"] == "healthy"


def test_a_suspended_service_does_not_trip_the_circuit_breaker(migrated: Urls) -> None:
    """A service that was suspended does not take its own delay for a timeout of Redis.

    A round counts if the service itself ran for less than half of the Redis timeout of 50 ms.
    """
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        running(migrated, REDIS_URL=redis.url) as service,
        ThreadPoolExecutor(4) as clients,
    ):
        session_id = service.start()["id"]

        def suspend_once() -> bool:
            trips = service.log.read_text().count("circuit breaker open")
            reads, ran = _suspend_during_reads(
                service, redis, lambda: clients.submit(service.read, session_id)
            )
            assert {read.result().status_code for read in reads} == {200}
            if ran < 0.025:
                assert service.log.read_text().count("circuit breaker open") == trips
            _await_healthy(service)
            return ran < 0.025

        for _ in range(5):
            eventually(suspend_once)


def _suspend_during_reads(
    service: Service, redis: Server, read: Callable[[], Future[Any]]
) -> tuple[list[Future[Any]], float]:
    """Have Redis respond to reads while the service is suspended; return them, and how long it ran before."""
    with suspended(service):
        reads = [read() for _ in range(4)]
        eventually(lambda: unread(service.url) == len(reads))
        redis.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
    # The service sends commands to the frozen Redis, and is then suspended itself.
    time.sleep(0.01)
    with suspended(service):
        ran = time.monotonic() - begun
        redis.process.send_signal(signal.SIGCONT)
        with Redis.from_url(redis.url) as operator:
            operator.ping()
        # Longer than the timeout for Redis.
        time.sleep(0.12)
    return reads, ran


def test_a_failed_cache_write_becomes_a_tombstone(migrated: Urls) -> None:
    """After a failed write to Redis, the instance reads the database until it has written a tombstone."""
    with ExitStack() as stack:
        base = stack.enter_context(folder())
        redis = stack.enter_context(servers.redis(base, base))
        one, other = (stack.enter_context(running(migrated, REDIS_URL=redis.url)) for _ in range(2))
        with Redis.from_url(redis.url) as connection:
            session_id = one.start()["id"]
            # Redis accepts reads only, like a master without its replicas.
            connection.config_set("min-replicas-to-write", "1")
            assert one.save(session_id, 1, "x").json()["version"] == 2
            assert one.read(session_id).json()["version"] == 2
            assert other.read(session_id).json()["version"] == 1
            assert other.read(session_id, {"if-none-match": '"2"'}).status_code == 304
            connection.config_set("min-replicas-to-write", "0")
            _await_healthy(one)
            assert isinstance(held := connection.get(f"session:{session_id}"), bytes)
            assert held == b"s1 2 0 "
            assert other.read(session_id).json()["version"] == 2


def test_error_names_in_the_redis_url_are_harmless() -> None:
    """An unreachable Redis whose URL contains names of Redis errors is only unreachable."""

    async def run() -> tuple[EncodedSession | None, bool]:
        async with session_cache("unix:///nowhere/OOM/WRONGTYPE.sock", 1, 64) as cache:
            await cache.put_if_newer([(encoded_session(uuid4(), 2), await cache.now())])
            return await cache.get(uuid4()), await cache.client.ping()

    assert asyncio.run(run()) == (None, False)


def test_the_circuit_breaker_closes_under_load() -> None:
    """Tombstones are written and the circuit breaker closes while new sessions are cached."""

    async def run(url: str) -> None:
        async with session_cache(url, 30, 64) as cache, asyncio.timeout(LIMIT):
            with Redis.from_url(url) as connection:
                connection.config_set("min-replicas-to-write", "1")
                await cache.put_if_newer([(encoded_session(uuid4(), 2), 0)])
                assert not await cache.client.ping()
                connection.config_set("min-replicas-to-write", "0")
            while not await cache.client.ping():
                await asyncio.gather(
                    *(cache.put_if_newer([(encoded_session(uuid4(), 2), 0)]) for _ in range(4))
                )
                await asyncio.sleep(0.001)

    with folder() as base, servers.redis(base, base) as redis:
        asyncio.run(run(redis.url))


def test_too_many_dirty_sessions_disable_the_cache_for_cache_seconds() -> None:
    """After more failed writes than are recorded, the circuit breaker stays open for CACHE_SECONDS."""

    async def run(url: str) -> float:
        async with session_cache(url, 3, 64) as cache:
            for _ in range(20_000):
                await cache.put_if_newer([(encoded_session(uuid4(), 2), 0)])
            begun = time.monotonic()
            await cache.put_if_newer([(encoded_session(uuid4(), 2), 0)])
            with servers.redis(base, base):
                await eventually_async(cache.client.ping)
            return time.monotonic() - begun

    with folder() as base:
        assert asyncio.run(run(f"unix://{base}/redis.sock")) > 3.0


def _await_healthy(service: Service) -> None:
    """Wait until the health of the service is "healthy"."""
    eventually(lambda: service.client.get("/health").json()["status"] == "healthy")
