"""The cache: never an older version over a newer, never longer than it may be, never in the way."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from dev import servers
from dev.servers import Server
from session_service.sessions.models import EncodedSession
from session_service.storage.session_cache import SessionCache
from tests.conftest import Urls
from tests.support.caches import encoded_session, session_cache
from tests.support.inspection import suspended, unread
from tests.support.service import Service, folder, running
from tests.support.waiting import LIMIT, eventually, eventually_async

CLOCKS = 20  # milliseconds by which a reading of Redis's clock that is 10 s old may be behind


def test_a_hit_does_not_touch_postgresql(service: Service, database: psycopg.Connection) -> None:
    """A session that was told lately is read from the cache."""
    session = service.start()
    database.execute("delete from quiz_sessions where id = %s", [session["id"]])
    assert service.read(session["id"]).json() == session


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (2, 2), (9, 10), (10, 9)])
def test_an_older_version_never_replaces_a_newer(migrated: Urls, order: tuple[int, int]) -> None:
    """In whatever order versions reach the cache, the newest is held."""
    session_id = uuid4()

    async def fill(cache: SessionCache) -> EncodedSession | None:
        for version in order:
            await cache.put_if_newer([(encoded_session(session_id, version), await cache.now() + 30_000)])
        return await cache.get(session_id)

    assert _with_cache(migrated, fill) == encoded_session(session_id, max(order))


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_what_is_told_at_once_the_newest_is_held(migrated: Urls, order: tuple[int, int]) -> None:
    """Of two versions of a session in one call the newer one is read afterwards, whichever comes first."""
    session_id = uuid4()

    async def fill(cache: SessionCache) -> EncodedSession | None:
        until = await cache.now() + 30_000
        await cache.put_if_newer([(encoded_session(session_id, version), until) for version in order])
        return await cache.get(session_id)

    assert _with_cache(migrated, fill) == encoded_session(session_id, 2)


def test_a_refusal_raises_the_cache_too(service: Service, cache: Redis) -> None:
    """A 409 and a 410 show a session, so no later read may show an older one."""
    session = service.start()
    session_id = session["id"]
    old = cache.get(f"session:{session_id}")
    assert old is not None
    service.save(session_id, 1, "x")
    cache.set(f"session:{session_id}", old)
    assert service.save(session_id, 1, "y", version=1).status_code == 409
    assert service.read(session_id).json()["version"] == 2
    service.complete(session_id)
    cache.set(f"session:{session_id}", old)
    assert service.save(session_id, 1, "z").status_code == 410
    assert service.read(session_id).json()["version"] == 3


def test_an_entry_is_good_no_longer_than_cache_seconds(service: Service, cache: Redis) -> None:
    """What the cache holds is at most CACHE_SECONDS behind the database, completed or not."""
    before = _now(cache)
    session_id = service.start()["id"]
    assert before - CLOCKS < _good_until(cache, session_id) - 30_000 <= _now(cache)
    before = _now(cache)
    service.complete(session_id)
    assert before - CLOCKS < _good_until(cache, session_id) - 30_000 <= _now(cache)
    assert cache.pttl(f"session:{session_id}") <= 30_000


def test_a_running_entry_ends_with_its_session(service: Service, cache: Redis) -> None:
    """A running session is not held past its end, and until then but for the time that a request takes."""
    before = _now(cache)
    session = service.start(time_limit_seconds=20)
    session_id, end = session["id"], datetime.fromisoformat(str(session["expires_at"])).timestamp() * 1000
    for change in (
        lambda: None,
        lambda: service.save(session_id, 1, "x"),
        lambda: _read_anew(service, cache, session_id),
    ):
        change()
        assert end - (_now(cache) - before) - CLOCKS < _good_until(cache, session_id) <= end
        before = _now(cache)


def test_an_entry_past_its_time_is_a_miss_but_still_a_guard(service: Service, cache: Redis) -> None:
    """An entry that is no longer good is not read, and still keeps an older version out."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    key = f"session:{session_id}"
    entry = cache.get(key)
    assert isinstance(entry, bytes)
    head = entry.split(b" ", 3)
    cache.set(key, b" ".join([head[0], b"9", b"1", head[3]]))
    assert service.read(session_id).json()["version"] == 2
    assert isinstance(held := cache.get(key), bytes)
    assert held.startswith(b"s1 9 1 ")


