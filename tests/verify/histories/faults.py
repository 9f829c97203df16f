"""Faults of a cluster, and a trial of clients under one of them."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
import redis.asyncio

from tests.verify.histories.checker import check
from tests.verify.histories.client import MAX_ATTEMPTS, Client, Shared
from tests.verify.histories.cluster import CACHE_SECONDS, Cluster, Services
from tests.verify.histories.feed import FeedHistory
from tests.verify.histories.orders import check_orders, effects, read_journal
from tests.verify.histories.record import Final, Verdict, entries, monotonic_at

CLIENTS = 8
# An entry of the release before contract 2.0.
OLD = b's1 1 99999999999999 ada 7 99999999999999 {"id":"0bfe1258-a541-41d6-9b18-01c093be25b5","version":1}'

Fault = Callable[[Cluster], Awaitable[None]]
AnyServices = TypeVar("AnyServices", bound=Services)


async def no_fault(_: Cluster) -> None:
    """No fault."""
    await asyncio.sleep(0.5)


async def kill_an_instance(cluster: Cluster) -> None:
    """Kill and restart an instance."""
    instance = random.choice(cluster.instances)
    await asyncio.to_thread(instance.stop, signal.SIGKILL)
    await asyncio.to_thread(instance.start)
    await asyncio.sleep(0.5)


async def kill_an_instance_that_numbers(cluster: Cluster) -> None:
    """Kill and restart an instance while the instances wait to give positions to events."""
    with suppress(psycopg.Error):
        async with await psycopg.AsyncConnection.connect(cluster.postgres.owner_url) as database:
            await database.execute("select from event_feeds for update")
            await asyncio.sleep(random.uniform(0.3, 1))
            instance = random.choice(cluster.instances)
            await asyncio.to_thread(instance.stop, signal.SIGKILL)
    await asyncio.to_thread(instance.start)
    await asyncio.sleep(0.5)


async def kill_postgresql(cluster: Cluster) -> None:
    """Kill and restart PostgreSQL."""
    await asyncio.to_thread(cluster.postgres.kill)
    await asyncio.sleep(random.random())
    await asyncio.to_thread(cluster.postgres.start)
    await asyncio.sleep(2)


async def restart_postgresql(cluster: Cluster) -> None:
    """Restart PostgreSQL with requests in flight."""
    await asyncio.to_thread(cluster.postgres.stop)
    await asyncio.to_thread(cluster.postgres.start)
    await asyncio.sleep(2)


async def freeze_postgresql(cluster: Cluster) -> None:
    """Freeze PostgreSQL for a while."""
    cluster.postgres.freeze()
    await asyncio.sleep(random.uniform(0.5, 9))
    cluster.postgres.thaw()
    await asyncio.sleep(2)


async def forbid_writes(cluster: Cluster) -> None:
    """Make PostgreSQL read-only for a while."""
    await asyncio.to_thread(cluster.postgres.set, "default_transaction_read_only", "on")
    await asyncio.sleep(random.uniform(0.2, 2))
    await asyncio.to_thread(cluster.postgres.set, "default_transaction_read_only", "off")
    await asyncio.sleep(1)


async def kill_backends(cluster: Cluster) -> None:
    """Terminate the services' connections to PostgreSQL, one by one."""
    for backend in await asyncio.to_thread(cluster.postgres.backends):
        with suppress(ProcessLookupError):
            os.kill(backend, signal.SIGTERM)
        await asyncio.sleep(0.1)


async def slow_postgresql_for_one(cluster: Cluster) -> None:
    """Delay and fragment the traffic of one instance with PostgreSQL."""
    cluster.postgres_proxy.delay, cluster.postgres_proxy.slice = random.uniform(0.01, 0.2), 1
    await asyncio.sleep(2)
    cluster.postgres_proxy.delay, cluster.postgres_proxy.slice = 0.0, 65536
    await asyncio.sleep(1)


