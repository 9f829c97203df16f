"""Instances are restarted one after the other behind a proxy, and no client notices."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import define, field

from tests.conftest import Urls
from tests.faults.load import load
from tests.inspection import listens
from tests.service import Service, free_port, running
from tests.waiting import eventually

# It asks every instance all the time whether it wants requests. Whoever is refused by one goes to another;
# what was sent is never sent again.
HAPROXY = """
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  option redispatch 1
frontend clients
  bind 127.0.0.1:{port}
  default_backend instances
backend instances
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
def test_no_request_fails(server: str, migrated: Urls, tmp_path: Path) -> None:
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
        asyncio.run(restart_all(lives.enter_context(_proxy(tmp_path, instances)), instances))


@contextmanager
def _proxy(folder: Path, instances: list[Instance]) -> Iterator[str]:
    """Run a proxy in front of the instances."""
    port = free_port()
    places = [f"  server {one.port} 127.0.0.1:{one.port}\n" for one in instances]
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port) + "".join(places))
    with subprocess.Popen(["haproxy", "-db", "-f", config], stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: listens(url))
            yield url
        finally:
            process.terminate()
