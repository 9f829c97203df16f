"""Instances, their servers, and everything that can happen to them."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import psycopg
import redis.asyncio

from session_service import embedded, migrations
from session_service.embedded import Server
from session_service.keeper import ROOT
from tests.history.checker import Verdict, check
from tests.history.client import Client, Shared
from tests.history.proxy import Proxy
from tests.service import await_reply, folder, free_port

CACHE_SECONDS = 3
INSTANCES = 3
CLIENTS = 8


class Instance:
    """One service process, which may be killed and comes back on the same port."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self._env = {**os.environ, **env, "PORT": str(self.port), "CACHE_SECONDS": str(CACHE_SECONDS)}
        self._log = log

    def start(self) -> None:
        """Start it and wait until it serves."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "session_service"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=log, stderr=log)
        await_reply(f"http://127.0.0.1:{self.port}", self.process, self._log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        self.process.send_signal(how)
        self.process.wait()

    @property
    def doubts(self) -> int:
        """How often it has stopped believing Redis."""
        return self._log.read_text().count("redis is not believed")


class World:
    """PostgreSQL, Redis, and instances of which the last reaches Redis through a proxy."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._postgres_stack, self._redis_stack = ExitStack(), ExitStack()
        self.redis_proxy = Proxy(lambda: asyncio.open_unix_connection(self._base / "redis.sock"))
        self.injected: Counter[str] = Counter()

    async def start(self) -> None:
        """Start everything."""
        await asyncio.to_thread(self.start_postgres)
        await asyncio.to_thread(self.start_redis)
        await migrations.migrate(self.postgres.url)
        port = await self.redis_proxy.start()
        urls = [self.redis.url] * (INSTANCES - 1) + [f"redis://127.0.0.1:{port}"]
        self.instances = [
            Instance({"DATABASE_URL": self.postgres.url, "REDIS_URL": url}, self._base / f"instance-{n}.log")
            for n, url in enumerate(urls)
        ]
        await asyncio.gather(*(asyncio.to_thread(instance.start) for instance in self.instances))
        self.reply_proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", self.instances[0].port))
        self.reply_port = await self.reply_proxy.start()

    async def stop(self) -> None:
        """End everything."""
        for instance in self.instances:
            await asyncio.to_thread(instance.stop)
        await self.redis_proxy.stop()
        await self.reply_proxy.stop()
        self._redis_stack.close()
        self._postgres_stack.close()

    def start_postgres(self) -> None:
        """Start PostgreSQL, on its data of before."""
        home = embedded.postgres_homes()[0]
        self.postgres: Server = self._postgres_stack.enter_context(
            embedded.postgres(self._base, home, self._base)
        )

    def start_redis(self) -> None:
        """Start Redis, empty."""
        self.redis: Server = self._redis_stack.enter_context(embedded.redis(self._base, self._base))

    def kill_postgres(self) -> None:
        """Kill the postmaster and every one of its processes at once."""
        family = psutil.Process(self.postgres.process.pid)
        members = [*family.children(recursive=True), family]
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(members)
        self._postgres_stack.close()

    def kill_redis(self) -> None:
        """Kill Redis, with all that it holds."""
        self.redis.process.kill()
        self._redis_stack.close()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A world that is in order, until somebody does something to it."""
    with folder() as base:
        one = World(base)
        await one.start()
        try:
            yield one
        finally:
            await one.stop()


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
    await asyncio.to_thread(world.kill_postgres)
    await asyncio.sleep(random.random())
    await asyncio.to_thread(world.start_postgres)
    await asyncio.sleep(2)


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


async def trial(world: World, fault: Fault, seconds: float) -> tuple[Shared, Verdict]:
    """Let clients work for so long while the fault comes again and again, then judge what they saw."""
    shared = Shared([world.reply_port, *(instance.port for instance in world.instances)])
    doubts = sum(instance.doubts for instance in world.instances)
    end = monotonic() + seconds
    name = fault.__name__
    clients = [
        Client(shared, f"{name}-{random.randrange(10**9)}-{n}", short=True).run(lambda: monotonic() > end)
        for n in range(CLIENTS)
    ]
    await asyncio.gather(_repeat(world, fault, end), *clients)
    # An instance that doubts Redis for whatever reason, be it a busy machine, is one that does not reach it.
    believed = doubts == sum(instance.doubts for instance in world.instances)
    strict = fault in STRICT and believed
    return shared, check(shared.operations, final(world, shared), None if strict else CACHE_SECONDS + 0.5)


async def _repeat(world: World, fault: Fault, end: float) -> None:
    while monotonic() < end:
        await fault(world)
        world.injected[fault.__name__] += 1


def final(world: World, shared: Shared) -> dict[str, tuple[int, dict[str, str]]]:
    """Return what the database holds of the sessions in the end."""
    ids = {operation.session for operation in shared.operations}
    query = "select id::text, version, answers from quiz_sessions where id::text = any (%s)"
    with psycopg.connect(world.postgres.url) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(query, [list(ids)]).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}