async def cut_postgresql_off_for_one(cluster: Cluster) -> None:
    """Cut one instance off PostgreSQL."""
    cluster.postgres_proxy.cut()
    await asyncio.sleep(random.uniform(0.2, 3))
    cluster.postgres_proxy.heal()
    await asyncio.sleep(1)


async def freeze_postgresql_for_one(cluster: Cluster) -> None:
    """Freeze the connections of one instance to PostgreSQL; requests in flight arrive late."""
    cluster.postgres_proxy.freeze()
    await asyncio.sleep(random.uniform(0.5, 9))
    cluster.postgres_proxy.heal()
    await asyncio.sleep(2)


async def tear_responses_of_postgresql(cluster: Cluster) -> None:
    """Truncate responses of PostgreSQL to one instance, after the commit."""
    cluster.postgres_proxy.loss_rate, cluster.postgres_proxy.truncate = 0.05, True
    await asyncio.sleep(1)
    cluster.postgres_proxy.loss_rate, cluster.postgres_proxy.truncate = 0.0, False
    await asyncio.sleep(0.5)


async def lose_replies(cluster: Cluster) -> None:
    """Cut off responses of one instance, after the commit."""
    cluster.reply_proxy.loss_rate = 0.1
    await asyncio.sleep(1)
    cluster.reply_proxy.loss_rate = 0.0
    cluster.injected["replies lost"] += cluster.reply_proxy.lost
    cluster.reply_proxy.lost = 0


async def kill_redis(cluster: Cluster) -> None:
    """Kill Redis and restart it empty."""
    await asyncio.to_thread(cluster.kill_redis)
    await asyncio.sleep(random.random())
    await asyncio.to_thread(cluster.start_redis)
    await asyncio.sleep(2)


async def freeze_redis(cluster: Cluster) -> None:
    """Freeze Redis for a while."""
    cluster.redis.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(random.uniform(0.05, 1.5))
    cluster.redis.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(2)


async def flush_redis(cluster: Cluster) -> None:
    """Flush Redis."""
    async with redis.asyncio.Redis.from_url(cluster.redis.url) as client:
        await client.flushall()
    await asyncio.sleep(0.3)


async def corrupt_redis(cluster: Cluster) -> None:
    """Replace cache entries by invalid ones."""
    async with redis.asyncio.Redis.from_url(cluster.redis.url) as client:
        for key in (await client.keys("session:*"))[:20]:
            await client.delete(key)
            await client.set(
                key,
                random.choice([b"", b"{}", b"s1 1 x", b"s1 999999 99999999999999 {}", b"\xff" * 999, OLD]),
            )
    await asyncio.sleep(0.3)


async def fill_redis(cluster: Cluster) -> None:
    """Let Redis reject new entries for a while."""
    async with redis.asyncio.Redis.from_url(cluster.redis.url) as client:
        await client.config_set("maxmemory", "1")
        await asyncio.sleep(random.uniform(0.2, 1))
        await client.config_set("maxmemory", "0")
    await asyncio.sleep(0.3)


async def fail_over(cluster: Cluster) -> None:
    """Restore the entries of a second ago, as a replica that was promoted too early."""
    async with redis.asyncio.Redis.from_url(cluster.redis.url) as client:
        keys = [str(key, "ascii") for key in await client.keys("session:*") if isinstance(key, bytes)]
        old = {key: (await client.get(key), await client.pttl(key)) for key in keys}
        await asyncio.sleep(1)
        await client.flushall()
        for key, (entry, life) in old.items():
            if entry is not None and life > 1000:
                await client.set(key, entry, px=life - 1000)
    await asyncio.sleep(0.5)


async def cut_redis_off_for_one(cluster: Cluster) -> None:
    """Cut one instance off Redis."""
    cluster.redis_proxy.cut()
    await asyncio.sleep(random.uniform(0.2, 2))
    cluster.redis_proxy.heal()
    await asyncio.sleep(1.5)


