"""Limits and timeouts of a connection, and early error responses, the same on both servers.

Timeouts disconnect a client that sends its headers slowly (slowloris) or reads its responses slowly.
"""

import asyncio
import fcntl
import re
import resource
import socket
import struct
import sys
import termios
from collections.abc import Callable, Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Protocol

from attrs import frozen
from starlette.types import Receive, Scope, Send

from session_service.api.responses import Headers, Response

MAX_HEADER_BYTES = 16 * 1024  # bytes of a request line and its headers, with the empty line
MAX_HEADERS = 100  # header lines of a request
READ_HEADER_TIMEOUT = 5.0  # seconds for a request's headers, and for the first request to begin
# Graceful shutdown: ticks, and seconds between them, in which idle connections may still send a request. A
# late tick of a stalled event loop counts once: a request of a new connection may not be read yet.
DRAIN_TICKS = 5
DRAIN_TICK = 0.1
# Seconds of reading on after an early error response: closing at once would send RST, which can make the
# client drop the response unread (RFC 9112, 9.6).
LINGERING_TIMEOUT = 2.0
CLOSE = (b"connection", b"close")

_WRITE_TIMEOUT = 10  # seconds without progress; WriteTimeout checks once per second
_MIN_PROGRESS = 4096  # bytes in that time that count as progress
_RESERVED_FILES = 150  # files beside client connections: up to 101 to PostgreSQL, those to Redis, the log
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with timeout 0: close with RST, drop unsent data
_MAX_FILES = 65_536  # upper bound of the open files, where the system allows more
# Scheme and authority of a request target in absolute-form: a host, no user information (RFC 9110, 4.2.1 and
# 4.2.4).
_ABSOLUTE = re.compile(
    rb"https?://((?:[\w.~!$&'()*+,;=%-]+|\[[\da-f:.]+\])(?::\d*)?)(?=[/?]|\Z)", re.IGNORECASE
)


class ServedApplication(Protocol):
    """An ASGI application that also makes early error responses and takes part in graceful shutdown."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def reject(self, status: int) -> tuple[Response, str]:
        """Return the early error response with this status, and its request id in the access log."""

    def begin_shutdown(self) -> None:
        """Begin graceful shutdown: readiness fails from now on."""


@frozen
class ServeOptions:
    """Options of a server.

    Serves at most `max_connections` until `wait_for_shutdown` returns. Before returning, it calls its
    argument to start adding `Connection: close` to responses. Idle connections then have half a second for
    one last request, and in-flight requests have `graceful_timeout` seconds. `keep_alive` is the idle timeout
    between two requests, in seconds.
    """

    listener: socket.socket
    backlog: int
    max_connections: int
    graceful_timeout: float
    keep_alive: int
    wait_for_shutdown: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


def origin_form(target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return a target in absolute-form as origin-form, and the headers with its authority as Host.

    Source: RFC 9112, 3.2.2. Targets in other forms or with other schemes are returned unchanged.
    """
    match = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if match is None:
        return target, headers
    rest = target[match.end() :]
    others = [header for header in headers if header[0] != b"host"]
    return rest if rest.startswith(b"/") else b"/" + rest, [(b"host", match[1]), *others]


def early_error_response(app: ServedApplication, status: int, headers: Headers) -> bytes:
    """Return an encoded error response that ends its connection; `headers` are the server's own."""
    response, request_id = app.reject(status)
    kept = [header for header in [*headers, *response.encoded_headers(request_id)] if header != CLOSE]
    status_line = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
    lines = [b"%s: %s\r\n" % header for header in [*kept, CLOSE]]
    return b"".join([status_line, *lines, b"\r\n", response.body or b""])


def max_connections() -> int:
    """Raise the limit of open files to its maximum; return the number left for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if 0 <= soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit - _RESERVED_FILES


def reset(transport: asyncio.WriteTransport) -> None:
    """Close the connection with RST and drop unsent data: the client sees that its response is not whole.

    Without RST the kernel would keep the unsent data for minutes, and a body that only the end of the
    connection delimits, as in HTTP/1.0, would look complete.
    """
    # If the connection is lost already, there is no socket, or one without a file: ValueError.
    with suppress(OSError, ValueError):
        if client := transport.get_extra_info("socket"):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _unsent_bytes(transport: asyncio.WriteTransport) -> int:
    """Return the bytes that the peer has not acknowledged: those in the transport, and in the kernel.

    The kernel takes megabytes for a peer that reads slowly, and more only when a third of them is gone.
    """
    queued = bytes(4)
    # ValueError: the connection is lost, and its socket has no file any more.
    with suppress(OSError, ValueError):
        if client := transport.get_extra_info("socket"):
            queued = fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, queued)
    return transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


class WriteTimeout:
    """Write timeout: aborts a connection whose peer has read nothing, or hardly anything, for 10 s."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._unsent = 0
        self._stalled_ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start checking for progress, once per second."""
        if self._timer is None:
            self._unsent = _unsent_bytes(self._transport)
            self._stalled_ticks = 0
            self._schedule()

    def end(self) -> None:
        """Stop checking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(1, self._tick)

    def _tick(self) -> None:
        unsent = _unsent_bytes(self._transport)
        if self._unsent - unsent >= _MIN_PROGRESS:
            self._unsent = unsent
            self._stalled_ticks = 0
        else:
            self._stalled_ticks += 1
        if self._stalled_ticks < _WRITE_TIMEOUT:
            self._schedule()
            return
        reset(self._transport)