POISON: list[Callable[[str, bytes], bytes]] = [
    lambda _id, _entry: b"",
    lambda _id, _entry: b"{}",
    lambda _id, entry: entry[:-1],
    lambda _id, entry: entry[3:],
    lambda _id, entry: b"s2" + entry[2:],
    lambda _id, entry: b"s1 x " + entry[5:],
    lambda _id, entry: b"s1 99999999999 " + entry[5:],
    lambda session_id, entry: entry.replace(session_id.encode(), str(uuid4()).encode()),
    lambda _id, _entry: b"\xff" * 1_000_000,
    lambda _id, _entry: b"s1 1 99999999999999 ",
]


@pytest.mark.parametrize("poison", POISON)
def test_an_entry_that_is_none_is_a_miss(
    service: Service, cache: Redis, poison: Callable[[str, bytes], bytes]
) -> None:
    """Bytes that no service of this kind wrote are not served; the next fill replaces them."""
    session = service.start()
    key = f"session:{session['id']}"
    entry = cache.get(key)
    assert isinstance(entry, bytes)
    cache.set(key, poison(str(session["id"]), entry))
    assert service.read(session["id"]).json() == session
    assert isinstance(held := cache.get(key), bytes)
    assert (held.split(b" ", 3)[1], held.split(b" ", 3)[3]) == (b"1", entry.split(b" ", 3)[3])


def test_a_key_of_another_kind_is_a_miss(service: Service, cache: Redis) -> None:
    """Even a key that is no string costs nothing but a read from the database."""
    session = service.start()
    key = f"session:{session['id']}"
    cache.delete(key)
    cache.rpush(key, "x")
    assert service.read(session["id"]).json() == session
    assert cache.get(key) is not None


def test_redis_killed_and_back(migrated: Urls) -> None:
    """While Redis is gone every request succeeds; when it is back it is used again."""
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
            await_healthy(service)
            assert service.read(session_id).json()["version"] == 2
            assert connection.get(f"session:{session_id}") is not None


def test_redis_frozen(migrated: Urls) -> None:
    """A Redis that accepts and never answers costs one short wait, not one for each request."""
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
        await_healthy(service)
        with Redis.from_url(redis.url) as connection:
            # What was sent to it meanwhile it does now, too.
            assert "cmdstat_mget" not in connection.info("commandstats")
        assert service.read(session_id).json()["version"] == 2


def test_a_service_that_is_held_up_does_not_doubt_redis(migrated: Urls) -> None:
    """What a service that had no processor for a while took for a late answer was its own lateness.

    A round counts if the service itself ran for less than half of the 50 ms that Redis has for an answer.
    """
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        running(migrated, REDIS_URL=redis.url) as service,
        ThreadPoolExecutor(4) as clients,
    ):
        session_id = service.start()["id"]

        def hold_up() -> bool:
            doubts = service.log.read_text().count("redis is not believed")
            reads, ran = _hold_up(service, redis, lambda: clients.submit(service.read, session_id))
            assert {read.result().status_code for read in reads} == {200}
            if ran < 0.025:
                assert service.log.read_text().count("redis is not believed") == doubts
            await_healthy(service)
            return ran < 0.025

        for _ in range(5):
            eventually(hold_up)


def _hold_up(
    service: Service, redis: Server, read: Callable[[], Future[Any]]
) -> tuple[list[Future[Any]], float]:
    """Have Redis answer reads while the service stands still; return them, and how long it ran before."""
    with suspended(service):
        reads = [read() for _ in range(4)]
        eventually(lambda: unread(service.url) == len(reads))
        redis.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
    # It asks Redis, which stands still, and then stands still itself.
    time.sleep(0.01)
    with suspended(service):
        ran = time.monotonic() - begun
        redis.process.send_signal(signal.SIGCONT)
        with Redis.from_url(redis.url) as operator:
            operator.ping()
        time.sleep(0.12)
    return reads, ran


def test_redis_full(migrated: Urls) -> None:
    """A Redis that takes no more entries is a cache that misses; what it held of a session goes."""
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


def test_what_could_not_be_written_is_not_doubted_and_made_good(migrated: Urls) -> None:
    """An instance whose write Redis refused reads from the database until Redis has the version."""
    with ExitStack() as stack:
        base = stack.enter_context(folder())
        redis = stack.enter_context(servers.redis(base, base))
        one, other = (stack.enter_context(running(migrated, REDIS_URL=redis.url)) for _ in range(2))
        with Redis.from_url(redis.url) as connection:
            session_id = one.start()["id"]
            # Redis goes on answering reads, as a master without its replicas does.
            connection.config_set("min-replicas-to-write", "1")
            assert one.save(session_id, 1, "x").json()["version"] == 2
            assert one.read(session_id).json()["version"] == 2
            assert other.read(session_id).json()["version"] == 1
            assert other.read(session_id, {"if-none-match": '"2"'}).status_code == 304
            connection.config_set("min-replicas-to-write", "0")
            await_healthy(one)
            assert isinstance(held := connection.get(f"session:{session_id}"), bytes)
            assert held == b"s1 2 0 "
            assert other.read(session_id).json()["version"] == 2


