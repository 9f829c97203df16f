"""Clients that are slow, greedy, or gone in the middle."""

import asyncio
import socket
import struct
from collections.abc import Awaitable
from contextlib import suppress
from time import monotonic
from urllib.parse import urlsplit

from attrs import frozen

from tests.faults.corpus import GET, POST
from tests.wire import Asked, connected, exchange

BODY = b" " * 2_000_000

_CHUNKS = b"%x\r\n%s\r\n" % (50_000, BODY[:50_000]) * 40 + b"0\r\n\r\n"
_BUNDLE = b"/docs/swagger-ui-bundle.js"
_RESET = struct.pack("ii", 1, 0)


@frozen
class Ended:
    """How an attack came to its end: what was told, and after how many seconds."""

    way: str
    told: bytes
    seconds: float


async def attack(urls: list[str]) -> list[Ended]:
    """Be slow in three ways, a hundred times each, until the connections have ended."""
    body = POST + b"content-length: 1000\r\n\r\n"
    attacks = [
        attack
        for url in urls * 100
        for attack in (
            _timed("head", _trickle(url, GET)),
            _timed("body", _trickle(url, body)),
            _timed("reader", _take_nothing(url)),
        )
    ]
    async with asyncio.timeout(25):
        return await asyncio.gather(*attacks)


async def _timed(way: str, attack: Awaitable[bytes]) -> Ended:
    begun = monotonic()
    told = await attack
    return Ended(way, told, monotonic() - begun)


async def _trickle(url: str, start: bytes) -> bytes:
    """Send a start, then a byte twice a second until the connection ends."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    told = asyncio.create_task(_read(reader))
    writer.write(start)
    while not (await asyncio.wait({told}, timeout=0.5))[0]:
        writer.write(b"x")
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return await told


async def _read(reader: asyncio.StreamReader) -> bytes:
    told = b""
    with suppress(ConnectionError):
        while more := await reader.read(65536):
            told += more
    return told


async def _take_nothing(url: str) -> bytes:
    """Ask for much, and take none of it until the connection is reset."""
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0)
        await loop.sock_connect(connection, (parts.hostname, parts.port))
        await loop.sock_sendall(connection, (GET.replace(b"/health", _BUNDLE) + b"\r\n") * 4)
        while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # noqa: ASYNC110 - only asked, it tells
            await asyncio.sleep(0.2)
    return b""


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
