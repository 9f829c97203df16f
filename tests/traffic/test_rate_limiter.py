"""Rate limiting: shared buckets in Redis, local buckets without it, and the limits of the service."""

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
from session_service.storage import redis as redis_module
from session_service.storage.redis import RedisClient, UnreachableError
from session_service.traffic.rate_limiter import TAKE, RateLimiter
from tests.conftest import Urls
from tests.support import issuer
from tests.support.raw_http import connected, parse_responses
from tests.support.service import folder, running
from tests.support.waiting import LIMIT, eventually_async

ADA, BOB = "ada", "bob"


def _limiter(client: RedisClient, per_minute: int) -> RateLimiter:
    return RateLimiter(client.script(TAKE), per_minute, unreachable=UnreachableError, max_batch_size=64)


@asynccontextmanager
async def _instances(url: str, per_minute: int, instances: int = 2) -> AsyncIterator[list[RateLimiter]]:
    """Open the rate limiters of this number of instances."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RedisClient(url)) for _ in range(instances)]
        yield [_limiter(client, per_minute) for client in clients]


async def _acquire(limiter: RateLimiter, principal: str) -> int:
    """Count a request of the principal; return how many seconds it must wait, or 0."""
    try:
        await limiter.acquire(principal)
    except RateLimitedError as error:
        return error.retry_after
    return 0


async def _count_accepted(limiters: list[RateLimiter], principal: str, requests: int) -> int:
    """Send concurrent requests, through the instances in turn, and return the number of accepted ones."""
    sent = [_acquire(limiters[number % len(limiters)], principal) for number in range(requests)]
    return (await asyncio.gather(*sent)).count(0)


def _run(work: Callable[[str, Path], Awaitable[None]]) -> None:
    """Run the coroutine function with a private Redis, whose replies may be late on a busy machine."""
    with folder() as base, servers.redis(base, base) as redis, pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_module, "TIMEOUT_TICKS", round(LIMIT / redis_module.TICK))
        asyncio.run(_bounded(work(redis.url, base)))


async def _bounded(work: Awaitable[None]) -> None:
    async with asyncio.timeout(LIMIT):
        await work


def test_a_rate_limit_is_shared_by_all_instances() -> None:
    """All instances together count the requests of a principal, and each principal has its own limit."""

    async def check(url: str, _: Path) -> None:
        async with _instances(url, 3) as limiters:
            assert await _count_accepted(limiters, ADA, 100) == 3
            assert await _count_accepted(limiters, BOB, 2) == 2

    _run(check)


def test_a_request_after_retry_after_is_accepted() -> None:
    """Retry-After is the shortest sufficient number of seconds, and rejected requests do not extend it."""

    async def check(url: str, _: Path) -> None:
        async with _instances(url, 20) as limiters:
            begun = time.monotonic()
            assert await _count_accepted(limiters, ADA, 100) == 20
            waits = [await _acquire(limiters[0], ADA) for _ in range(50)]
            assert 3 - int(time.monotonic() - begun) <= waits[-1] <= waits[0] <= 3
            await asyncio.sleep(waits[-1])
            assert await _acquire(limiters[1], ADA) == 0

    _run(check)


def test_a_bucket_refills_over_time() -> None:
    """At ten requests per second, half a second refills five; a bucket holds at most one minute's worth."""

    async def check(url: str, _: Path) -> None:
        async with _instances(url, 600) as limiters:
            begun = time.monotonic()
            assert await _count_accepted(limiters, BOB, 5) == 5
            passed = await _count_accepted(limiters, ADA, 700)
            assert passed >= 600
            await asyncio.sleep(0.5)
            more = await _count_accepted(limiters, ADA, 100)
            assert more >= 5
            assert passed + more <= 600 + 10 * (time.monotonic() - begun) + 1
            assert 600 <= await _count_accepted(limiters, BOB, 700) <= 600 + 10 * (time.monotonic() - begun)

    _run(check)


