"""A PostgreSQL for fault tests: it can be killed, frozen, replicated and reached through a proxy."""

import asyncio
import os
import shutil
import signal
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import psycopg

from dev import servers
from dev.servers import Database
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import eventually


class Postgres:
    """A server with data and socket in a folder, which can be restarted."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._stack = ExitStack()
        self._server: Database
        self.url = f"postgresql://session_service@/postgres?host={base}"
        self.erase_url = f"postgresql://session_eraser@/postgres?host={base}"

    @property
    def owner_url(self) -> str:
        """The URL with the owner's role."""
        return self._server.owner_url

    def proxy(self) -> Proxy:
        """Return a TCP proxy to it."""
        return Proxy(lambda: asyncio.open_unix_connection(self.base / ".s.PGSQL.5432"))

    def url_at(self, port: int) -> str:
        """Return the URL for the service behind such a proxy."""
        return f"postgresql://session_service@127.0.0.1:{port}/postgres"

    def start(self) -> None:
        """Start it, with the data that it has."""
        home = servers.postgres_homes()[0]
        self._server = self._stack.enter_context(servers.postgres(self.base, home, self.base))

    def stop(self) -> None:
        """Stop it as `pg_ctl stop -m fast` does: statements in flight are aborted."""
        self._stack.close()

    def kill(self) -> None:
        """Kill the postmaster and all its processes."""
        members = self._family()
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(members)
        self._stack.close()

    def freeze(self) -> None:
        """Suspend all its processes."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume all its processes."""
        self._signal(signal.SIGCONT)

    def set(self, name: str, value: str) -> None:
        """Change a setting that takes effect on reload."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            connection.execute(f"alter system set {name} = {value}")
            connection.execute("select pg_reload_conf()")

    def replicate(self, standby: "Postgres") -> None:
        """Make the other one a synchronous standby of this one."""
        (data,) = self.base.glob("data-*")
        copy = standby.base / data.name
        binary = servers.postgres_homes()[0] / "bin" / "pg_basebackup"
        subprocess.run([binary, "-d", self.owner_url, "-D", copy, "-R", "-c", "fast"], check=True)
        if os.geteuid() == 0:
            for path in (copy, *copy.rglob("*")):
                shutil.chown(path, "nobody")
        standby.start()
        self.set("synchronous_standby_names", "'*'")
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            query = "select count(*) from pg_stat_replication where sync_state = 'sync'"
            eventually(lambda: connection.execute(query).fetchone() == (1,))

    def promote(self) -> None:
        """Promote the standby to a primary."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            assert connection.execute("select pg_promote()").fetchone() == (True,)

    def backends(self) -> list[int]:
        """Return the processes of the service's connections."""
        query = "select pid from pg_stat_activity where usename like 'session\\_%'"
        with psycopg.connect(self.owner_url) as connection:
            return [row[0] for row in connection.execute(query)]

    def _signal(self, number: signal.Signals) -> None:
        for member in self._family():
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        # The postmaster first: otherwise it would start new processes meanwhile.
        postmaster = psutil.Process(self._server.process.pid)
        return [postmaster, *postmaster.children(recursive=True)]
