"""Looks into a running service and its database: where their work waits, and what was not read yet."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.support.service import Service
from tests.support.waiting import eventually

# Where Python finds the part of this that runs in the service (tests/support/inside/sitecustomize.py).
INSIDE = str(Path(__file__).parent / "inside")
QUEUED = "Batcher._enqueue"

_UNREAD = re.compile(r"^ *\d+: \w+:(\w{4}) \w+:\w+ (?:01|08) \w+:(?!0{8})\w+ ", re.MULTILINE)
_REPORT = re.compile(r"^tasks: (\d+) (\{.*\})$", re.MULTILINE)


def tasks(service: Service) -> tuple[int, dict[str, int]]:
    """Return how many tasks the service has, and in which of its functions how many of them are.

    The service has to have `INSIDE` on its PYTHONPATH.
    """
    (report,) = reports(service.log, [service.process.pid])
    return report


def reports(log: Path, pids: list[int]) -> list[tuple[int, dict[str, int]]]:
    """Return what `tasks` returns, of each of the processes that write to the log."""
    before = len(_REPORT.findall(log.read_text()))
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)

    def written() -> list[tuple[str, str]]:
        found = _REPORT.findall(log.read_text())[before:]
        return found if len(found) == len(pids) else []

    return [(int(count), json.loads(places)) for count, places in eventually(written, log.read_text)]


def running_in(service: Service, function: str) -> int:
    """Return how many tasks of the service are in the function or in what it awaits."""
    return tasks(service)[1].get(function, 0)


def unread(url: str) -> int:
    """Return on how many connections to the URL there are bytes that the service has not read yet."""
    port = f"{urlsplit(url).port:04X}"
    return _UNREAD.findall(Path("/proc/net/tcp").read_text()).count(port)


@contextmanager
def suspended(service: Service) -> Iterator[None]:
    """Let the service stand still; what is sent to it meanwhile is there at once when it goes on."""
    service.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.process.send_signal(signal.SIGCONT)


def listens(url: str) -> bool:
    """Tell whether the service at the URL takes new connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def waiting_for_locks(url: str) -> int:
    """Return how many statements wait for a lock in the database at the URL.

    The connection is a new one: within a transaction PostgreSQL shows the activity of its begin.
    """
    query = (
        "select count(*) from pg_stat_activity "
        "where wait_event_type = 'Lock' and datname = current_database()"
    )
    with psycopg.connect(url, autocommit=True) as database:
        (count,) = database.execute(query).fetchone() or (0,)
        return int(count)
