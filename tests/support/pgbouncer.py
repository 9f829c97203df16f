"""A PgBouncer before a private PostgreSQL."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
from attrs import frozen

from tests.support.service import free_port
from tests.support.waiting import eventually

# In Debian it is in /usr/sbin, which is not on the PATH of every user.
COMMAND = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
# Server connections for each role and database. In session mode each connection of a service has one.
POOL_SIZES = {"transaction": 10, "session": 80, "statement": 10}
ROLES = ("session_service", "session_eraser", "app")


@frozen
class Pooler:
    """A running PgBouncer, and the settings of a service behind it."""

    urls: dict[str, str]
    port: int

    def execute(self, command: str) -> None:
        """Execute a command of its console, such as RECONNECT."""
        # The console knows only the simple protocol.
        with psycopg.connect(f"postgresql://app@127.0.0.1:{self.port}/pgbouncer", autocommit=True) as console:
            console.pgconn.exec_(command.encode())


@contextmanager
def pgbouncer(base: Path, urls: Mapping[str, str], mode: str, *options: str) -> Iterator[Pooler]:
    """Run PgBouncer in the folder, before the PostgreSQL of the settings, in a mode and with more options."""
    port = free_port()
    process = subprocess.Popen(
        [
            COMMAND,
            "-q",
            *(["-u", "nobody"] if os.geteuid() == 0 else []),
            _written(base, urls, port, mode, options),
        ],
        cwd="/",
    )
    try:
        pooler = Pooler(_behind(urls, port, mode), port)
        eventually(lambda: _accepts(pooler))
        yield pooler
    finally:
        process.kill()
        process.wait()


def prepares(mode: str) -> bool:
    """Return whether the installed PgBouncer has prepared statements in the mode: from 1.21 on in all."""
    version = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", version)
    assert found is not None
    return mode == "session" or (int(found[1]), int(found[2])) >= (1, 21)


def _written(base: Path, urls: Mapping[str, str], port: int, mode: str, options: tuple[str, ...]) -> Path:
    """Write the files of PgBouncer; return the path of its settings."""
    base.chmod(0o755)
    users, file = base / "pgbouncer-users.txt", base / f"pgbouncer-{port}.ini"
    users.write_text("".join(f'"{role}" ""\n' for role in ROLES))
    socket = parse_qs(urlsplit(urls["DATABASE_URL"]).query)["host"][0]
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": users,
        "admin_users": "app",
        "pool_mode": mode,
        "default_pool_size": POOL_SIZES[mode],
        "server_login_retry": 1,
        "log_connections": 0,
        "log_disconnections": 0,
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    file.write_text("\n".join(["[databases]", f"* = host={socket}", "[pgbouncer]", *lines, *options, ""]))
    return file


def _behind(urls: Mapping[str, str], port: int, mode: str) -> dict[str, str]:
    names = [name for name in ("DATABASE_URL", "ERASE_DATABASE_URL") if urls.get(name)]
    pooled = {name: _at(urls[name], port) for name in names}
    return {**urls, **pooled, "DATABASE_PREPARE": "yes" if prepares(mode) else "no"}


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    # Tests replace the name of the database, with the question mark after it.
    return f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}?connect_timeout=2"


def _accepts(pooler: Pooler) -> bool:
    try:
        pooler.execute("show version")
    except psycopg.OperationalError:
        return False
    return True
