"""A connection on Hypercorn: HTTP/1.1 only, with timeouts against slow clients (slowloris)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import h11
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ConnectionState, H11SendableEvent

from session_service.server.connections import (
    CLOSE,
    LINGERING_TIMEOUT,
    READ_HEADER_TIMEOUT,
    WriteTimeout,
    origin_form,
    reset,
)
from session_service.server.hypercorn.strict_h11 import H11Connection
from session_service.server.hypercorn.task_group import TaskGroup

READ_BYTES = 64 * 1024  # maximum bytes of one read
MAX_UNSENT_BYTES = 64 * 1024  # bytes of unsent responses before writing waits (back pressure)


class Connection:
    """Reads from and writes to one client, with timeouts for headers, keep-alive, writing and lingering."""

    def __init__(
        self, task_group: TaskGroup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._task_group = task_group
        self._reader = reader
        self._writer = writer
        self._transport = writer.transport
        self._write_timeout = WriteTimeout(writer.transport)
        self._protocol = _Protocol(self, task_group, writer.get_extra_info("peername"))
        self._loop = asyncio.get_running_loop()
        self.accepts_requests = True
        self._in_headers = False
        self._timer = self._loop.call_later(READ_HEADER_TIMEOUT, self._time_out_headers)

    async def run(self) -> None:
        """Serve requests until the connection has ended."""
        try:
            with suppress(OSError):
                await self._read()
            await self._end()
            with suppress(OSError):
                await self._writer.wait_closed()
            # A response that is still being sent ends, too.
            await self._protocol.handle(Closed())
        finally:
            self.abort()
            self._write_timeout.end()

    async def send(self, event: Event) -> None:
        """Carry out an event of the protocol: write, close, or restart the keep-alive timer."""
        if isinstance(event, RawData):
            await self.write(event.data)
        elif not isinstance(event, Updated):
            self.close(linger=self._protocol.expects_body)
        elif not event.idle:
            self._timer.cancel()
        elif self.accepts_requests:
            self._in_headers = False
            self._start_timer(self._task_group.settings.keep_alive_timeout, self.close)
        else:
            self.close()

    async def write(self, *pieces: bytes) -> None:
        """Write the pieces as one, then wait while the client reads too slowly (back pressure)."""
        # The client may have disconnected.
        with suppress(ConnectionError, RuntimeError):
            self._transport.writelines(pieces)
            if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self._write_timeout.begin()
                await self._writer.drain()
                if not self._transport.is_closing():
                    self._write_timeout.end()

    def begin_headers(self) -> None:
        """Start the header timeout at the first byte of a request."""
        if not self._in_headers:
            self._in_headers = True
            self._start_timer(READ_HEADER_TIMEOUT, self._time_out_headers)

    def reject(self, status: int) -> None:
        """Send an early error response and end the connection."""
        if not self._transport.is_closing():
            self._writer.write(self._task_group.early_error_response(status))
            self.close(linger=True)

    def close(self, *, linger: bool = False) -> None:
        """Close the connection; with `linger`, after `LINGERING_TIMEOUT` of reading on."""
        self._timer.cancel()
        if self._transport.is_closing():
            return
        self._write_timeout.begin()
        if linger and self.accepts_requests:
            self._writer.write_eof()
            self._start_timer(LINGERING_TIMEOUT, self.close)
        else:
            self._writer.close()
        self.accepts_requests = False

    def close_idle(self) -> None:
        """Close the connection if no request is in flight on it."""
        if self._protocol.stream is None:
            self.close()

    def abort(self) -> None:
        """Close the connection at once and drop unsent data; reset it in a response of unknown length."""
        self._timer.cancel()
        if self._protocol.is_streaming:
            reset(self._transport)
        else:
            self._transport.abort()

    async def _read(self) -> None:
        while data := await self._reader.read(READ_BYTES):
            if self.accepts_requests:
                await self._protocol.handle(RawData(data))

    async def _end(self) -> None:
        self.accepts_requests = False
        if not self._protocol.owes_response:
            await self._protocol.handle(Closed())
            self.close()

    def _time_out_headers(self) -> None:
        if self._in_headers:
            self.reject(408)
        else:
            self.close()

    def _start_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback)


class _Protocol(H11Protocol):
    """HTTP/1.1 without upgrades; bytes that are no request get an early error response."""

    connection: H11Connection

    def __init__(self, client: Connection, task_group: TaskGroup, address: tuple[str, int] | None) -> None:
        app, group = cast("Any", task_group.app), cast("Any", task_group)
        state, send = ConnectionState({}), client.send
        super().__init__(
            app,
            task_group.settings,
            task_group.context,
            group,
            state,
            ssl=False,
            client=address,
            server=None,
            send=send,
        )
        self.connection = H11Connection()
        self._connection = client
        self._encoded_headers = b""
        self._has_no_length = False

    @property
    def expects_body(self) -> bool:
        """Whether a part of the current request has not arrived."""
        return self.connection.their_state is h11.SEND_BODY

    @property
    def owes_response(self) -> bool:
        """Whether a complete request has no complete response yet."""
        return self.stream is not None and not self.expects_body

    @property
    def is_streaming(self) -> bool:
        """Whether the client has a part of a response, and does not know how long that is."""
        return self._has_no_length and self.connection.our_state is h11.SEND_BODY

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed) and self.is_streaming:
            self._connection.abort()
        if not isinstance(event, Response):
            await super().stream_send(event)
            return
        self._has_no_length = all(name != b"content-length" for name, _ in event.headers)
        headers = [*event.headers, *self.config.response_headers("h11")]
        if self.keep_alive_requests >= self.config.keep_alive_max_requests:
            headers.append(CLOSE)
        # With _parsed, h11 does not validate each name and value again: see `Response.encoded_headers`.
        response = h11.Response(
            headers=headers, status_code=event.status_code, http_version=b"1.1", reason=b"", _parsed=True
        )
        await self._send_h11_event(response)

    async def _handle_events(self) -> None:
        while self._connection.accepts_requests and self.connection.their_state is not h11.MUST_CLOSE:
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._reject(error.error_status_hint)
                return
            if event is h11.NEED_DATA:
                if self.stream is None and self.connection.has_more:
                    self._connection.begin_headers()
                return
            await self._handle_event(event)

    async def _handle_event(self, event: h11.Event | type[h11.NEED_DATA | h11.PAUSED]) -> None:
        if isinstance(event, h11.Request):
            await self._create_stream(event)
        elif event is h11.PAUSED:
            await self.can_read.clear()
            await self.can_read.wait()
        elif self.stream is None:
            # The response was sent before the rest of the request arrived.
            return
        elif isinstance(event, h11.Data):
            await self.stream.handle(Body(STREAM_ID, event.data))
        else:
            await self.stream.handle(EndBody(STREAM_ID))

    async def _create_stream(self, request: h11.Request) -> None:
        await self.send(Updated(idle=False))
        self.keep_alive_requests += 1
        if request.method == b"CONNECT":
            # The bytes that follow are meant for the tunnel, not for this service: they are no request.
            self.keep_alive_requests = self.config.keep_alive_max_requests
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        target, headers = origin_form(request.target, list(request.headers))
        version, method = request.http_version.decode(), request.method.decode()
        await self.stream.handle(Request(STREAM_ID, headers, version, method, target, self.connection_state))
        if self.connection.they_are_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        data = self.connection.send(event)
        if isinstance(event, h11.Response):
            # Written together with the body: a second write would double the cost.
            self._encoded_headers = data
        elif self._encoded_headers or data:
            headers, self._encoded_headers = self._encoded_headers, b""
            await self._connection.write(headers, data)

    async def _reject(self, status: int) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._connection.reject(431 if status == 431 else 400)
        else:
            self._connection.close()
        await self.handle(Closed())
