"""A PostgreSQL with failover: three nodes with Patroni each, and one etcd, all on loopback.

One etcd is enough here: it is not what fails. In production it has three members or five.
"""

import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg

from dev import servers
from tests.support.service import free_port, plain_text
from tests.support.waiting import eventually

NODES = 3
ENVIRONMENT = Path(__file__).parent / "patroni" / ".venv"
# As in docs/high-availability.md.
SETTINGS: dict[str, Any] = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 3,
    "primary_start_timeout": 0,
    "failsafe_mode": True,
    "synchronous_mode": True,
}
# PostgreSQL does not run as root. It keeps root's right to read files: the environment may be in root's home.
USER = "nobody"
AS_USER = (
    [
        *("setpriv", "--reuid", USER, "--regid", "nogroup", "--clear-groups"),
        *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
    ]
    if os.geteuid() == 0
    else []
)
# For more connections than a test needs, in little memory.
PARAMETERS = {"max_connections": 100, "shared_buffers": "32MB", "log_checkpoints": "off"}


class Node:
    """A PostgreSQL with the Patroni that starts, promotes and stops it."""

    def __init__(self, cluster: "PatroniCluster", number: int) -> None:
        self.name = f"node{number}"
        self.port, self.api_port = free_port(), free_port()
        self.log = cluster.base / f"{self.name}.log"
        self.data = cluster.base / self.name / "data"
        self.configuration = cluster.base / f"{self.name}.yaml"
        self._cluster = cluster
        self._patroni: subprocess.Popen[bytes] | None = None

    @property
    def owner_url(self) -> str:
        """The URL of this PostgreSQL, whether it is the primary or not."""
        return f"postgresql://app@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        self.data.parent.mkdir(exist_ok=True)
        if AS_USER:
            shutil.chown(self.data.parent, USER)
        self.configuration.write_text(json.dumps(self._settings()))
        with self.log.open("ab") as log:
            self._patroni = subprocess.Popen(
                [*AS_USER, self._cluster.environment / "bin" / "patroni", self.configuration],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Kill what runs of it."""
        self.thaw()
        self.kill()

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL, as when the machine fails."""
        self._signal(self._processes(), signal.SIGKILL)
        if self._patroni:
            self._patroni.wait()

    def kill_postgresql(self) -> None:
        """Kill PostgreSQL; its Patroni lives."""
        self._signal(self._postgresql(), signal.SIGKILL)

    def freeze(self) -> None:
        """Suspend Patroni and PostgreSQL, as when a virtual machine is moved."""
        self._signal(self._processes(), signal.SIGSTOP)

    def freeze_postgresql(self) -> None:
        """Suspend PostgreSQL, as when its disk hangs; its Patroni lives."""
        self._signal(self._postgresql(), signal.SIGSTOP)

    def freeze_replication(self) -> None:
        """Suspend the process that receives the write-ahead log of the primary."""
        self._signal(self._receivers(), signal.SIGSTOP)

    def end_replication(self) -> None:
        """End that process before it reads what has arrived meanwhile."""
        receivers = self._receivers()
        self._signal(receivers, signal.SIGTERM)
        self._signal(receivers, signal.SIGCONT)

    def thaw(self) -> None:
        """Resume what is suspended."""
        self._signal(self._processes(), signal.SIGCONT)

    def members(self) -> dict[str, dict[str, Any]]:
        """Return the members of the cluster by name, as this node's Patroni knows them; {} if it does not."""
        with suppress(OSError):
            return {
                member["name"]: {key: member.get(key) for key in ("role", "state", "timeline")}
                for member in json.loads(plain_text(f"http://127.0.0.1:{self.api_port}/cluster"))["members"]
            }
        return {}

    def is_primary(self) -> bool:
        """Return whether it accepts connections as a primary."""
        return self._execute("select not pg_is_in_recovery()") == [(True,)]

    def close_connections(self) -> None:
        """Close the connections of the service."""
        self._execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename like 'session\\_%'"
        )

    def _execute(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """Return the rows of a statement here, none if it fails."""
        with suppress(psycopg.Error), psycopg.connect(self.owner_url, connect_timeout=2) as connection:
            return connection.execute(query).fetchall()
        return []

    def _processes(self) -> list[psutil.Process]:
        patroni = (
            [psutil.Process(self._patroni.pid)] if self._patroni and self._patroni.poll() is None else []
        )
        return patroni + self._postgresql()

    def _receivers(self) -> list[psutil.Process]:
        receivers = []
        for process in self._postgresql():
            with suppress(psutil.NoSuchProcess):
                if "walreceiver" in " ".join(process.cmdline()):
                    receivers.append(process)
        return receivers

    def _postgresql(self) -> list[psutil.Process]:
        # The postmaster first: otherwise it would start new processes meanwhile.
        with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
            number = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            postmaster = psutil.Process(number)
            if str(self.data) in " ".join(postmaster.cmdline()):
                return [postmaster, *postmaster.children(recursive=True)]
        return []

    def _signal(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if number == signal.SIGKILL:
            eventually(lambda: all(map(_has_ended, processes)))

    def _settings(self) -> dict[str, Any]:
        """Return the configuration of Patroni."""
        address, api = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.api_port}"
        return {
            "scope": "quiz",
            "name": self.name,
            "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": f"127.0.0.1:{self._cluster.etcd_port}"},
            "bootstrap": {
                "dcs": {**self._cluster.settings, "postgresql": {"use_pg_rewind": True, "use_slots": True}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self.data),
                "bin_dir": str(servers.postgres_homes()[0] / "bin"),
                "pgpass": str(self.data.parent / "pgpass"),
                "authentication": {
                    "superuser": {"username": "app"},
                    "replication": {"username": "replicator"},
                },
                "parameters": {**PARAMETERS, "unix_socket_directories": str(self.data.parent)},
                "pg_hba": [
                    f"host {databases} all 127.0.0.1/32 trust" for databases in ("all", "replication")
                ],
            },
        }


