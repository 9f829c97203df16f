"""Raw HTTP: sends bytes to a service, and parses and validates the responses."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx

from tests.support import conformance
from tests.support.inspection import unread
from tests.support.waiting import LIMIT, eventually

Target = tuple[str, str]
"""Method and path of a request."""

# For responses to bytes that are no request: every operation declares these errors.
ANY_TARGET: Target = ("POST", "/api/sessions/start")
HEALTH: Target = ("GET", "/health")


@contextmanager
def connected(url: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Connect to the service at the URL, from a source address."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 0)
    with socket.create_connection(address, timeout=LIMIT, source_address=(source, 0)) as connection:
        yield connection


def exchange(url: str, *pieces: bytes, targets: tuple[Target, ...] = (ANY_TARGET,)) -> list[httpx.Response]:
    """Send the pieces, each once the previous one is read; return all responses until the connection ends."""
    received = b""
    with connected(url) as connection, suppress(ConnectionError):
        for number, piece in enumerate(pieces):
            if number:
                eventually(lambda: unread(url) == 0)
            connection.sendall(piece)
        while more := connection.recv(65536):
            received += more
    return parse_responses(received, *targets)


def parse_responses(received: bytes, *targets: Target) -> list[httpx.Response]:
    """Return the responses in the bytes; the last target is also the target of all later ones."""
    found: list[httpx.Response] = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        status = int(first.split()[1])
        if status == 100:
            # An interim response (RFC 9110, 15.2): the final response follows.
            received = rest
            continue
        method, path = targets[min(len(found), len(targets) - 1)]
        length = 0 if method == "HEAD" else int(dict(headers).get("content-length", "0"))
        request = httpx.Request(method, f"http://service{path}")
        found.append(httpx.Response(status, headers=headers, content=rest[:length], request=request))
        conformance.check(found[-1])
        received = rest[length:]
    return found