async def freeze_redis_for_one(cluster: Cluster) -> None:
    """Freeze the connections of one instance to Redis; requests in flight arrive late."""
    cluster.redis_proxy.freeze()
    await asyncio.sleep(random.uniform(0.2, 2))
    cluster.redis_proxy.heal()
    await asyncio.sleep(1.5)


# While all instances reach Redis no response is stale; during the other faults staleness is bounded.
STRICT: list[Fault] = [
    no_fault,
    kill_an_instance,
    kill_an_instance_that_numbers,
    kill_postgresql,
    lose_replies,
]
# As strict, but only in bin/torture: tests/verify/faults has the guarantees during each of them.
STRICT_AND_LONG: list[Fault] = [
    restart_postgresql,
    freeze_postgresql,
    forbid_writes,
    kill_backends,
    slow_postgresql_for_one,
    cut_postgresql_off_for_one,
    freeze_postgresql_for_one,
    tear_responses_of_postgresql,
]
BOUNDED: list[Fault] = [
    kill_redis,
    freeze_redis,
    flush_redis,
    corrupt_redis,
    fill_redis,
    fail_over,
    cut_redis_off_for_one,
    freeze_redis_for_one,
]


Until = Callable[[Shared], bool]
"""Returns whether a history is long enough."""


async def trial(
    cluster: AnyServices, fault: Callable[[AnyServices], Awaitable[None]], is_over: Until, *, is_strict: bool
) -> tuple[Shared, Verdict]:
    """Run clients until it is over, with the fault repeated; return the record and the checker's verdict.

    With `is_strict`, no response may be stale while the instances reach Redis; else, for CACHE_SECONDS.
    """
    number = random.randrange(1, 2**53)
    shared = Shared(cluster.ports, (number, f"quiz-\u00e4-{number}"), f"erased-{number}")
    breaker_states = cluster.breaker_states
    name = fault.__name__
    clients = [
        Client(shared, f"{name}-{random.randrange(10**9)}-{n}", short=True).run(lambda: is_over(shared))
        for n in range(CLIENTS)
    ]
    feed = await FeedHistory.begin(cluster, shared.ports)
    faults = _repeat(cluster, fault, lambda: is_over(shared))
    await asyncio.gather(faults, *clients, feed.run(lambda: is_over(shared)))
    required = await feed.finish()
    # An instance whose circuit breaker opens, even for a busy machine, counts as one without Redis.
    available = breaker_states == cluster.breaker_states
    available = available and not any(is_open for _, is_open in breaker_states)
    strict = is_strict and available
    bound = None if strict else CACHE_SECONDS
    events = feed.observations(operation.session for operation in shared.operations)
    journal = await asyncio.to_thread(read_journal, cluster.owner_url, shared.quizzes)
    events += effects(shared.quiz_orders, journal)
    verdict = check(shared.operations + events, final_state(cluster.owner_url, shared), bound, MAX_ATTEMPTS)
    verdict.violations += check_orders(shared.quiz_orders, journal, shared.operations)
    erased = {one.session for one in shared.operations if one.kind == "erase"}
    kept = [one for one in shared.operations if one.session not in erased]
    verdict.violations += feed.violations(required, kept)
    verdict.violations += feed.violations_of_erasing(shared.operations)
    return shared, verdict


async def _repeat(
    cluster: AnyServices, fault: Callable[[AnyServices], Awaitable[None]], is_over: Callable[[], bool]
) -> None:
    while not is_over():
        await fault(cluster)
        cluster.injected[fault.__name__] += 1


def final_state(url: str, shared: Shared) -> dict[str, Final]:
    """Return the state of the sessions in the database of the URL."""
    ids = {operation.session for operation in shared.operations}
    query = """
      select id::text, version, answers, annotations, late_saves, expires_at
      from quiz_sessions
      where id::text = any (%s)
    """
    with psycopg.connect(url) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(query, [list(ids)]).fetchall()
    return {
        session: Final(version, entries({"answers": answers, "annotations": notes}), late, monotonic_at(end))
        for session, version, answers, notes, late, end in rows
    }
