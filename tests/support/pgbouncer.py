"""A PgBouncer before a private PostgreSQL."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import psycopg
from attrs import frozen

from tests.conftest import Urls
from tests.support.service import free_port
from tests.support.waiting import eventually

Mode = Literal["session", "transaction", "statement"]
MODES: list[Mode] = ["transaction", "session"]
# In Debian PgBouncer is in /usr/sbin, which is not on the PATH of every user.
COMMAND = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
POOL_SIZE = 20  # server connections for each role and database


@frozen
class Pooler:
    """A running PgBouncer: the settings of a service behind it, and its port."""

    urls: Urls
    port: int

    def command(self, command: str) -> None:
        """Execute a command of its console, such as RECONNECT."""
        url = f"postgresql://session_service@127.0.0.1:{self.port}/pgbouncer"
        with psycopg.connect(url, autocommit=True) as console:
            console.pgconn.exec_(command.encode())


@contextmanager
def pgbouncer(base: Path, urls: Urls, mode: Mode, *options: str) -> Iterator[Pooler]:
    """Run PgBouncer in the folder before the PostgreSQL of the settings; prepare statements if it can."""
    port, socket = free_port(), parse_qs(urlsplit(urls["DATABASE_URL"]).query)["host"][0]
    file = base / f"pgbouncer-{port}.ini"
    users = base / "users.txt"
    users.write_text("".join(f'"{name}" ""\n' for name in ("session_service", "session_eraser")))
    lines = [
        "[databases]",
        f"* = host={socket} port=5432",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = trust",
        f"auth_file = {users}",
        "admin_users = session_service",
        f"pool_mode = {mode}",
        f"default_pool_size = {POOL_SIZE}",
        "server_login_retry = 1",
        *options,
    ]
    file.write_text("\n".join(lines) + "\n")
    base.chmod(0o755)
    log = (base / f"pgbouncer-{port}.log").open("wb")
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with log, subprocess.Popen([COMMAND, file], stdout=log, stderr=log, cwd="/", **user) as process:  # type: ignore[call-overload]
        try:
            pooler = Pooler({**urls, **_behind(urls, port)}, port)
            eventually(lambda: _accepts(pooler))
            yield pooler
        finally:
            process.terminate()


def _behind(urls: Urls, port: int) -> Urls:
    names = [name for name in ("DATABASE_URL", "ERASE_DATABASE_URL") if urls.get(name)]
    return {name: _at(urls[name], port) for name in names}


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    return f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"


def _accepts(pooler: Pooler) -> bool:
    try:
        pooler.command("show version")
    except psycopg.OperationalError:
        return False
    return True
