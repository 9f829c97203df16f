"""Everything that can happen to a world, and the trial of what clients see meanwhile."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import psycopg
import redis.asyncio

from tests.verify.histories.checker import Verdict, check
from tests.verify.histories.client import Client, Shared
from tests.verify.histories.cluster import CACHE_SECONDS, World

CLIENTS = 8

Fault = Callable[[World], Awaitable[None]]


async def quiet(_: World) -> None:
    """Nothing happens."""
    await asyncio.sleep(0.5)


async def kill_a_process(world: World) -> None:
    """One instance is killed and comes back."""
    instance = random.choice(world.instances)
    await asyncio.to_thread(instance.stop, signal.SIGKILL)
    await asyncio.to_thread(instance.start)
    await asyncio.sleep(0.5)


async def kill_postgresql(world: World) -> None:
    """PostgreSQL is killed with all its processes, and restarted."""
    await asyncio.to_thread(world.postgres.kill)
    await asyncio.sleep(random.random())
    await asyncio.to_thread(world.postgres.start)
    await asyncio.sleep(2)


async def restart_postgresql(world: World) -> None:
    """PostgreSQL is restarted at once, in the middle of whatever is under way."""
    await asyncio.to_thread(world.postgres.stop)
    await asyncio.to_thread(world.postgres.start)
    await asyncio.sleep(2)


async def freeze_postgresql(world: World) -> None:
    """PostgreSQL stands still for a while."""
    world.postgres.freeze()
    await asyncio.sleep(random.uniform(0.5, 9))
    world.postgres.thaw()
    await asyncio.sleep(2)


async def forbid_writes(world: World) -> None:
    """PostgreSQL takes no writes for a while."""
    await asyncio.to_thread(world.postgres.set, "default_transaction_read_only", "on")
    await asyncio.sleep(random.uniform(0.2, 2))
    await asyncio.to_thread(world.postgres.set, "default_transaction_read_only", "off")
    await asyncio.sleep(1)


async def kill_backends(world: World) -> None:
    """PostgreSQL ends the services' connections, one after the other."""
    for backend in await asyncio.to_thread(world.postgres.backends):
        with suppress(ProcessLookupError):
            os.kill(backend, signal.SIGTERM)
        await asyncio.sleep(0.1)


async def slow_one_down(world: World) -> None:
    """One instance's way to PostgreSQL is slow, and small pieces are all that it takes."""
    world.postgres_proxy.delay, world.postgres_proxy.slice = random.uniform(0.01, 0.2), 1
    await asyncio.sleep(2)
    world.postgres_proxy.delay, world.postgres_proxy.slice = 0.0, 65536
    await asyncio.sleep(1)


async def cut_postgresql_off_for_one(world: World) -> None:
    """One instance does not reach PostgreSQL; the others do."""
    world.postgres_proxy.cut()
    await asyncio.sleep(random.uniform(0.2, 3))
    world.postgres_proxy.heal()
    await asyncio.sleep(1)


async def freeze_postgresql_for_one(world: World) -> None:
    """One instance's way to PostgreSQL stands still; what was under way arrives late."""
    world.postgres_proxy.freeze()
    await asyncio.sleep(random.uniform(0.5, 9))
    world.postgres_proxy.heal()
    await asyncio.sleep(2)


async def tear_answers(world: World) -> None:
    """Answers of PostgreSQL to one instance break off in the middle, after the commit."""
    world.postgres_proxy.losses, world.postgres_proxy.torn = 0.05, True
    await asyncio.sleep(1)
    world.postgres_proxy.losses, world.postgres_proxy.torn = 0.0, False
    await asyncio.sleep(0.5)


async def lose_replies(world: World) -> None:
    """Replies of one instance are cut off after the commit."""
    world.reply_proxy.losses = 0.1
    await asyncio.sleep(1)
    world.reply_proxy.losses = 0.0
    world.injected["replies lost"] += world.reply_proxy.lost
    world.reply_proxy.lost = 0


async def kill_redis(world: World) -> None:
    """Redis is killed and comes back empty."""
    await asyncio.to_thread(world.kill_redis)
    await asyncio.sleep(random.random())
    await asyncio.to_thread(world.start_redis)
    await asyncio.sleep(2)


async def freeze_redis(world: World) -> None:
    """Redis stands still for a while."""
    world.redis.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(random.uniform(0.05, 1.5))
    world.redis.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(2)


