"""Rate limits: each caller's own, counted by all instances together, and no worse without Redis."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from dev import servers
from session_service.sessions.errors import RateLimitedError
from session_service.storage.redis import RedisClient, UnreachableError
from session_service.traffic.rate_limiter import TAKE, RateLimiter
from tests.conftest import Urls
from tests.support import issuer
from tests.support.raw_http import connected, replies
from tests.support.service import folder, running
from tests.support.waiting import LIMIT, eventually_async

ADA, BOB = "ada", "bob"


def _limiter(client: RedisClient, per_minute: int) -> RateLimiter:
    return RateLimiter(client.script(TAKE), per_minute, unreachable=UnreachableError, max_batch_size=64)


@asynccontextmanager
async def _instances(url: str, per_minute: int, instances: int = 2) -> AsyncIterator[list[RateLimiter]]:
    """The limits of so many instances."""
    async with AsyncExitStack() as stack:
        caches = [await stack.enter_async_context(RedisClient(url)) for _ in range(instances)]
        yield [_limiter(cache, per_minute) for cache in caches]


async def _wait(limit: RateLimiter, caller: str) -> int:
    """Spend, and return how long the caller has to wait; 0 if it may go on."""
    try:
        await limit.acquire(caller)
    except RateLimitedError as error:
        return error.retry_after
    return 0


async def _passed(limits: list[RateLimiter], caller: str, requests: int) -> int:
    """Send so many requests at once, by the instances in turn, and return how many may go on."""
    sent = [_wait(limits[number % len(limits)], caller) for number in range(requests)]
    return (await asyncio.gather(*sent)).count(0)


def _run(work: Callable[[str, Path], Awaitable[None]]) -> None:
    """Do it beside a Redis of its own."""
    with folder() as base, servers.redis(base, base) as redis:
        asyncio.run(_bounded(work(redis.url, base)))


async def _bounded(work: Awaitable[None]) -> None:
    async with asyncio.timeout(LIMIT):
        await work


def test_a_limit_is_shared_by_all_instances() -> None:
    """A caller has its minute's worth once, through however many instances it asks; each caller its own."""

    async def work(url: str, _: Path) -> None:
        async with _instances(url, 3) as limits:
            assert await _passed(limits, ADA, 100) == 3
            assert await _passed(limits, BOB, 2) == 2

    _run(work)


def test_a_caller_that_waits_as_told_goes_on() -> None:
    """The wait is in whole seconds, long enough and not a second too long; refusals do not make it longer."""

    async def work(url: str, _: Path) -> None:
        async with _instances(url, 20) as limits:
            begun = time.monotonic()
            assert await _passed(limits, ADA, 100) == 20
            waits = [await _wait(limits[0], ADA) for _ in range(50)]
            assert 3 - int(time.monotonic() - begun) <= waits[-1] <= waits[0] <= 3
            await asyncio.sleep(waits[-1])
            assert await _wait(limits[1], ADA) == 0

    _run(work)


def test_time_refills_what_was_used() -> None:
    """At ten a second half a second is worth five requests; a longer one no more than a minute's worth."""

    async def work(url: str, _: Path) -> None:
        async with _instances(url, 600) as limits:
            begun = time.monotonic()
            assert await _passed(limits, BOB, 5) == 5
            passed = await _passed(limits, ADA, 700)
            assert passed >= 600
            await asyncio.sleep(0.5)
            more = await _passed(limits, ADA, 100)
            assert more >= 5
            assert passed + more <= 600 + 10 * (time.monotonic() - begun) + 1
            assert 600 <= await _passed(limits, BOB, 700) <= 600 + 10 * (time.monotonic() - begun)

    _run(work)


def test_redis_is_not_told_who_asks() -> None:
    """What stands in Redis of a caller is no name, and is gone when its bucket is full again."""

    async def work(url: str, _: Path) -> None:
        async with _instances(url, 2) as limits:
            await _passed(limits, ADA, 2)
        with Redis.from_url(url) as connection:
            (key,) = connection.keys()
            assert b"ada" not in key
            # More than for one request, and no more than for two.
            assert 30_000 < connection.pttl(key) <= 60_000

    _run(work)


@pytest.mark.parametrize("poison", ["", "x", "nan", "-1e400", "1e400", 2**63])
def test_a_bucket_that_is_none_locks_nobody_out(poison: str | int) -> None:
    """Whatever stands in a bucket's place, its caller goes on, and has its limit as before."""

    async def work(url: str, _: Path) -> None:
        async with _instances(url, 3) as limits:
            await _passed(limits, ADA, 1)
            with Redis.from_url(url) as connection:
                connection.set(connection.keys()[0], poison)
            assert await _passed(limits, ADA, 100) == 3

    _run(work)


def test_a_key_of_another_kind_is_replaced() -> None:
    """Even a key that is no string becomes a bucket."""

    async def work(url: str, _: Path) -> None:
        async with _instances(url, 3) as limits:
            await _passed(limits, ADA, 1)
            with Redis.from_url(url) as connection:
                key = connection.keys()[0]
                connection.delete(key)
                connection.rpush(key, "x")
            assert await _passed(limits, ADA, 100) == 3

    _run(work)


def test_without_redis_each_process_counts_for_itself() -> None:
    """Redis killed: no error, and a whole limit for each process; back again: one for all."""

    async def run() -> None:
        with folder() as base:
            async with _instances(f"unix://{base}/redis.sock", 3) as limits:
                with servers.redis(base, base) as redis:
                    assert await _passed(limits, ADA, 100) == 3
                    redis.process.kill()
                    redis.process.wait()
                    assert await _passed(limits, ADA, 100) == 6
                with servers.redis(base, base):
                    callers = (str(number) for number in count())

                    async def is_shared() -> bool:
                        return await _passed(limits, next(callers), 100) == 3

                    await eventually_async(is_shared)

    asyncio.run(_bounded(run()))


