"""What a service holds, to see that nothing is left of what was done to it."""

import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from attrs import astuple, frozen

from tests.service import Service

# On its path a service tells how many tasks it has.
INSIDE = str(Path(__file__).parent)


@frozen
class Held:
    """What a service has open for its clients or under way; its connections to the stores come and go."""

    connections: int
    files: int
    tasks: int

    @classmethod
    def by(cls, service: Service) -> "Held":
        """Count it now, with the one connection of the test's own client."""
        service.client.get("/health")
        process, port = psutil.Process(service.process.pid), urlsplit(service.url).port
        sockets = process.net_connections("all")
        clients = [one for one in sockets if one.family != socket.AF_UNIX and one.laddr.port == port]
        return cls(len(clients), process.num_fds() - len(sockets), _tasks(service))

    def excess(self, service: Service) -> list[tuple[int, int]]:
        """Wait until the service holds no more than this; return where it does so even after 5 s."""
        # What waits for a body in vain ends after 10 s by itself.
        waited(lambda: not self._excess(service), 5)
        return self._excess(service)

    def _excess(self, service: Service) -> list[tuple[int, int]]:
        pairs = zip(astuple(self), astuple(Held.by(service)), strict=True)
        return [(before, now) for before, now in pairs if now > before]


def _tasks(service: Service) -> int:
    """Return how many tasks the service has, as it tells itself."""
    before = service.log.read_text().count("tasks: ")
    service.process.send_signal(signal.SIGUSR2)
    assert waited(lambda: service.log.read_text().count("tasks: ") > before, 5)
    return int(re.findall(r"tasks: (\d+)", service.log.read_text())[-1])


def waited(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for the condition; tell whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()
