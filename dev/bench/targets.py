"""What is compared, and how it is started and ended."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import httpx
from attrs import evolve, frozen

from dev.bench.drive import pgbench_binary
from dev.bench.measure import BEFORE, OPERATIONS, BenchError
from dev.bench.stores import Stores
from dev.reaper import ROOT
from session_service.storage import migrations
from tests.support.service import free_port

_SERVICE = (sys.executable, "-m", "session_service")
_BARE = ("get hit", "put")
_PEERS = Path(__file__).parent / "peers"
_FASTAPI = (str(_PEERS / "fastapi" / ".venv" / "bin" / "python"), "-m", "fastapi_peer")


@frozen
class Target:
    """Something to compare: a server, or pgbench with so many clients."""

    name: str
    command: tuple[str, ...] = ()
    settings: MappingProxyType[str, str] = MappingProxyType({})
    # Who makes the table: the service's migrations, the peer itself, or nobody as there is none.
    table: str = "migrations"
    operations: tuple[str, ...] = OPERATIONS
    clients: int = 0
    folder: Path = ROOT


@frozen
class Running:
    """A target that has been started, with its database."""

    target: Target
    database: str
    url: str
    process: subprocess.Popen[bytes] | None
    log: Path

    def forget_log(self) -> None:
        """Empty the log: an hour of requests would fill a disk."""
        if self.log.exists():
            os.truncate(self.log, 0)

    def last_lines(self) -> str:
        """Return the end of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-10:])


def _bare(server: str) -> Target:
    command = (sys.executable, "-m", "dev.bench.bare", server)
    return Target(f"bare {server}", command, table="", operations=_BARE)


def _granian(
    name: str, application: str, table: str = "migrations", operations: tuple[str, ...] = OPERATIONS
) -> Target:
    python = str(_PEERS / "granian" / ".venv" / "bin" / "python")
    command = (python, "-m", "dev.bench.peers.granian.granian_peer", application)
    return Target(name, command, table=table, operations=operations)


def _service(name: str, **settings: str) -> Target:
    return Target(name, _SERVICE, MappingProxyType(settings))


TARGETS = (
    _bare("hypercorn"),
    _bare("uvicorn"),
    _granian("bare granian", "bare", "", _BARE),
    _service("hypercorn", SERVER="hypercorn"),
    _service("uvicorn", SERVER="uvicorn"),
    _granian("granian", "service"),
    _service("unbatched", SERVER="hypercorn", BATCH_SIZE="1"),
    _service("unbatched uvicorn", SERVER="uvicorn", BATCH_SIZE="1"),
    Target("fastapi", _FASTAPI, table="peer", folder=_PEERS / "fastapi"),
    Target(
        "express",
        ("node", "server.js"),
        MappingProxyType({"NODE_ENV": "production"}),
        table="peer",
        folder=_PEERS / "express",
    ),
    Target("pgbench 1", operations=("put",), clients=1),
    Target("pgbench 16", operations=("put",), clients=16),
)


def before(target: Target, folder: Path) -> Target:
    """Return the target that runs the service of another checkout, on the migrations of this one."""
    return evolve(target, name=target.name + BEFORE, folder=folder)


def missing(target: Target) -> str:
    """Return what a target needs and this machine does not have; nothing if it can run."""
    if target.name == "express" and subprocess.run([ROOT / "bin/lib/has-node"], check=False).returncode:
        return "Node.js 20 or newer with npm"
    return "pgbench" if target.clients and pgbench_binary() is None else ""


@contextmanager
def running(target: Target, stores: Stores, folder: Path) -> Iterator[Running]:
    """Start a target on a database of its own; end it with all its processes."""
    name = target.name.replace(" ", "_")
    database = stores.database(f"bench_{name}") if target.table else ""
    if target.table == "migrations":
        asyncio.run(migrations.migrate(database))
    log = folder / f"{name}.log"
    if not target.command:
        yield Running(target, database, "", None, log)
        return
    port = free_port()
    settings = {"DATABASE_URL": database, "REDIS_URL": stores.redis_url, "PORT": str(port)}
    # To be appended to, so that it can be emptied meanwhile.
    with log.open("ab") as output:
        process = subprocess.Popen(
            target.command,
            cwd=target.folder,
            env={**os.environ, **settings, **target.settings},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = Running(target, database, f"http://127.0.0.1:{port}", process, log)
    try:
        _await(started, process)
        yield started
    finally:
        _end(process)


def _await(started: Running, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{started.url}/health", timeout=5).raise_for_status()
        except httpx.HTTPStatusError as error:
            raise BenchError(f"{started.target.name} is not well: {error}") from None
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{started.target.name} did not start:\n{started.last_lines()}") from None
            time.sleep(0.05)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end; after ten seconds end it and whatever it has started."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