def test_redis_keys_contain_no_principal() -> None:
    """The key of a bucket contains no name, and expires when the bucket is full again."""

    async def check(url: str, _: Path) -> None:
        async with _instances(url, 2) as limiters:
            await _count_accepted(limiters, ADA, 2)
        with Redis.from_url(url) as connection:
            (key,) = connection.keys()
            assert b"ada" not in key
            # Between the times for one and two requests.
            assert 30_000 < connection.pttl(key) <= 60_000

    _run(check)


@pytest.mark.parametrize("value", ["", "x", "nan", "-1e400", "1e400", 2**63])
def test_an_invalid_bucket_is_replaced(value: str | int) -> None:
    """An invalid value in Redis counts as a full bucket."""

    async def check(url: str, _: Path) -> None:
        async with _instances(url, 3) as limiters:
            await _count_accepted(limiters, ADA, 1)
            with Redis.from_url(url) as connection:
                connection.set(connection.keys()[0], value)
            assert await _count_accepted(limiters, ADA, 100) == 3

    _run(check)


def test_a_key_of_another_type_is_replaced() -> None:
    """A key that is no string counts as a full bucket."""

    async def check(url: str, _: Path) -> None:
        async with _instances(url, 3) as limiters:
            await _count_accepted(limiters, ADA, 1)
            with Redis.from_url(url) as connection:
                key = connection.keys()[0]
                connection.delete(key)
                connection.rpush(key, "x")
            assert await _count_accepted(limiters, ADA, 100) == 3

    _run(check)


def test_without_redis_each_process_counts_locally() -> None:
    """Without Redis each process applies the whole limit; once Redis is back, the limit is shared again."""

    async def run() -> None:
        with folder() as base:
            async with _instances(f"unix://{base}/redis.sock", 3) as limiters:
                with servers.redis(base, base) as redis:
                    assert await _count_accepted(limiters, ADA, 100) == 3
                    redis.process.kill()
                    redis.process.wait()
                    assert await _count_accepted(limiters, ADA, 100) == 6
                with servers.redis(base, base):
                    principals = (str(number) for number in count())

                    async def is_shared() -> bool:
                        return await _count_accepted(limiters, next(principals), 100) == 3

                    await eventually_async(is_shared)

    asyncio.run(_bounded(run()))


def test_a_frozen_redis_costs_one_timeout() -> None:
    """A frozen Redis delays only the requests of that moment; later ones are counted locally at once."""

    async def run() -> None:
        with folder() as base, servers.redis(base, base) as redis:
            async with _instances(redis.url, 3, instances=1) as limiters:
                assert await _count_accepted(limiters, ADA, 1) == 1
                redis.process.send_signal(signal.SIGSTOP)
                try:
                    assert await _count_accepted(limiters, ADA, 100) == 3
                    for number in range(200):
                        assert await _acquire(limiters[0], str(number)) == 0
                finally:
                    redis.process.send_signal(signal.SIGCONT)
            with Redis.from_url(redis.url) as connection:
                # The call before, and at most one batch that was sent while Redis was frozen.
                assert connection.info("commandstats")["cmdstat_evalsha"]["calls"] <= 3

    asyncio.run(_bounded(run()))


def test_a_full_redis_is_counted_locally() -> None:
    """If Redis is out of memory, each process counts locally, and the circuit breaker stays closed."""

    async def check(url: str, _: Path) -> None:
        with Redis.from_url(url) as connection:
            connection.config_set("maxmemory", "1")
        async with RedisClient(url) as client:
            assert await _count_accepted([_limiter(client, 3)], ADA, 100) == 3
            assert client.available

    _run(check)


def test_local_buckets_are_limited_to_ten_thousand() -> None:
    """A process keeps the local buckets of the 10,000 most recent principals."""

    async def run() -> None:
        async with RedisClient("unix:///nowhere.sock") as client:
            limiter = _limiter(client, 1)
            assert await _acquire(limiter, ADA) == 0
            assert await _acquire(limiter, BOB) == 0
            assert await _acquire(limiter, ADA) > 0
            for number in range(9_999):
                await limiter.acquire(str(number))
            assert await _acquire(limiter, ADA) > 0
            assert await _acquire(limiter, BOB) == 0

    asyncio.run(_bounded(run()))