async def flush_redis(world: World) -> None:
    """Redis forgets everything."""
    async with redis.asyncio.Redis.from_url(world.redis.url) as client:
        await client.flushall()
    await asyncio.sleep(0.3)


async def poison_redis(world: World) -> None:
    """Entries become something else."""
    async with redis.asyncio.Redis.from_url(world.redis.url) as client:
        for key in (await client.keys("session:*"))[:20]:
            await client.delete(key)
            await client.set(
                key, random.choice([b"", b"{}", b"s1 1 x", b"s1 999999 99999999999999 {}", b"\xff" * 999])
            )
    await asyncio.sleep(0.3)


async def fill_redis(world: World) -> None:
    """Redis takes nothing new for a while."""
    async with redis.asyncio.Redis.from_url(world.redis.url) as client:
        await client.config_set("maxmemory", "1")
        await asyncio.sleep(random.uniform(0.2, 1))
        await client.config_set("maxmemory", "0")
    await asyncio.sleep(0.3)


async def fail_over(world: World) -> None:
    """Redis is what it was a second ago, as a replica that was promoted too early."""
    async with redis.asyncio.Redis.from_url(world.redis.url) as client:
        keys = [str(key, "ascii") for key in await client.keys("session:*") if isinstance(key, bytes)]
        old = {key: (await client.get(key), await client.pttl(key)) for key in keys}
        await asyncio.sleep(1)
        await client.flushall()
        for key, (entry, life) in old.items():
            if entry is not None and life > 1000:
                await client.set(key, entry, px=life - 1000)
    await asyncio.sleep(0.5)


async def cut_one_off(world: World) -> None:
    """One instance does not reach Redis; the others do."""
    world.redis_proxy.cut()
    await asyncio.sleep(random.uniform(0.2, 2))
    world.redis_proxy.heal()
    await asyncio.sleep(1.5)


async def freeze_for_one(world: World) -> None:
    """One instance's way to Redis stands still; what was under way arrives late."""
    world.redis_proxy.freeze()
    await asyncio.sleep(random.uniform(0.2, 2))
    world.redis_proxy.heal()
    await asyncio.sleep(1.5)


# Where all instances reach Redis no reply may be older than one before it; elsewhere staleness is bounded.
STRICT: list[Fault] = [quiet, kill_a_process, kill_postgresql, lose_replies]
# As strict, but for bin/torture alone: what is promised meanwhile is in tests/faults.
STRICT_AND_LONG: list[Fault] = [
    restart_postgresql,
    freeze_postgresql,
    forbid_writes,
    kill_backends,
    slow_one_down,
    cut_postgresql_off_for_one,
    freeze_postgresql_for_one,
    tear_answers,
]
BOUNDED: list[Fault] = [
    kill_redis,
    freeze_redis,
    flush_redis,
    poison_redis,
    fill_redis,
    fail_over,
    cut_one_off,
    freeze_for_one,
]


Until = Callable[[Shared], bool]
"""Whether a history is long enough."""


async def trial(world: World, fault: Fault, is_over: Until) -> tuple[Shared, Verdict]:
    """Let clients work until it is over while the fault comes again and again, then judge what they saw."""
    shared = Shared([world.reply_port, *(instance.port for instance in world.instances)])
    doubts = [instance.doubts for instance in world.instances]
    name = fault.__name__
    clients = [
        Client(shared, f"{name}-{random.randrange(10**9)}-{n}", short=True).run(lambda: is_over(shared))
        for n in range(CLIENTS)
    ]
    await asyncio.gather(_repeat(world, fault, lambda: is_over(shared)), *clients)
    # An instance that doubts Redis for whatever reason, be it a busy machine, is one that does not reach it.
    believed = doubts == [instance.doubts for instance in world.instances]
    believed = believed and not any(is_in_doubt for _, is_in_doubt in doubts)
    strict = fault in STRICT + STRICT_AND_LONG and believed
    return shared, check(shared.operations, final(world, shared), None if strict else CACHE_SECONDS)


async def _repeat(world: World, fault: Fault, is_over: Callable[[], bool]) -> None:
    while not is_over():
        await fault(world)
        world.injected[fault.__name__] += 1


def final(world: World, shared: Shared) -> dict[str, tuple[int, dict[str, str]]]:
    """Return what the database holds of the sessions in the end."""
    ids = {operation.session for operation in shared.operations}
    query = "select id::text, version, answers from quiz_sessions where id::text = any (%s)"
    with psycopg.connect(world.postgres.owner_url) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(query, [list(ids)]).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}
