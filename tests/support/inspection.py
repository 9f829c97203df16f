"""Inspects a running service and its database: tasks, unread bytes, locks."""

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

# Directory of the part that runs in the service (tests/support/inside/sitecustomize.py), for PYTHONPATH.
INSIDE = str(Path(__file__).parent / "inside")
QUEUED = "queued request"

_UNREAD = re.compile(r"^ *\d+: \w+:(\w{4}) \w+:\w+ (?:01|08) \w+:(?!0{8})\w+ ", re.MULTILINE)
_REPORT = re.compile(r"^tasks: (\d+) (\{.*\})$", re.MULTILINE)


def tasks(service: Service) -> tuple[int, dict[str, int]]:
    """Return the number of tasks of the service, and the number of tasks by function.

    The PYTHONPATH of the service must contain `INSIDE`.
    """
    (report,) = reports(service.log, [service.process.pid])
    return report


def reports(log: Path, pids: list[int]) -> list[tuple[int, dict[str, int]]]:
    """Return the result of `tasks` for each of the processes that write to the log."""
    before = len(_REPORT.findall(log.read_text()))
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)

    def written() -> list[tuple[str, str]]:
        found = _REPORT.findall(log.read_text())[before:]
        return found if len(found) == len(pids) else []

    return [(int(count), json.loads(places)) for count, places in eventually(written, log.read_text)]


def running_in(service: Service, function: str) -> int:
    """Return the number of tasks that are in the function, or in a coroutine that it awaits."""
    return tasks(service)[1].get(function, 0)


def unread(url: str) -> int:
    """Return the number of connections to the URL with bytes that the service has not read yet."""
    port = f"{urlsplit(url).port:04X}"
    return _UNREAD.findall(Path("/proc/net/tcp").read_text()).count(port)


@contextmanager
def suspended(service: Service) -> Iterator[None]:
    """Suspend the service process; it resumes at the end of the block, with all that was sent meanwhile."""
    service.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.process.send_signal(signal.SIGCONT)


def listens(url: str) -> bool:
    """Return whether the service at the URL accepts new connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def waiting_for_locks(url: str) -> int:
    """Return the number of statements that wait for a lock in the database at the URL.

    The connection is new because a transaction shows the activity as of its begin.
    """
    query = (
        "select count(*) from pg_stat_activity "
        "where wait_event_type = 'Lock' and datname = current_database()"
    )
    with psycopg.connect(url, autocommit=True) as database:
        (count,) = database.execute(query).fetchone() or (0,)
        return int(count)
