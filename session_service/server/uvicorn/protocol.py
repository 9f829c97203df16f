"""A connection on uvicorn: as strict as one on Hypercorn, and no client that is waited for without end."""

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from session_service.api.responses import Headers
from session_service.server.connections import (
    LINGERING_TIMEOUT,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    READ_HEADER_TIMEOUT,
    Application,
    WriteTimeout,
    early_error_response,
    origin_form,
)

_FRAMING = {b"content-length", b"transfer-encoding"}


class Settings(Config):
    """uvicorn's settings, with the number of connections that there may be."""

    max_connections = 0


class StrictHttpToolsProtocol(HttpToolsProtocol):
    """The other end of a connection: what comes from it and goes to it, and how long that may take.

    A head that comes whole in one read starts no timer and is not measured, unless that read was large.
    """

    _in_head = False
    _measured = False
    # Bytes of the present head, or of chunk sizes and trailers since the last byte of the present body, as
    # far as they came in reads of their own.
    _size = 0
    _is_resuming = False  # while a new parser is given a head that was read before
    _timer: asyncio.TimerHandle | None = None
    _write_timeout: WriteTimeout
    _active_cycle: RequestResponseCycle | None = None
    _refused = 0  # the status, once there is something to refuse
    _is_heard = True  # until nothing that comes is a request any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._write_timeout = WriteTimeout(self.transport)
        if len(self.connections) > cast("Settings", self.config).max_connections:
            self.transport.write(self._refusal(503))
            self.transport.close()
        else:
            self._wait(READ_HEADER_TIMEOUT, self._cut_off_head)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._active_cycle is not None:
            # uvicorn tells only the last one of those that wait for each other.
            self._active_cycle.disconnected = True
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._stop_waiting()
        self._write_timeout.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timeout.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._write_timeout.end()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn narrows what asyncio asks for
        """Keep the connection for the replies to what has come whole."""
        self._is_heard = False
        self._forget_half()
        if not self._is_responding():
            self._write_timeout.begin()
        return self._is_responding()

    def data_received(self, data: bytes) -> None:
        if not self._is_heard:
            return
        begun, cycle, idle = self._in_head, self.cycle, not self._is_responding()
        taken = 0 if cycle is None else len(cycle.body)
        self._measured = begun or len(data) > MAX_HEADER_BYTES
        self._feed(data)
        if self._in_head:
            # Where no other head ended in the read, and no body, all of it is of this one.
            alone = (begun or idle) and self.cycle is cycle
        else:
            alone = self.cycle is cycle is not None and cycle.more_body and len(cycle.body) == taken
        self._size = self._size + len(data) if alone else 0
        if self._size > MAX_HEADER_BYTES:
            self._refuse(431)
        elif self._in_head and (self._timer is None or not begun):
            self._wait(READ_HEADER_TIMEOUT, self._cut_off_head)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._in_head = True
        self._size = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._is_resuming:
            self.headers = []
            return
        self._stop_waiting()
        if status := self._fault():
            self._refuse(status)
            raise ValueError
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            # RFC 9110, 10.1.1: the client would take an interim reply for the reply.
            self.expect_100_continue = False
        target = self.url
        # httptools' own reading of a URL takes //x for a host and refuses what the application can answer.
        self.url = b"/"
        super().on_headers_complete()
        if not self.pipeline:
            self._active_cycle = self.cycle
        target, self.scope["headers"] = origin_form(target, self.headers)
        path, _, query = target.partition(b"?")
        self.scope["path"] = unquote(path.decode())
        self.scope["raw_path"] = path
        self.scope["query_string"] = query
        if self.scope["method"] == "CONNECT":
            # What follows is for somebody else: no request may be seen in it.
            self.cycle.keep_alive = self._is_heard = False
        # The parser adds trailers to this list: they are no headers (RFC 9110, 6.5.1).
        self.headers = []

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and self._is_heard:
            # Only the head is complete: the parser leaves what follows an upgrade to others.
            return
        if len(self.headers) > MAX_HEADERS or (self.headers and _size(self.headers) > MAX_HEADER_BYTES):
            self._refuse(431)
            raise ValueError
        super().on_message_complete()

    def on_response_complete(self) -> None:
        following = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self._in_head or not self._is_heard:
            # The connection is not idle.
            self._unset_keepalive_if_required()
        if self.transport.is_closing():
            self._write_timeout.begin()
        elif following is not None:
            self._active_cycle = following
        elif self._refused:
            self._tell_refusal()
        elif not self._is_heard:
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _is_responding(self) -> bool:
        return self._active_cycle is not None and not self._active_cycle.response_complete

    def _feed(self, data: bytes | memoryview) -> None:
        while data and self._is_heard:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
                self._resume()
            except httptools.HttpParserError:
                self._refuse(400)
                return
            else:
                return

    def _resume(self) -> None:
        """Ignore an upgrade (RFC 9110, 7.8): have the body read by a parser that has not seen the offer.

        httptools takes a head with an upgrade for the end of its request, whatever length it announces.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        lines = [b"%b: %b\r\n" % header for header in self.scope["headers"] if header[0] in _FRAMING]
        self._is_resuming = True
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *lines, b"\r\n"]))
        self._is_resuming = False

    def _fault(self) -> int:
        """Return the status that refuses the present head, or 0."""
        names = [name for name, _ in self.headers]
        if len(names) > MAX_HEADERS or (self._measured and self._head_size() > MAX_HEADER_BYTES):
            return 431
        version, hosts = self.parser.get_http_version(), names.count(b"host")
        plain = (version == "1.1" and hosts == 1) or (version == "1.0" and hosts <= 1)
        if not plain or not self.url.isascii():
            return 400
        if b"transfer-encoding" not in names:
            return 0
        return (
            0 if version == "1.1" and dict(self.headers)[b"transfer-encoding"].lower() == b"chunked" else 400
        )

    def _head_size(self) -> int:
        first = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n")
        return first + _size(self.headers)

    def _refuse(self, status: int) -> None:
        """Tell the client that it is refused, once it has the replies to what came before."""
        if self._is_heard:
            self._is_heard = False
            self._refused = status
            self._forget_half()
            if not self._is_responding():
                self._tell_refusal()

    def _tell_refusal(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._refusal(self._refused))
            self.transport.write_eof()
            self._wait(LINGERING_TIMEOUT, self._close)

    def _refusal(self, status: int) -> bytes:
        return early_error_response(cast("Application", self.app), status, self.server_state.default_headers)

    def _forget_half(self) -> None:
        """Have nothing done for a request whose body will not come whole."""
        if self.cycle is None or not self.cycle.more_body or self.cycle.response_started:
            return
        if self.cycle is self._active_cycle:
            self._active_cycle = None
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        else:
            self.pipeline.popleft()
        self.cycle.more_body = False

    def _cut_off_head(self) -> None:
        # It may be that of a request which waits for the reply to the one before it.
        if self._is_responding():
            self._wait(READ_HEADER_TIMEOUT, self._cut_off_head)
        elif self._in_head:
            self._refuse(408)
        else:
            self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self._write_timeout.begin()
            self.transport.close()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _size(headers: Headers) -> int:
    """Return the bytes that the header or trailer lines take."""
    return sum(len(name) + len(value) + len(": \r\n") for name, value in headers)
