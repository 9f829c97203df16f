"""Tests of a rolling restart of instances behind a proxy."""

import asyncio
from contextlib import AbstractContextManager, ExitStack

import pytest
from attrs import define, field

from session_service.traffic.batching import QUEUE_TIMEOUT
from tests.conftest import Urls
from tests.support.load import load
from tests.support.proxies import haproxy
from tests.support.service import Service, free_port, running

# HAProxy checks the readiness of every instance all the time. A refused connection goes to another
# instance; a request is never sent twice.
BACKEND = """
  option redispatch 1
  timeout check 5s
  option httpchk GET /health/ready
  default-server check inter 50ms fall 1 rise 1
"""


@define
class Instance:
    """A service process that can be restarted on its port."""

    env: Urls
    server: str
    port: int = field(factory=free_port)
    _running: AbstractContextManager[Service] | None = None

    def start(self) -> None:
        """Start it."""
        self._running = running(self.env, SERVER=self.server, PORT=str(self.port))
        self._running.__enter__()

    def stop(self) -> None:
        """Shut it down gracefully."""
        if self._running:
            self._running.__exit__(None, None, None)
        self._running = None

    def restart(self) -> None:
        """Shut it down and start it again."""
        self.stop()
        self.start()


@pytest.mark.needs("haproxy")
@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_rolling_restart_behind_a_proxy(server: str, migrated: Urls) -> None:
    """Rolling restart: each save through the proxy succeeds while every instance is restarted."""

    async def restart_all(url: str, instances: list[Instance]) -> None:
        async with load(url) as clients:
            for instance in instances:
                await asyncio.to_thread(instance.restart)
        # On a busy machine a save may be queued for too long; an instance that stops refuses at once.
        failed = [
            one for one in clients.failures() if one.end - one.begin < QUEUE_TIMEOUT or one.status != 503
        ]
        assert failed == []
        assert clients.lost(migrated["MIGRATION_DATABASE_URL"]) == []

    instances = [Instance(migrated, server) for _ in range(3)]
    with ExitStack() as stack:
        for instance in instances:
            stack.callback(instance.stop)
            instance.start()
        servers = [f"  server {one.port} 127.0.0.1:{one.port}\n" for one in instances]
        asyncio.run(restart_all(stack.enter_context(haproxy(BACKEND + "".join(servers))), instances))