class PatroniCluster:
    """Three nodes and an etcd, with their data in the folder; `settings` are those of Patroni.

    `environment` has the installation of Patroni.
    """

    def __init__(
        self, base: Path, settings: dict[str, Any] | None = None, environment: Path = ENVIRONMENT
    ) -> None:
        self.base = base
        self.settings = settings or SETTINGS
        self.etcd_port = free_port()
        self.nodes = [Node(self, number) for number in range(NODES)]
        self.environment = environment

    def url(self, role: str) -> str:
        """Return the URL of the primary, whichever node that is, for a role; the current one is the first."""
        leader = self.leader()
        nodes = [leader, *(node for node in self.nodes if node is not leader)]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        # A host that is silent costs two seconds.
        return f"postgresql://{role}@{hosts}/postgres?target_session_attrs=read-write&connect_timeout=2"

    def start(self) -> None:
        """Start etcd and the nodes; wait until one leads and another is its synchronous standby."""
        self.base.chmod(0o755)
        self._start_etcd()
        for node in self.nodes:
            node.start()
        self.await_whole()

    def stop(self) -> None:
        """Stop everything."""
        for node in self.nodes:
            node.stop()
        self._etcd.kill()
        self._etcd.wait()

    def leader(self) -> Node:
        """Return the node that leads."""
        return next(node for node in self.nodes if node.name in self._names("leader"))

    def synchronous_standby(self) -> Node:
        """Return the node with every acknowledged write."""
        return next(node for node in self.nodes if node.name in self._names("sync_standby"))

    def is_replaced(self, leader: Node) -> bool:
        """Return whether another node leads, as the others know it."""
        return bool(self._names("leader", leader) - {leader.name})

    def has_synchronous_standby(self, former: Node) -> bool:
        """Return whether the leader that replaced a former one has a synchronous standby itself."""
        return bool(self._names("sync_standby", former) - {former.name})

    def await_whole(self) -> None:
        """Wait until one node leads, and both others follow it, one of them synchronously."""
        eventually(self._is_whole, lambda: [node.log.read_text()[-1500:] for node in self.nodes])

    def switch_over(self) -> None:
        """Let the synchronous standby lead, as an operator does before maintenance."""
        patronictl = self.environment / "bin" / "patronictl"
        command: list[str | Path] = [
            patronictl,
            "-c",
            self.nodes[0].configuration,
            "switchover",
            "quiz",
            "--force",
        ]
        command += ["--primary", self.leader().name, "--candidate", self.synchronous_standby().name]
        subprocess.run(command, check=True, capture_output=True)

    def _is_whole(self) -> bool:
        """Return whether all nodes agree on it: one that was frozen believes for a while that it leads."""
        views = [node.members() for node in self.nodes]
        one = views[0].values()
        synchronous = "sync_standby" if self.settings.get("synchronous_mode") else "replica"
        return (
            views.count(views[0]) == len(views)
            and sorted(member["role"] for member in one) == sorted(["leader", "replica", synchronous])
            and all(member["state"] == "streaming" for member in one if member["role"] != "leader")
            and len({member["timeline"] for member in one}) == 1
        )

    def _names(self, role: str, silent: Node | None = None) -> set[str]:
        """Return the names of the members with the role, as a node knows them that is not silent."""
        asked = next(node for node in self.nodes if node is not silent)
        return {name for name, member in asked.members().items() if member["role"] == role}

    def _start_etcd(self) -> None:
        clients, peers = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, free_port()))
        command = ["etcd", "--name", "etcd", "--data-dir", str(self.base / "etcd")]
        command += ["--listen-client-urls", clients, "--advertise-client-urls", clients]
        command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        command += ["--initial-cluster", f"etcd={peers}", "--logger", "zap"]
        with (self.base / "etcd.log").open("ab") as log:
            self._etcd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _has_ended(process: psutil.Process) -> bool:
    # PostgreSQL is not a child of its Patroni: in a container without an init it stays a zombie.
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
