"""Clients that are slow, greedy, or gone in the middle."""

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
from tests.support.raw_http import Asked, connected, exchange
from tests.support.waiting import LIMIT

BODY = b" " * 2_000_000
BEGUN = "begun"

_CHUNKS = b"%x\r\n%s\r\n" % (50_000, BODY[:50_000]) * 40 + b"0\r\n\r\n"
_BUNDLE = b"/docs/swagger-ui-bundle.js"
_BODY = POST + b"content-length: 1000\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)


@frozen
class Ended:
    """How one slow client came to its end: what it was told, and after how many seconds."""

    number: int
    way: str
    told: bytes
    seconds: float


@define
class Attack:
    """Slow clients: `events` has BEGUN once all are there, then the end of each, in their order.

    Others may add their own events meanwhile.
    """

    urls: list[str]
    events: list[object] = field(factory=list)
    _begun: int = 0

    async def run(self) -> None:
        """Be slow in three ways, a hundred times each, until the connections have ended."""
        ways: dict[str, Callable[[str], Awaitable[bytes]]] = {
            "head": partial(self._trickle, GET),
            "body": partial(self._trickle, _BODY),
            "reader": self._take_nothing,
        }
        clients = [
            self._follow(number, way, be_slow(url))
            for number, url in enumerate(self.urls * 100)
            for way, be_slow in ways.items()
        ]
        async with asyncio.timeout(5 * LIMIT):
            await asyncio.gather(*clients)

    async def _follow(self, number: int, way: str, client: Awaitable[bytes]) -> None:
        begun = monotonic()
        told = await client
        self.events.append(Ended(number, way, told, monotonic() - begun))

    def _begin(self) -> None:
        self._begun += 1
        if self._begun == len(self.urls) * 300:
            self.events.append(BEGUN)

    async def _trickle(self, start: bytes, url: str) -> bytes:
        """Send a start, then a byte twice a second until the connection ends."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        told = asyncio.create_task(_read(reader))
        writer.write(start)
        self._begin()
        while not (await asyncio.wait({told}, timeout=0.5))[0]:
            writer.write(b"x")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return await told

    async def _take_nothing(self, url: str) -> bytes:
        """Ask for much, and take none of it until the connection is reset."""
        loop, parts = asyncio.get_running_loop(), urlsplit(url)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0)
            await loop.sock_connect(connection, (parts.hostname, parts.port))
            await loop.sock_sendall(connection, (GET.replace(b"/health", _BUNDLE) + b"\r\n") * 4)
            self._begin()
            while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # noqa: ASYNC110 - no event
                # Hundreds look: more often they would take the processor from the service.
                await asyncio.sleep(0.5)
        return b""


async def _read(reader: asyncio.StreamReader) -> bytes:
    told = b""
    with suppress(ConnectionError):
        while more := await reader.read(65536):
            told += more
    return told


def send_large(url: str, target: Asked, *, chunked: bool) -> int:
    """Send 2 MB; return the status of the reply."""
    method, path = target
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode()
    if chunked:
        sent = head + b"transfer-encoding: chunked\r\n\r\n" + _CHUNKS
    else:
        sent = head + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    (reply,) = exchange(url, sent, asked=(target,))
    return reply.status_code


def break_off(url: str, number: int) -> None:
    """Send less than was announced, then end the connection, or reset it."""
    with connected(url) as connection:
        connection.sendall(POST + b"content-length: 3000000\r\n\r\n" + BODY)
        if number % 2:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(65536) == b""
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
