"""What a service holds, to see that nothing is left of what was done to it."""

import socket
from urllib.parse import urlsplit

import psutil
from attrs import astuple, frozen

from tests.support.inspection import tasks
from tests.support.service import Service
from tests.support.waiting import eventually


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
        return cls(len(clients), process.num_fds() - len(sockets), tasks(service)[0])

    def await_no_more(self, service: Service) -> None:
        """Wait until the service holds no more than this."""
        eventually(lambda: not self._excess(service), lambda: self._excess(service))

    def _excess(self, service: Service) -> list[tuple[int, int]]:
        pairs = zip(astuple(self), astuple(Held.by(service)), strict=True)
        return [(before, now) for before, now in pairs if now > before]
