"""Looks into a running service: where its tasks wait, and what it has not read yet."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.service import Service
from tests.waiting import eventually

# Where Python finds the part of this that runs in the service (tests/faults/sitecustomize.py).
INSIDE = str(Path(__file__).parent / "faults")
QUEUED = "Lane._wait"

_UNREAD = re.compile(r"^ *\d+: \w+:(\w{4}) \w+:\w+ (?:01|08) \w+:(?!0{8})\w+ ", re.MULTILINE)
_REPORT = re.compile(r"^tasks: (\d+) (\{.*\})$", re.MULTILINE)


def tasks(service: Service) -> tuple[int, dict[str, int]]:
    """Return how many tasks the service has, and in which of its functions how many of them are.

    The service has to have `INSIDE` on its PYTHONPATH.
    """
    before = len(_reports(service))
    service.process.send_signal(signal.SIGUSR2)
    count, places = eventually(lambda: _reports(service)[before:], service.log.read_text)[-1]
    return int(count), json.loads(places)


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


def _reports(service: Service) -> list[tuple[str, str]]:
    return _REPORT.findall(service.log.read_text())