def test_a_redis_that_stands_still_costs_one_short_wait() -> None:
    """A frozen Redis holds up those that ask at that moment; the others are counted at once."""

    async def run() -> None:
        with folder() as base, servers.redis(base, base) as redis:
            async with _instances(redis.url, 3, instances=1) as limits:
                assert await _passed(limits, ADA, 1) == 1
                redis.process.send_signal(signal.SIGSTOP)
                try:
                    assert await _passed(limits, ADA, 100) == 3
                    for number in range(200):
                        assert await _wait(limits[0], str(number)) == 0
                finally:
                    redis.process.send_signal(signal.SIGCONT)
            with Redis.from_url(redis.url) as connection:
                # The one before, and at the most one batch that it was sent while it stood still.
                assert connection.info("commandstats")["cmdstat_evalsha"]["calls"] <= 3

    asyncio.run(_bounded(run()))


def test_a_redis_that_is_full_is_as_good_as_none() -> None:
    """A Redis that takes no bucket leaves each process to itself, and goes on being believed."""

    async def work(url: str, _: Path) -> None:
        with Redis.from_url(url) as connection:
            connection.config_set("maxmemory", "1")
        async with RedisClient(url) as cache:
            assert await _passed([_limiter(cache, 3)], ADA, 100) == 3
            assert cache.available

    _run(work)


def test_a_process_remembers_so_many_callers() -> None:
    """Of more than 10 000 callers those that asked last keep their buckets."""

    async def run() -> None:
        async with RedisClient("unix:///nowhere.sock") as cache:
            limits = _limiter(cache, 1)
            assert await _wait(limits, ADA) == 0
            assert await _wait(limits, BOB) == 0
            assert await _wait(limits, ADA) > 0
            for number in range(9_999):
                await limits.acquire(str(number))
            assert await _wait(limits, ADA) > 0
            assert await _wait(limits, BOB) == 0

    asyncio.run(_bounded(run()))


def test_the_service_itself_is_asked_without_limit(migrated: Urls) -> None:
    """Two instances count what is asked of sessions together, and nobody's probes or look at the page."""
    with folder() as base, servers.redis(base, base) as redis:
        settings = {"REDIS_URL": redis.url, "RATE_LIMIT": "10"}
        with running(migrated, **settings) as one, running(migrated, **settings) as other:
            for path in ("/health", "/health/live", "/health/ready", "/docs", "/openapi.json"):
                assert {one.client.get(path).status_code for _ in range(12)} == {200}
            statuses = [at.client.get("/api/sessions").status_code for _ in range(6) for at in (one, other)]
            assert statuses == [200] * 10 + [429] * 2
            refused = one.client.get("/api/sessions")
            assert 1 <= int(refused.headers["retry-after"]) <= 6


def test_there_is_no_limit_unless_it_is_set() -> None:
    """Off, a limit asks Redis nothing and lets everybody through."""

    async def run() -> None:
        async with RedisClient("unix:///nowhere.sock") as cache:
            assert await _passed([_limiter(cache, 0)], ADA, 1000) == 1000
            assert cache.available

    asyncio.run(_bounded(run()))


@pytest.mark.parametrize(
    ("server", "often", "once"),
    [("hypercorn", "127.0.0.2", "127.0.0.3"), ("uvicorn", "127.0.0.4", "127.0.0.5")],
)
def test_without_tokens_an_address_is_a_caller(server: str, often: str, once: str, migrated: Urls) -> None:
    """On either server one address that has asked too often leaves another one alone."""
    head = b"GET /api/sessions/00000000-0000-4000-8000-000000000000 HTTP/1.1\r\nhost: x\r\n\r\n"
    asked = ("GET", "/api/sessions/00000000-0000-4000-8000-000000000000")

    def ask(url: str, source: str, count: int) -> list[int]:
        with connected(url, source) as connection:
            connection.sendall(head * count)
            connection.shutdown(socket.SHUT_WR)
            told = b""
            while more := connection.recv(65536):
                told += more
        return [reply.status_code for reply in replies(told, asked)]

    with running(migrated, RATE_LIMIT="5", SERVER=server) as service:
        assert ask(service.url, often, 6) == [404] * 5 + [429]
        assert ask(service.url, once, 1) == [404]


def test_a_service_is_limited_by_its_own_setting(migrated: Urls, tmp_path: Path) -> None:
    """RATE_LIMIT counts learners and SERVICE_RATE_LIMIT services, each caller for itself."""
    settings = {"RATE_LIMIT": "3", "SERVICE_RATE_LIMIT": "5", **issuer.guarded(tmp_path / "keys.json")}
    name = f"limited-{uuid4()}"

    def ask(count: int, **claims: str) -> list[int]:
        headers = issuer.bearer(name, **claims)
        return [service.client.get("/api/sessions", headers=headers).status_code for _ in range(count)]

    with running(migrated, **settings) as service:
        assert ask(4) == [200] * 3 + [429]
        assert ask(6, scope=issuer.SERVICE_SCOPE) == [200] * 5 + [429]


def test_a_service_has_no_limit_by_default(migrated: Urls, tmp_path: Path) -> None:
    """A platform's back-end that acts for many learners is not counted as one of them."""
    headers = issuer.bearer(f"backend-{uuid4()}", scope=issuer.SERVICE_SCOPE)
    with running(migrated, RATE_LIMIT="1", **issuer.guarded(tmp_path / "keys.json")) as service:
        replies = [service.client.get("/api/sessions", headers=headers) for _ in range(10)]
    assert {reply.status_code for reply in replies} == {200}
