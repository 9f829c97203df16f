"""A connection on Hypercorn: HTTP/1.1 and nothing else, and no client that is waited for without end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import h11
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ConnectionState, H11SendableEvent

from session_service.server.connections import (
    LINGERING_TIMEOUT,
    READ_HEADER_TIMEOUT,
    WriteTimeout,
    origin_form,
)
from session_service.server.hypercorn.strict_h11 import H11Connection
from session_service.server.hypercorn.task_group import TaskGroup

READ_BYTES = 64 * 1024  # bytes that are read at once
MAX_UNSENT_BYTES = 64 * 1024  # bytes that may wait for the client while more is written


class Connection:
    """The other end of a connection: what comes from it and goes to it, and how long that may take."""

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
        self.is_heard = True
        self._in_head = False
        self._timer = self._loop.call_later(READ_HEADER_TIMEOUT, self._cut_off_head)

    async def run(self) -> None:
        """Serve the client until the connection has ended."""
        try:
            with suppress(OSError):
                await self._read()
            await self._end()
            with suppress(OSError):
                await self._writer.wait_closed()
        finally:
            self.abort()
            self._write_timeout.end()

    async def send(self, event: Event) -> None:
        """Do what the protocol has decided."""
        if isinstance(event, RawData):
            await self.write(event.data)
        elif not isinstance(event, Updated):
            self.close(linger=self._protocol.is_reading)
        elif not event.idle:
            self._timer.cancel()
        elif self.is_heard:
            self._in_head = False
            self._wait(self._task_group.settings.keep_alive_timeout, self.close)
        else:
            self.close()

    async def write(self, *pieces: bytes) -> None:
        """Send the pieces in one, and wait while the client has not taken enough of what came before."""
        # What is for a client that is gone goes nowhere.
        with suppress(ConnectionError, RuntimeError):
            self._transport.writelines(pieces)
            if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self._write_timeout.begin()
                await self._writer.drain()
                if not self._transport.is_closing():
                    self._write_timeout.end()

    def begin_head(self) -> None:
        """Give the head of which something has come its own time."""
        if not self._in_head:
            self._in_head = True
            self._wait(READ_HEADER_TIMEOUT, self._cut_off_head)

    def refuse(self, status: int) -> None:
        """Tell the client that it is refused, and end the connection."""
        if not self._transport.is_closing():
            self._writer.write(self._task_group.early_error_response(status))
            self.close(linger=True)

    def close(self, *, linger: bool = False) -> None:
        """End the connection; linger where more may come, or the client might not read what it was sent."""
        self._timer.cancel()
        if self._transport.is_closing():
            return
        self._write_timeout.begin()
        if linger and self.is_heard:
            self._writer.write_eof()
            self._wait(LINGERING_TIMEOUT, self.close)
        else:
            self._writer.close()
        self.is_heard = False

    def close_idle(self) -> None:
        """End the connection if nothing is under way on it."""
        if self._protocol.stream is None:
            self.close()

    def abort(self) -> None:
        """End the connection as it stands."""
        self._timer.cancel()
        self._transport.abort()

    async def _read(self) -> None:
        while data := await self._reader.read(READ_BYTES):
            if self.is_heard:
                await self._protocol.handle(RawData(data))

    async def _end(self) -> None:
        self.is_heard = False
        if not self._protocol.owes_reply:
            await self._protocol.handle(Closed())
            self.close()

    def _cut_off_head(self) -> None:
        if self._in_head:
            self.refuse(408)
        else:
            self.close()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)


class _Protocol(H11Protocol):
    """What is said on a connection; an upgrade is not followed, and what is no request gets a refusal."""

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
        self._head = b""

    @property
    def is_reading(self) -> bool:
        """Whether the rest of a request is to come."""
        return self.connection.their_state is h11.SEND_BODY

    @property
    def owes_reply(self) -> bool:
        """Whether a request is there, and not the whole of its reply."""
        return self.stream is not None and not self.is_reading

    async def _handle_events(self) -> None:
        while self._connection.is_heard and self.connection.their_state is not h11.MUST_CLOSE:
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return
            if event is h11.NEED_DATA:
                if self.stream is None and self.connection.has_more:
                    self._connection.begin_head()
                return
            await self._handle_event(event)

    async def _handle_event(self, event: h11.Event | type[h11.NEED_DATA | h11.PAUSED]) -> None:
        if isinstance(event, h11.Request):
            await self._create_stream(event)
        elif event is h11.PAUSED:
            await self.can_read.clear()
            await self.can_read.wait()
        elif self.stream is None:
            # The reply did not wait for the rest of the request.
            return
        elif isinstance(event, h11.Data):
            await self.stream.handle(Body(STREAM_ID, event.data))
        else:
            await self.stream.handle(EndBody(STREAM_ID))

    async def _create_stream(self, request: h11.Request) -> None:
        await self.send(Updated(idle=False))
        self.keep_alive_requests += 1
        if request.method == b"CONNECT":
            # What follows is for somebody else: no request may be seen in it.
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
            # It goes with the body: two writes cost twice as much.
            self._head = data
        elif self._head or data:
            head, self._head = self._head, b""
            await self._connection.write(head, data)

    async def _refuse(self, status: int) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._connection.refuse(431 if status == 431 else 400)
        else:
            self._connection.close()
        await self.handle(Closed())
