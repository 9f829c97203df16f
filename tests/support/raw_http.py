"""A connection as it is: bytes to a service and bytes back, each reply held against the contract."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx

from tests.support import conformance
from tests.support.inspection import unread
from tests.support.waiting import LIMIT, eventually

Asked = tuple[str, str]
"""The method and the path that a reply is for."""

# What is refused before it is a request has none: every operation declares these refusals, and this is one.
REFUSED: Asked = ("POST", "/api/sessions/start")
HEALTH: Asked = ("GET", "/health")


@contextmanager
def connected(url: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Connect to the service at the URL, from an address of this machine."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 0)
    with socket.create_connection(address, timeout=LIMIT, source_address=(source, 0)) as connection:
        yield connection


def exchange(url: str, *pieces: bytes, asked: tuple[Asked, ...] = (REFUSED,)) -> list[httpx.Response]:
    """Send the pieces, one after the other; return the replies that come until the connection ends."""
    told = b""
    with connected(url) as connection, suppress(ConnectionError):
        for number, piece in enumerate(pieces):
            if number:
                eventually(lambda: unread(url) == 0)
            connection.sendall(piece)
        while more := connection.recv(65536):
            told += more
    return replies(told, *asked)


def replies(told: bytes, *asked: Asked) -> list[httpx.Response]:
    """Return the replies that were told; the last of what was asked stands for all after it, too."""
    found: list[httpx.Response] = []
    while told:
        head, _, rest = told.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        status = int(first.split()[1])
        if status == 100:
            # An interim response (RFC 9110, 15.2): the reply follows it.
            told = rest
            continue
        method, path = asked[min(len(found), len(asked) - 1)]
        length = 0 if method == "HEAD" else int(dict(headers).get("content-length", "0"))
        request = httpx.Request(method, f"http://service{path}")
        found.append(httpx.Response(status, headers=headers, content=rest[:length], request=request))
        conformance.check(found[-1])
        told = rest[length:]
    return found