def test_a_fill_that_comes_late_puts_nothing_old_back(migrated: Urls) -> None:
    """A version that was read before a newer one was told is of no use once that one has left the cache."""
    session_id = uuid4()

    async def fill_late(cache: SessionCache) -> EncodedSession | None:
        asked_at = await cache.now()
        await cache.put_if_newer([(encoded_session(session_id, 2), await cache.now() + 1_000)])
        await asyncio.sleep(1.1)
        await cache.put_if_newer([(encoded_session(session_id, 1), asked_at + 1_000)])
        return await cache.get(session_id)

    assert _with_cache(migrated, fill_late, seconds=1) is None


def test_a_version_is_guarded_for_as_long_as_an_older_one_may_live(migrated: Urls, cache: Redis) -> None:
    """An entry keeps older ones out for CACHE_SECONDS after it was written, be it good for less."""
    session_id = uuid4()

    async def fill(cache: SessionCache) -> EncodedSession | None:
        asked_at = await cache.now()
        await cache.put_if_newer([(encoded_session(session_id, 2), asked_at)])
        await cache.put_if_newer([(encoded_session(session_id, 1), asked_at + 30_000)])
        return await cache.get(session_id)

    before = _now(cache)
    assert _with_cache(migrated, fill) is None
    assert before + 30_000 - CLOCKS < _now(cache) + cache.pttl(f"session:{session_id}")


def test_many_that_want_the_time_ask_once() -> None:
    """After a silence five hundred reads are two questions to Redis, the time and then all sessions."""

    async def run(url: str) -> dict[str, int]:
        async with session_cache(url, 30, 512) as cache:
            assert await asyncio.gather(*(cache.get(uuid4()) for _ in range(500))) == [None] * 500
        with Redis.from_url(url) as connection:
            counts = connection.info("commandstats")
            calls = {name: counts[f"cmdstat_{name}"]["calls"] for name in ("time", "mget")}
            return calls | {"connections": connection.info("stats")["total_connections_received"] - 1}

    with folder() as base, servers.redis(base, base) as redis:
        calls = asyncio.run(run(redis.url))
    assert calls["time"] == 1
    assert calls["mget"] <= 2
    assert calls["connections"] <= 3


def test_what_an_address_is_called_says_nothing_of_the_fault() -> None:
    """Whatever words are in Redis's address, out of reach is out of reach, and no request fails for it."""

    async def run() -> tuple[EncodedSession | None, bool]:
        async with session_cache("unix:///nowhere/OOM/WRONGTYPE.sock", 1, 64) as cache:
            await cache.put_if_newer([(encoded_session(uuid4(), 2), await cache.now())])
            return await cache.get(uuid4()), await cache.client.ping()

    assert asyncio.run(run()) == (None, False)


def test_belief_comes_back_under_load() -> None:
    """Debts are paid while new sessions are told: a busy service is not left without its cache."""

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


def test_more_debts_than_are_remembered_are_waited_out() -> None:
    """After more failures than are kept one by one nothing is believed for CACHE_SECONDS."""

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


def _good_until(cache: Redis, session_id: object) -> int:
    """Return until when the entry is read, by Redis's clock, in milliseconds."""
    entry = cache.get(f"session:{session_id}")
    assert isinstance(entry, bytes)
    return int(entry.split(b" ", 3)[2])


def _now(cache: Redis) -> int:
    """Return the time by Redis's clock, in milliseconds."""
    seconds, microseconds = cache.time()
    return int(seconds * 1000 + microseconds // 1000)


def _read_anew(service: Service, cache: Redis, session_id: object) -> None:
    cache.delete(f"session:{session_id}")
    service.read(session_id)


def await_healthy(service: Service) -> None:
    """Wait until the service says that both stores are up."""
    eventually(lambda: service.client.get("/health").json()["status"] == "healthy")


T = TypeVar("T")


def _with_cache(urls: Urls, work: Callable[[SessionCache], Awaitable[T]], seconds: int = 30) -> T:
    async def run() -> T:
        async with session_cache(urls["REDIS_URL"], seconds, 64) as cache:
            return await work(cache)

    return asyncio.run(run())
