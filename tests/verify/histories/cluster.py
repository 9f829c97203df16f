"""A cluster of service instances with their PostgreSQL and Redis."""

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
from tests.support.pgbouncer import pgbouncer
from tests.support.service import await_serving, folder, free_port
from tests.support.tcp_proxy import Proxy
from tests.verify.histories.postgres import Postgres

CACHE_SECONDS = 3
INSTANCES = 3
_OPENED = b"circuit breaker open"


class Instance:
    """A service process that can be stopped and restarted on the same port."""

    def __init__(self, env: dict[str, str], log: Path, root: Path = ROOT) -> None:
        self.port = free_port()
        self._env = {**os.environ, **env, "PORT": str(self.port), "CACHE_SECONDS": str(CACHE_SECONDS)}
        self._log = log
        self._root = root

    def start(self) -> None:
        """Start it and wait until it serves."""
        with self._log.open("ab") as log:
            self._begun = log.tell()
            command = [sys.executable, "-m", "session_service"]
            self.process = subprocess.Popen(command, cwd=self._root, env=self._env, stdout=log, stderr=log)
        await_serving(f"http://127.0.0.1:{self.port}", self.process, self._log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it."""
        self.process.send_signal(how)
        self.process.wait()

    @property
    def breaker_state(self) -> tuple[int, bool]:
        """The number of openings of the circuit breaker of Redis, and whether it is open now."""
        log = self._log.read_bytes()
        # The breaker of a process that was killed stays open in its part of the log.
        now = log[self._begun :]
        is_open = now.count(_OPENED) > now.count(b"circuit breaker closed: Redis serves reads again")
        return log.count(_OPENED), is_open


class Services:
    """Instances of the service on one PostgreSQL and one Redis; `base` has the data and the logs.

    `url` is the URL of the database for the service, `owner_url` that of the role which owns the tables.
    `injected` counts the faults.
    """

    url: str
    owner_url: str

    def __init__(self, base: Path) -> None:
        self._base = base
        self._redis_stack = ExitStack()
        self.injected: Counter[str] = Counter()
        self.instances: list[Instance] = []

    @property
    def breaker_states(self) -> list[tuple[int, bool]]:
        """Those of the instances."""
        return [instance.breaker_state for instance in self.instances]

    @property
    def ports(self) -> list[int]:
        """The ports to which clients send their requests."""
        return [instance.port for instance in self.instances]

    def start_redis(self) -> None:
        """Start an empty Redis."""
        self.redis: Server = self._redis_stack.enter_context(servers.redis(self._base, self._base))

    async def start_instances(self, *settings: dict[str, str]) -> None:
        """Start an instance with each of the settings."""
        self.instances = [Instance(env, self._base / f"instance-{n}.log") for n, env in enumerate(settings)]
        await asyncio.gather(*(asyncio.to_thread(instance.start) for instance in self.instances))

    async def stop_instances(self) -> None:
        """Stop the instances, then Redis."""
        for instance in self.instances:
            await asyncio.to_thread(instance.stop)
        self._redis_stack.close()


class Cluster(Services):
    """PostgreSQL, Redis, and instances; the last instance reaches both through proxies.

    With the mode of a connection pooler, all instances reach PostgreSQL through a PgBouncer instead, and with
    the URL of another Redis they use that one.
    """

    def __init__(self, base: Path, pool_mode: str = "", redis_url: str = "") -> None:
        super().__init__(base)
        self._redis_url = redis_url
        self._pool_mode = pool_mode
        self._pooler_stack = ExitStack()
        self.postgres = Postgres(base)
        self.url = self.postgres.url
        self.postgres_proxy = self.postgres.proxy()
        self.redis_proxy = Proxy(lambda: asyncio.open_unix_connection(self._base / "redis.sock"))

    @property
    def ports(self) -> list[int]:
        return [self.reply_port, *super().ports]

    async def start(self) -> None:
        """Start everything."""
        await asyncio.to_thread(self.postgres.start)
        self.owner_url = self.postgres.owner_url
        await asyncio.to_thread(self.start_redis)
        direct = {
            "DATABASE_URL": self.postgres.url,
            "ERASE_DATABASE_URL": self.postgres.erase_url,
            "REDIS_URL": self.redis.url,
        }
        await self._migrate(direct)
        url = self.postgres.url_at(await self.postgres_proxy.start())
        proxied = {
            "DATABASE_URL": url,
            "ERASE_DATABASE_URL": url.replace("session_service@", "session_eraser@"),
            "REDIS_URL": f"redis://127.0.0.1:{await self.redis_proxy.start()}",
        }
        if self._pool_mode:
            pooler = self._pooler_stack.enter_context(pgbouncer(self._base, direct, self._pool_mode))
            await self._migrate(pooler.urls)
            direct, proxied = pooler.urls, {**pooler.urls, "REDIS_URL": proxied["REDIS_URL"]}
        if self._redis_url:
            direct, proxied = ({**env, "REDIS_URL": self._redis_url} for env in (direct, proxied))
        await self.start_instances(*[direct] * (INSTANCES - 1), proxied)
        self.reply_proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", self.instances[0].port))
        self.reply_port = await self.reply_proxy.start()

    async def stop(self) -> None:
        """Stop everything."""
        await self.stop_instances()
        await self.postgres_proxy.stop()
        await self.redis_proxy.stop()
        await self.reply_proxy.stop()
        self._pooler_stack.close()
        self.postgres.stop()

    async def _migrate(self, urls: dict[str, str]) -> None:
        await migrations.migrate(
            self.postgres.owner_url, service_url=urls["DATABASE_URL"], erase_url=urls["ERASE_DATABASE_URL"]
        )

    def kill_redis(self) -> None:
        """Kill Redis."""
        self.redis.process.kill()
        self._redis_stack.close()


@asynccontextmanager
async def cluster(pool_mode: str = "", redis_url: str = "") -> AsyncIterator[Cluster]:
    """Run a cluster, if they are given behind a connection pooler and with another Redis."""
    with folder() as base:
        one = Cluster(base, pool_mode, redis_url)
        await one.start()
        try:
            yield one
        finally:
            await one.stop()
