"""A service with its own PostgreSQL and Redis, on which the commands of docs/backup.md are run."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from dev import servers
from dev.reaper import ROOT
from session_service.storage import migrations
from tests.conftest import Urls
from tests.support.service import Service, folder, free_port, running
from tests.support.waiting import eventually
from tests.verify.histories.postgres import Postgres

PAGE = (ROOT / "docs" / "backup.md").read_text()
# Of the server that pg_ctl starts: dev/servers.py gives them as arguments.
CONFIGURATION = "\nlisten_addresses = ''\nunix_socket_directories = '{}'\n"


def commands(heading: str) -> list[str]:
    """Return the blocks of shell commands in a section of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


class Deployment:
    """PostgreSQL with folders for backups, Redis, and the settings of a service on them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.port = str(free_port())
        self._stack = ExitStack()
        self._postgres = Postgres(base)
        self._user = "nobody" if os.geteuid() == 0 else None
        for name in ("backup", "archive"):
            (base / name).mkdir()
            if self._user:
                shutil.chown(base / name, self._user)

    @property
    def owner_url(self) -> str:
        """The URL with the owner's role."""
        return f"postgresql://app@/postgres?host={self.base}"

    @property
    def urls(self) -> Urls:
        """The settings of the service."""
        return {
            "DATABASE_URL": self._postgres.url,
            "MIGRATION_DATABASE_URL": self.owner_url,
            "ERASE_DATABASE_URL": self._postgres.erase_url,
            "REDIS_URL": self.redis_url,
            # So long that only bin/fence removes a copy from before the restore.
            "CACHE_SECONDS": "3600",
        }

    def start(self) -> None:
        """Start PostgreSQL and Redis, with the tables of this release."""
        self.redis_url = self._stack.enter_context(servers.redis(self.base, self.base)).url
        self.start_postgres()
        asyncio.run(
            migrations.migrate(
                self.owner_url, service_url=self._postgres.url, erase_url=self._postgres.erase_url
            )
        )

    def start_postgres(self) -> None:
        """Start PostgreSQL, with an empty database if it has no data."""
        self._postgres.start()
        with psycopg.connect(self.owner_url) as connection:
            self.programs = Path(psutil.Process(connection.info.backend_pid).exe()).parent
        (self.data,) = self.base.glob("data-*")
        settings = self.data / "postgresql.conf"
        text, own = settings.read_text(), CONFIGURATION.format(self.base)
        if own not in text:
            settings.write_text(text + own)

    def restart_postgres(self) -> None:
        """Restart PostgreSQL."""
        self._postgres.stop()
        self.start_postgres()

    def lose_postgres(self) -> None:
        """Kill PostgreSQL, and remove its data."""
        self._postgres.kill()
        shutil.rmtree(self.data)

    def run(self, block: str, **variables: str) -> str:
        """Run commands of the page, those on PostgreSQL as the user of the server; return their output."""
        env = {
            **os.environ,
            **self.urls,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "OWNER_URL": self.owner_url,
            "SUPERUSER_URL": self.owner_url,
            "SERVICE_URL": f"http://127.0.0.1:{self.port}",
            "BACKUP": str(self.base / "backup"),
            "ARCHIVE": str(self.base / "archive"),
            "PGDATA": str(self.data),
            **variables,
        }
        is_ours = "bin/" in block
        done = subprocess.run(
            ["sh", "-euc", block],
            cwd=ROOT if is_ours else self.base,
            env=env,
            user=None if is_ours else self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (block, done.stdout, self._log())
        return done.stdout

    def await_archive(self) -> None:
        """Wait until the archive has all that was committed: here for no archive_timeout."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            (newest,) = connection.execute("select pg_walfile_name(pg_switch_wal())").fetchone() or ()
            eventually((self.base / "archive" / str(newest)).exists, self._log)

    def await_promotion(self) -> None:
        """Wait until a restored server has reached the moment, and accepts writes."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            query = "select pg_is_in_recovery()"
            eventually(lambda: connection.execute(query).fetchone() == (False,), self._log)

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    @contextmanager
    def serving(self) -> Iterator[Service]:
        """Run the service, always on the same port."""
        with running(self.urls, PORT=self.port) as service:
            yield service

    def stop(self) -> None:
        """Stop all servers."""
        if (self.data / "postmaster.pid").exists():
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            self._end(pid)
        self._postgres.stop()
        self._stack.close()

    def _end(self, pid: int) -> None:
        """Stop a server that pg_ctl has started, which is not a child of this process."""
        server = psutil.Process(pid)
        if server.ppid() != os.getpid():
            server.terminate()
            server.send_signal(2)
            server.wait()

    def _log(self) -> str:
        logs = [self.base / "postgres.log", self.data / "restore.log"]
        return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())


@contextmanager
def deployment() -> Iterator[Deployment]:
    """Run a deployment."""
    with folder() as base:
        base.chmod(0o755)
        one = Deployment(base)
        one.start()
        try:
            yield one
        finally:
            one.stop()
