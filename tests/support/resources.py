"""Counts the resources of a service, to find leaks."""

import socket
from urllib.parse import urlsplit

import psutil
from attrs import astuple, frozen

from tests.support.inspection import tasks
from tests.support.service import Service
from tests.support.waiting import eventually


@frozen
class Resources:
    """Client connections, open files and tasks of a service, without its connections to the stores."""

    connections: int
    files: int
    tasks: int

    @classmethod
    def of(cls, service: Service) -> "Resources":
        """Count them now, including the one connection of `service.client`."""
        service.client.get("/health")
        process, port = psutil.Process(service.process.pid), urlsplit(service.url).port
        sockets = process.net_connections("all")
        clients = [one for one in sockets if one.family != socket.AF_UNIX and one.laddr.port == port]
        return cls(len(clients), process.num_fds() - len(sockets), tasks(service)[0])

    def await_released(self, service: Service) -> None:
        """Wait until the service has no more than these resources."""
        eventually(lambda: not self._excess(service), lambda: self._excess(service))

    def _excess(self, service: Service) -> list[tuple[int, int]]:
        pairs = zip(astuple(self), astuple(Resources.of(service)), strict=True)
        return [(before, now) for before, now in pairs if now > before]
