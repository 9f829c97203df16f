"""The session cache: versions, expiry, invalid entries."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from dev import servers
from session_service.sessions.models import EncodedSession
from session_service.storage import redis as redis_client
from session_service.storage.session_cache import SessionCache
from tests.conftest import Urls
from tests.support.caches import encoded_session, session_cache
from tests.support.service import Service, folder
from tests.support.waiting import eventually

MAX_DRIFT = 5_000  # milliseconds by which a clock reading of a busy machine may be behind the clock of Redis


@pytest.fixture
def service(patient_shared_service: Service) -> Service:
    """A service with long timeouts."""
    return patient_shared_service


@pytest.fixture(autouse=True)
def _long_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Redis more time than a busy machine needs, in the caches of this process."""
    monkeypatch.setattr(redis_client, "TIMEOUT_TICKS", 12_000)


def test_a_cache_hit_needs_no_postgresql(service: Service, database: psycopg.Connection) -> None:
    """A cached session is read without the database."""
    session = service.start()
    database.execute("delete from quiz_sessions where id = %s", [session["id"]])
    assert service.read(session["id"]).json() == session


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (2, 2), (9, 10), (10, 9)])
def test_an_older_version_never_replaces_a_newer(migrated: Urls, order: tuple[int, int]) -> None:
    """The cache keeps the newest version, in whatever order versions are written."""
    session_id = uuid4()

    async def fill(cache: SessionCache) -> EncodedSession | None:
        for version in order:
            await cache.put_if_newer([(encoded_session(session_id, version), await cache.now() + 30_000)])
        return await cache.get(session_id)

    assert _with_cache(migrated, fill) == encoded_session(session_id, max(order))


def test_a_raised_version_keeps_its_session(migrated: Urls) -> None:
    """To raise the version of a cached session replaces an older session, and none of the same version."""
    session_id = uuid4()

    async def fill_and_raise(cache: SessionCache) -> tuple[EncodedSession | None, EncodedSession | None]:
        await cache.put_if_newer([(encoded_session(session_id, 2), await cache.now() + 30_000)])
        await cache.raise_versions({session_id: 2})
        kept = await cache.get(session_id)
        await cache.raise_versions({session_id: 3})
        return kept, await cache.get(session_id)

    assert _with_cache(migrated, fill_and_raise) == (encoded_session(session_id, 2), None)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_newest_version_of_a_batch_is_cached(migrated: Urls, order: tuple[int, int]) -> None:
    """Of two versions of a session in one call, in either order, the newer one is cached."""
    session_id = uuid4()

    async def fill(cache: SessionCache) -> EncodedSession | None:
        until = await cache.now() + 30_000
        await cache.put_if_newer([(encoded_session(session_id, version), until) for version in order])
        return await cache.get(session_id)

    assert _with_cache(migrated, fill) == encoded_session(session_id, 2)


def test_rejected_writes_update_the_cache(service: Service, cache: Redis) -> None:
    """A 409 and a 410 include a session, so they replace an older version in the cache."""
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


def test_an_entry_expires_after_cache_seconds(service: Service, cache: Redis) -> None:
    """An entry is read for at most CACHE_SECONDS, also that of a completed session."""
    before = _now(cache)
    session_id = service.start()["id"]
    assert before - MAX_DRIFT < _readable_until(cache, session_id) - 30_000 <= _now(cache)
    before = _now(cache)
    service.complete(session_id)
    assert before - MAX_DRIFT < _readable_until(cache, session_id) - 30_000 <= _now(cache)
    assert cache.pttl(f"session:{session_id}") <= 30_000


def test_an_entry_expires_with_its_session(service: Service, cache: Redis) -> None:
    """The entry of a running session expires at its time limit, and earlier only by the time of a request."""
    before = _now(cache)
    session = service.start(time_limit_seconds=20)
    session_id, end = session["id"], datetime.fromisoformat(str(session["expires_at"])).timestamp() * 1000
    for change in (
        lambda: None,
        lambda: service.save(session_id, 1, "x"),
        lambda: _read_uncached(service, cache, session_id),
    ):
        change()
        assert end - (_now(cache) - before) - MAX_DRIFT < _readable_until(cache, session_id) <= end
        before = _now(cache)


def test_an_expired_entry_is_a_miss_but_keeps_older_versions_out(service: Service, cache: Redis) -> None:
    """An expired entry is not read, but it is not replaced by an older version either."""
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


