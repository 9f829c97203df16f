"""Instances of the service and their servers."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from dev import servers
from dev.reaper import ROOT
from dev.servers import Server
from session_service.storage import migrations
from tests.support.service import await_reply, folder, free_port
from tests.support.tcp_proxy import Proxy
from tests.verify.histories.postgres import Postgres

CACHE_SECONDS = 3
INSTANCES = 3


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
    def doubts(self) -> tuple[int, bool]:
        """How often it has stopped believing Redis, and whether it does not believe it now."""
        told = self._log.read_text()
        count = told.count("redis is not believed")
        return count, count > told.count("redis is believed again")


class World:
    """PostgreSQL, Redis, and instances of which the last reaches both of them through proxies."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._redis_stack = ExitStack()
        self.postgres = Postgres(base)
        self.postgres_proxy = self.postgres.proxy()
        self.redis_proxy = Proxy(lambda: asyncio.open_unix_connection(self._base / "redis.sock"))
        self.injected: Counter[str] = Counter()

    async def start(self) -> None:
        """Start everything."""
        await asyncio.to_thread(self.postgres.start)
        await asyncio.to_thread(self.start_redis)
        await migrations.migrate(self.postgres.owner_url, service_url=self.postgres.url)
        direct = {"DATABASE_URL": self.postgres.url, "REDIS_URL": self.redis.url}
        proxied = {
            "DATABASE_URL": self.postgres.url_at(await self.postgres_proxy.start()),
            "REDIS_URL": f"redis://127.0.0.1:{await self.redis_proxy.start()}",
        }
        self.instances = [
            Instance(env, self._base / f"instance-{n}.log")
            for n, env in enumerate([direct] * (INSTANCES - 1) + [proxied])
        ]
        await asyncio.gather(*(asyncio.to_thread(instance.start) for instance in self.instances))
        self.reply_proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", self.instances[0].port))
        self.reply_port = await self.reply_proxy.start()

    async def stop(self) -> None:
        """End everything."""
        for instance in self.instances:
            await asyncio.to_thread(instance.stop)
        await self.postgres_proxy.stop()
        await self.redis_proxy.stop()
        await self.reply_proxy.stop()
        self._redis_stack.close()
        self.postgres.stop()

    def start_redis(self) -> None:
        """Start Redis, empty."""
        self.redis: Server = self._redis_stack.enter_context(servers.redis(self._base, self._base))

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
