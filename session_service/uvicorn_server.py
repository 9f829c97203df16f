"""uvicorn with the bounds on a request's head that httptools lacks, and an end that drops no client."""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import unquote

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_LIMIT = 64 * 1024  # bytes
HEAD_SECONDS = 5.0

Last = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]

_CLOSE = (b"connection", b"close")

_log = logging.getLogger(__name__)


async def serve(app: ASGIApp, listener: socket.socket, last: Last, backlog: int, grace: int) -> bool:
    """Serve until `last` returns and what is under way has ended; tell whether the application started."""
    # How the start went, the application tells in a line; and what it is asked.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=backlog,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=grace,
    )
    try:
        await _Server(config, last).serve([listener])
    except SystemExit:
        return False
    return True


class _Server(Server):
    """A server that leaves the signals to others, and lets its connections end by their replies."""

    def __init__(self, config: Config, last: Last) -> None:
        super().__init__(config)
        self._last = last

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            _log.info(
                "Running on http://%s:%d (CTRL + C to quit)", f"[{host}]" if ":" in host else host, port
            )

    async def main_loop(self) -> None:
        serving = asyncio.create_task(self._serve_out())
        await super().main_loop()
        await serving

    async def _serve_out(self) -> None:
        await self._last(self._close_by_reply)
        self.should_exit = True

    def _close_by_reply(self) -> None:
        self.config.encoded_headers = [_CLOSE]
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in self.server_state.connections:
            if isinstance(connection, Protocol) and connection.cycle:
                connection.cycle.keep_alive = False


class Protocol(HttpToolsProtocol):
    """A connection on which a head is bounded in size and time, and a target is taken as Hypercorn takes it.

    A head that comes whole in one read starts no timer and is not measured, unless that read was large.
    """

    _in_head = False
    _measured = False
    _more = 0  # bytes of the present head, without the read in which it began
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._clear_deadline()

    def data_received(self, data: bytes) -> None:
        begun = self._in_head
        self._measured = begun or len(data) > HEAD_LIMIT
        super().data_received(data)
        if self._in_head or self.cycle is None or self.cycle.response_complete:
            self._more = self._more + len(data) if begun else 0
            if self._more > HEAD_LIMIT:
                self._refuse(431)
            elif self._deadline is None:
                self._set_deadline()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._clear_deadline()
        if self._measured and self._head_size() > HEAD_LIMIT:
            self._refuse(431)
            raise ValueError
        if not self.parser.get_http_version().startswith("1."):
            raise ValueError
        target = self.url
        target.decode("ascii")
        # httptools' own reading of a URL takes //x for a host and refuses what the application can answer.
        self.url = b"/"
        super().on_headers_complete()
        path, _, query = target.partition(b"?")
        self.scope["path"] = unquote(path.decode())
        self.scope["raw_path"] = path
        self.scope["query_string"] = query

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - a bare reply is the same from both servers
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            headers = [*self.server_state.default_headers, (b"content-length", b"0"), _CLOSE]
            lines = [b"%s: %s\r\n" % header for header in headers]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n"]))
            self.transport.close()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _set_deadline(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._cut_off)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut_off(self) -> None:
        # The head may be that of a request which waits for the reply to the one before it.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self._set_deadline()