INVALID: list[Callable[[str, bytes], bytes]] = [
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


@pytest.mark.parametrize("invalid", INVALID)
def test_an_invalid_entry_is_a_cache_miss(
    service: Service, cache: Redis, invalid: Callable[[str, bytes], bytes]
) -> None:
    """Invalid bytes in the cache are not served, and the next write replaces them."""
    session = service.start()
    key = f"session:{session['id']}"
    entry = cache.get(key)
    assert isinstance(entry, bytes)
    cache.set(key, invalid(str(session["id"]), entry))

    def is_replaced() -> bool:
        assert service.read(session["id"]).json() == session
        held = cache.get(key)
        assert held is None or isinstance(held, bytes)
        return held is not None and held.split(b" ", 3)[1:4:2] == [b"1", entry.split(b" ", 3)[3]]

    # On a busy machine the circuit breaker of Redis may be open for a second.
    eventually(is_replaced)


def test_a_key_of_another_type_is_a_cache_miss(service: Service, cache: Redis) -> None:
    """A key that is no string is a cache miss and is replaced."""
    session = service.start()
    key = f"session:{session['id']}"
    cache.delete(key)
    cache.rpush(key, "x")
    assert service.read(session["id"]).json() == session
    assert cache.get(key) is not None


def test_a_late_write_restores_no_old_version(migrated: Urls) -> None:
    """A version that was read before a newer one is not cached after that one has expired."""
    session_id = uuid4()

    async def fill_late(cache: SessionCache) -> EncodedSession | None:
        read_at = await cache.now()
        await cache.put_if_newer([(encoded_session(session_id, 2), await cache.now() + 1_000)])
        await asyncio.sleep(1.1)
        await cache.put_if_newer([(encoded_session(session_id, 1), read_at + 1_000)])
        return await cache.get(session_id)

    assert _with_cache(migrated, fill_late, seconds=1) is None


def test_an_entry_keeps_older_versions_out_for_cache_seconds(migrated: Urls, cache: Redis) -> None:
    """An entry keeps older versions out for CACHE_SECONDS, even if it is read for less."""
    session_id = uuid4()

    async def fill(cache: SessionCache) -> EncodedSession | None:
        read_at = await cache.now()
        await cache.put_if_newer([(encoded_session(session_id, 2), read_at)])
        await cache.put_if_newer([(encoded_session(session_id, 1), read_at + 30_000)])
        return await cache.get(session_id)

    before = _now(cache)
    assert _with_cache(migrated, fill) is None
    assert before + 30_000 - MAX_DRIFT < _now(cache) + cache.pttl(f"session:{session_id}")


def test_an_entry_of_an_overdue_session_keeps_older_versions_out(migrated: Urls) -> None:
    """An entry that was good only until a time before 1970 is a miss, and keeps older versions out."""
    session_id = uuid4()

    async def fill(cache: SessionCache) -> list[EncodedSession | None]:
        # While the clock of Redis is unknown, the time of an entry is counted from 0.
        await cache.put_if_newer([(encoded_session(session_id, 2), -5_000)])
        missed = await cache.get(session_id)
        await cache.put_if_newer([(encoded_session(session_id, 1), await cache.now() + 30_000)])
        return [missed, await cache.get(session_id)]

    assert _with_cache(migrated, fill) == [None, None]


def test_concurrent_reads_share_redis_commands() -> None:
    """Five hundred concurrent reads need one TIME and at most two MGET."""

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


def test_many_versions_are_raised_in_parts() -> None:
    """One script raises 250 versions at most, since Redis executes nothing else meanwhile."""
    versions = {uuid4(): 2 for _ in range(1_001)}

    async def run(url: str) -> list[EncodedSession | None]:
        async with session_cache(url) as cache:
            until = await cache.now() + 30_000
            await cache.put_if_newer([(encoded_session(session_id, 1), until) for session_id in versions])
            with Redis.from_url(url) as connection:
                connection.config_resetstat()
                await cache.raise_versions(versions)
                counts = connection.info("commandstats")
            assert counts["cmdstat_evalsha"]["calls"] == 5
            return [await cache.get(session_id) for session_id in versions]

    with folder() as base, servers.redis(base, base) as redis:
        assert asyncio.run(run(redis.url)) == [None] * 1_001


def _readable_until(cache: Redis, session_id: object) -> int:
    """Return the time until which the entry is read, by the clock of Redis, in milliseconds."""
    entry = cache.get(f"session:{session_id}")
    assert isinstance(entry, bytes)
    return int(entry.split(b" ", 3)[2])


def _now(cache: Redis) -> int:
    """Return the time of Redis, in milliseconds."""
    seconds, microseconds = cache.time()
    return int(seconds * 1000 + microseconds // 1000)


def _read_uncached(service: Service, cache: Redis, session_id: object) -> None:
    cache.delete(f"session:{session_id}")
    service.read(session_id)


T = TypeVar("T")


def _with_cache(urls: Urls, work: Callable[[SessionCache], Awaitable[T]], seconds: int = 30) -> T:
    async def run() -> T:
        async with session_cache(urls["REDIS_URL"], seconds, 64) as cache:
            return await work(cache)

    return asyncio.run(run())
