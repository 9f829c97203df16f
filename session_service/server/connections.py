"""What holds for every connection, whichever server has it: its bounds, and how a client is refused."""

import asyncio
import re
import resource
import socket
import struct
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Protocol

from attrs import frozen
from starlette.types import Receive, Scope, Send

from session_service.api.responses import Headers, Response

MAX_HEADER_BYTES = 16 * 1024  # bytes of a head, from the request line to the empty line
MAX_HEADERS = 100  # header lines in it
READ_HEADER_TIMEOUT = 5.0  # for a head to arrive, and for the first one of a connection to begin
DRAIN_TIMEOUT = 0.5  # in which a connection that looks idle at the end may have a request on its way
LINGERING_TIMEOUT = (
    2.0  # in which a refused client can read why, before what it still sends ends the connection
)
CLOSE = (b"connection", b"close")

_WRITE_TIMEOUT = 10  # that a client may take nothing of what is sent to it
_RESERVED_FILES = 150  # that are no clients' connections: up to 101 to PostgreSQL, those to Redis, the log
_RESET = struct.pack("ii", 1, 0)  # how long a closed socket lingers: it does, for no time
_MAX_FILES = 65_536  # whatever more the system allows
# A request target in absolute-form, up to the end of its authority, which has a host and no user information
# (RFC 9110, 4.2.1 and 4.2.4).
_ABSOLUTE = re.compile(
    rb"https?://((?:[\w.~!$&'()*+,;=%-]+|\[[\da-f:.]+\])(?::\d*)?)(?=[/?]|\Z)", re.IGNORECASE
)


class Application(Protocol):
    """What a server serves: an ASGI application with a word on what never becomes a request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def reject(self, status: int) -> tuple[Response, str]:
        """Return the reply to what is no request, or one too many, with the id that it is logged under."""

    def drain(self) -> None:
        """Tell those who ask, from now on, that no more requests are wanted."""


@frozen
class ServeOptions:
    """What is asked of a server.

    It serves on `listener`, at most `room` connections at once, until `last` returns, which calls what it is
    given when each reply has to end its connection. Those that are idle have `DRAIN_TIMEOUT` for one more,
    and what then is under way has `grace` seconds. Until then a connection is closed after `keep_alive`
    seconds between a reply and the next request.
    """

    listener: socket.socket
    backlog: int
    max_connections: int
    graceful_timeout: float
    keep_alive: int
    wait_for_shutdown: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


def origin_form(target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return a target in absolute-form as origin-form, and the headers with its authority as Host.

    RFC 9112, 3.2.2. A target in another form, or of another scheme, is returned as it is.
    """
    found = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if found is None:
        return target, headers
    rest = target[found.end() :]
    others = [header for header in headers if header[0] != b"host"]
    return rest if rest.startswith(b"/") else b"/" + rest, [(b"host", found[1]), *others]


def early_error_response(app: Application, status: int, headers: Headers) -> bytes:
    """Return what a refused client is told, with the server's own headers, as it goes over the connection."""
    response, request_id = app.reject(status)
    every = [header for header in [*headers, *response.encoded_headers(request_id)] if header != CLOSE]
    first = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
    lines = [b"%s: %s\r\n" % header for header in [*every, CLOSE]]
    return b"".join([first, *lines, b"\r\n", response.body or b""])


def max_connections() -> int:
    """Raise the limit of open files as far as the system lets it; return how many may be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if 0 <= soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit - _RESERVED_FILES


class WriteTimeout:
    """An eye on a client that has to take what is sent to it: one that takes nothing for 10 s is cut off."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._left = 0
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Look every second from now on."""
        if self._timer is None:
            self._left = self._transport.get_write_buffer_size()
            self._looks = 0
            self._look_later()

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(1, self._look)

    def _look(self) -> None:
        left = self._transport.get_write_buffer_size()
        self._looks = self._looks + 1 if left == self._left else 0
        self._left = left
        if self._looks < _WRITE_TIMEOUT:
            self._look_later()
            return
        # Without this the system would keep, for minutes, what it was to send.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