def test_health_checks_and_docs_are_not_rate_limited(migrated: Urls) -> None:
    """Two instances count requests on sessions together, but no health checks and no documentation."""
    with folder() as base, servers.redis(base, base) as redis:
        settings = {"REDIS_URL": redis.url, "RATE_LIMIT": "10"}
        with running(migrated, **settings) as one, running(migrated, **settings) as other:
            for path in ("/health", "/health/live", "/health/ready", "/docs", "/openapi.json"):
                assert {one.client.get(path).status_code for _ in range(12)} == {200}
            statuses = [at.client.get("/api/sessions").status_code for _ in range(6) for at in (one, other)]
            assert statuses == [200] * 10 + [429] * 2
            rejected = one.client.get("/api/sessions")
            assert 1 <= int(rejected.headers["retry-after"]) <= 6


def test_without_a_rate_limit_every_request_is_accepted() -> None:
    """A limit of 0 accepts every request without Redis."""

    async def run() -> None:
        async with RedisClient("unix:///nowhere.sock") as client:
            assert await _count_accepted([_limiter(client, 0)], ADA, 1000) == 1000
            assert client.available

    asyncio.run(_bounded(run()))


@pytest.mark.parametrize(
    ("server", "limited", "other"),
    [("hypercorn", "127.0.0.2", "127.0.0.3"), ("uvicorn", "127.0.0.4", "127.0.0.5")],
)
def test_without_tokens_the_rate_limit_is_per_address(
    server: str, limited: str, other: str, migrated: Urls
) -> None:
    """On both servers, requests from one address do not count for another one."""
    head = b"GET /api/sessions/00000000-0000-4000-8000-000000000000 HTTP/1.1\r\nhost: x\r\n\r\n"
    target = ("GET", "/api/sessions/00000000-0000-4000-8000-000000000000")

    def send(url: str, source: str, count: int) -> list[int]:
        with connected(url, source) as connection:
            connection.sendall(head * count)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while more := connection.recv(65536):
                received += more
        return [response.status_code for response in parse_responses(received, target)]

    with running(migrated, RATE_LIMIT="5", SERVER=server) as service:
        assert send(service.url, limited, 6) == [404] * 5 + [429]
        assert send(service.url, other, 1) == [404]


def test_services_have_their_own_rate_limit(migrated: Urls, tmp_path: Path) -> None:
    """RATE_LIMIT applies to learners, SERVICE_RATE_LIMIT to tokens with scopes, each principal for itself."""
    settings = {"RATE_LIMIT": "3", "SERVICE_RATE_LIMIT": "5", **issuer.token_settings(tmp_path / "keys.json")}
    name = f"limited-{uuid4()}"

    def send(count: int, **claims: str) -> list[int]:
        headers = issuer.bearer(claims.pop("name", name), **claims)
        return [service.client.get("/api/sessions", headers=headers).status_code for _ in range(count)]

    with running(migrated, **settings) as service:
        assert send(4) == [200] * 3 + [429]
        assert send(6, scope=issuer.SERVICE_SCOPE) == [200] * 5 + [429]
        for scope in ("sessions:read", "sessions:proctor"):
            assert send(6, scope=scope, name=f"{name}-{scope}") == [200] * 5 + [429]


def test_services_have_no_rate_limit_by_default(migrated: Urls, tmp_path: Path) -> None:
    """A back end that acts for many learners is not limited like one of them."""
    headers = issuer.bearer(f"backend-{uuid4()}", scope=issuer.SERVICE_SCOPE)
    with running(migrated, RATE_LIMIT="1", **issuer.token_settings(tmp_path / "keys.json")) as service:
        responses = [service.client.get("/api/sessions", headers=headers) for _ in range(10)]
    assert {response.status_code for response in responses} == {200}
