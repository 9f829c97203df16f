"""Slow clients (slowloris), clients with large bodies, and clients that disconnect in a request."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from urllib.parse import urlsplit

from attrs import define, field, frozen

from tests.support.corpus import GET, POST
from tests.support.raw_http import Target, connected, exchange
from tests.support.waiting import LIMIT

BODY = b" " * 2_000_000
ALL_CONNECTED = "all connected"

_CHUNKS = b"%x\r\n%s\r\n" % (50_000, BODY[:50_000]) * 40 + b"0\r\n\r\n"
_BUNDLE = b"/docs/swagger-ui-bundle.js"
_BODY = POST + b"content-length: 1000\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)


@frozen
class ClosedConnection:
    """The end of a slow client's connection: the bytes that it received, and its duration."""

    number: int
    kind: str
    received: bytes
    seconds: float


@define
class SlowlorisAttack:
    """Slow clients: `events` has ALL_CONNECTED, then a ClosedConnection for each, in order.

    A test may add its own events.
    """

    urls: list[str]
    events: list[object] = field(factory=list)
    _connected: int = 0

    async def run(self) -> None:
        """Run a hundred clients of each kind until their connections have ended."""
        kinds: dict[str, Callable[[str], Awaitable[bytes]]] = {
            "head": partial(self._trickle, GET),
            "body": partial(self._trickle, _BODY),
            "reader": self._read_nothing,
        }
        clients = [
            self._follow(number, kind, connect(url))
            for number, url in enumerate(self.urls * 100)
            for kind, connect in kinds.items()
        ]
        async with asyncio.timeout(5 * LIMIT):
            await asyncio.gather(*clients)

    async def _follow(self, number: int, kind: str, client: Awaitable[bytes]) -> None:
        begun = monotonic()
        received = await client
        self.events.append(ClosedConnection(number, kind, received, monotonic() - begun))

    def _count_connected(self) -> None:
        self._connected += 1
        if self._connected == len(self.urls) * 300:
            self.events.append(ALL_CONNECTED)

    async def _trickle(self, start: bytes, url: str) -> bytes:
        """Send the start of a request, then a byte twice a second until the connection ends."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        received = asyncio.create_task(_read(reader))
        writer.write(start)
        self._count_connected()
        while not (await asyncio.wait({received}, timeout=0.5))[0]:
            writer.write(b"x")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return await received

    async def _read_nothing(self, url: str) -> bytes:
        """Request large files and read nothing until the connection is reset."""
        loop, parts = asyncio.get_running_loop(), urlsplit(url)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0)
            await loop.sock_connect(connection, (parts.hostname, parts.port))
            await loop.sock_sendall(connection, (GET.replace(b"/health", _BUNDLE) + b"\r\n") * 4)
            self._count_connected()
            while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # noqa: ASYNC110 - no event
                # There are hundreds of these tasks: polling more often would slow down the service.
                await asyncio.sleep(0.5)
        return b""


async def _read(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while more := await reader.read(65536):
            received += more
    return received


def send_large(url: str, target: Target, *, chunked: bool) -> int:
    """Send 2 MB; return the status of the response."""
    method, path = target
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode()
    if chunked:
        sent = head + b"transfer-encoding: chunked\r\n\r\n" + _CHUNKS
    else:
        sent = head + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    (response,) = exchange(url, sent, targets=(target,))
    return response.status_code


def abort_upload(url: str, number: int) -> None:
    """Send less than the announced body, then close the connection, or reset it."""
    with connected(url) as connection:
        connection.sendall(POST + b"content-length: 3000000\r\n\r\n" + BODY)
        if number % 2:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(65536) == b""
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
