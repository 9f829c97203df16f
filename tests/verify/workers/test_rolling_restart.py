"""Instances are restarted one after the other behind a proxy, and no client notices."""

import asyncio
from contextlib import AbstractContextManager, ExitStack

import pytest
from attrs import define, field

from tests.conftest import Urls
from tests.support.load import load
from tests.support.proxies import haproxy
from tests.support.service import Service, free_port, running

# It probes the readiness of every instance all the time. A connection that one instance refuses goes to
# another; a request that was sent is never sent again.
BACKEND = """
  option redispatch 1
  timeout check 5s
  option httpchk GET /health/ready
  default-server check inter 50ms fall 1 rise 1
"""


@define
class Instance:
    """A service process that can be restarted where it is."""

    env: Urls
    server: str
    port: int = field(factory=free_port)
    _life: AbstractContextManager[Service] | None = None

    def start(self) -> None:
        """Serve."""
        self._life = running(self.env, SERVER=self.server, PORT=str(self.port))
        self._life.__enter__()

    def stop(self) -> None:
        """Be told to end, and end well."""
        if self._life:
            self._life.__exit__(None, None, None)
        self._life = None

    def restart(self) -> None:
        """Stop, and start again."""
        self.stop()
        self.start()


@pytest.mark.needs("haproxy")
@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_no_request_fails(server: str, migrated: Urls) -> None:
    """Each save of each client is acknowledged, through the proxy, while every instance is restarted."""

    async def restart_all(url: str, instances: list[Instance]) -> None:
        async with load(url) as clients:
            for instance in instances:
                await asyncio.to_thread(instance.restart)
        assert clients.failures() == []
        assert clients.lost(migrated["MIGRATION_DATABASE_URL"]) == []

    instances = [Instance(migrated, server) for _ in range(3)]
    with ExitStack() as lives:
        for instance in instances:
            lives.callback(instance.stop)
            instance.start()
        servers = [f"  server {one.port} 127.0.0.1:{one.port}\n" for one in instances]
        asyncio.run(restart_all(lives.enter_context(haproxy(BACKEND + "".join(servers))), instances))
