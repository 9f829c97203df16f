"""A connection on uvicorn: strict HTTP/1.1, with timeouts against slow clients (slowloris).

Ambiguous requests are rejected, against request smuggling: a proxy could read such a request as two.
"""

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
    ServedApplication,
    WriteTimeout,
    early_error_response,
    origin_form,
)
from session_service.server.uvicorn.cycle import SingleWriteCycle

_FRAMING = {b"content-length", b"transfer-encoding"}


class Settings(Config):
    """uvicorn's settings and the maximum number of connections."""

    max_connections = 0


class StrictHttpToolsProtocol(HttpToolsProtocol):
    """Parses requests strictly, with timeouts for headers, keep-alive, writing and lingering.

    Headers that arrive whole in one read start no timer. Their size is checked only if that read was large.
    """

    _in_headers = False
    _is_large_read = False  # the last read was large, or continued headers
    # Bytes of the current headers, or of chunk sizes and trailers since the last byte of the current body. A
    # read that also contains other data is not counted.
    _size = 0
    _is_replaying = False  # while a new parser is fed headers that were parsed before
    _timer: asyncio.TimerHandle | None = None
    _write_timeout: WriteTimeout
    _active_cycle: RequestResponseCycle | None = None  # the request whose response is next
    _rejected_status = 0  # the status of an early error response, or 0
    _accepts_requests = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._write_timeout = WriteTimeout(self.transport)
        if len(self.connections) > cast("Settings", self.config).max_connections:
            self.transport.write(self._early_error_response(503))
            self.transport.close()
        else:
            self._start_timer(READ_HEADER_TIMEOUT, self._time_out_headers)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._active_cycle is not None:
            # Of pipelined requests, uvicorn disconnects only the last.
            self._active_cycle.disconnected = True
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._cancel_timer()
        self._write_timeout.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timeout.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._write_timeout.end()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn narrows asyncio's return type
        """Keep the connection open for the responses to requests that have arrived whole."""
        self._accepts_requests = False
        self._drop_incomplete_request()
        if not self._is_responding():
            self._write_timeout.begin()
        return self._is_responding()

    def data_received(self, data: bytes) -> None:
        if not self._accepts_requests:
            return
        begun, cycle, idle = self._in_headers, self.cycle, not self._is_responding()
        taken = 0 if cycle is None else len(cycle.body)
        self._is_large_read = begun or len(data) > MAX_HEADER_BYTES
        self._parse(data)
        if self._in_headers:
            # The whole read belongs to these headers if no other headers or body ended in it.
            alone = (begun or idle) and self.cycle is cycle
        else:
            alone = self.cycle is cycle is not None and cycle.more_body and len(cycle.body) == taken
        self._size = self._size + len(data) if alone else 0
        if self._size > MAX_HEADER_BYTES:
            self._reject(431)
        elif self._in_headers and (self._timer is None or not begun):
            self._start_timer(READ_HEADER_TIMEOUT, self._time_out_headers)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._in_headers = True
        self._size = 0

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._is_replaying:
            self.headers = []
            return
        self._cancel_timer()
        if status := self._status_of_fault():
            self._reject(status)
            raise ValueError
        version = self.parser.get_http_version()
        # RFC 9110, 10.1.1: an HTTP/1.0 client would take the interim response for the response.
        self.expect_100_continue = self.expect_100_continue and version != "1.0"
        target, headers = origin_form(self.url, self.headers)
        path, _, query = target.partition(b"?")
        self.scope |= {
            "method": self.parser.get_method().decode(),
            "http_version": version,
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
        }
        self._begin_cycle(version)
        if self.scope["method"] == "CONNECT":
            # The bytes that follow are meant for the tunnel, not for this service: they are no request.
            self._end_after_response()
        # The parser adds trailers, which are not headers (RFC 9110, 6.5.1).
        self.headers = []

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and self._accepts_requests:
            # Only the headers are complete: the parser stops at an upgrade.
            return
        if len(self.headers) > MAX_HEADERS or (self.headers and _size(self.headers) > MAX_HEADER_BYTES):
            self._reject(431)
            raise ValueError
        if self.headers and self.cycle.keep_alive and not self.parser.should_keep_alive():
            # The parser obeys a Connection trailer, and skips all that follows.
            self._end_after_response()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        following = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self._in_headers or not self._accepts_requests:
            # The connection is not idle.
            self._unset_keepalive_if_required()
        if self.transport.is_closing():
            self._write_timeout.begin()
        elif following is not None:
            self._active_cycle = following
        elif self._rejected_status:
            self._send_early_error()
        elif not self._accepts_requests:
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _is_responding(self) -> bool:
        return self._active_cycle is not None and not self._active_cycle.response_complete

    def _parse(self, data: bytes | memoryview) -> None:
        while data and self._accepts_requests:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = memoryview(data)[upgrade.args[0] :]
                self._ignore_upgrade()
            except httptools.HttpParserError:
                self._reject(400)
                return
            else:
                return

    def _ignore_upgrade(self) -> None:
        """Ignore an upgrade (RFC 9110, 7.8): parse the body, which httptools skips, with a new parser."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        lines = [b"%b: %b\r\n" % header for header in self.scope["headers"] if header[0] in _FRAMING]
        self._is_replaying = True
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *lines, b"\r\n"]))
        self._is_replaying = False

    def _begin_cycle(self, version: str) -> None:
        """Start the application for the present request, after the responses to pipelined ones before it."""
        previous = self.cycle
        self.cycle = SingleWriteCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._active_cycle = self.cycle
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _status_of_fault(self) -> int:
        """Return the status that rejects the present headers, or 0."""
        names = [name for name, _ in self.headers]
        if len(names) > MAX_HEADERS or (self._is_large_read and self._header_bytes() > MAX_HEADER_BYTES):
            return 431
        version, hosts = self.parser.get_http_version(), names.count(b"host")
        plain = (version == "1.1" and hosts == 1) or (version == "1.0" and hosts <= 1)
        if not plain or not self.url.isascii():
            return 400
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        return 0 if not codings or (version == "1.1" and codings == [b"chunked"]) else 400

    def _header_bytes(self) -> int:
        return len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n") + _size(self.headers)

    def _end_after_response(self) -> None:
        """Close the connection after the response to the present request."""
        self.cycle.keep_alive = self._accepts_requests = False
        if self.cycle.response_complete:
            self._close()

    def _reject(self, status: int) -> None:
        """Send an early error response, after the responses to earlier requests, and end the connection."""
        if self._accepts_requests:
            self._accepts_requests = False
            self._rejected_status = status
            self._drop_incomplete_request()
            if not self._is_responding():
                self._send_early_error()

    def _send_early_error(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._early_error_response(self._rejected_status))
            self.transport.write_eof()
            self._start_timer(LINGERING_TIMEOUT, self._close)

    def _early_error_response(self, status: int) -> bytes:
        return early_error_response(
            cast("ServedApplication", self.app), status, self.server_state.default_headers
        )

    def _drop_incomplete_request(self) -> None:
        """Drop a request whose body will not arrive whole."""
        if self.cycle is None or not self.cycle.more_body or self.cycle.response_started:
            return
        if self.cycle is self._active_cycle:
            self._active_cycle = None
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        else:
            self.pipeline.popleft()
        self.cycle.more_body = False

    def _time_out_headers(self) -> None:
        # A pipelined request waits for the response before its own.
        if self._is_responding():
            self._start_timer(READ_HEADER_TIMEOUT, self._time_out_headers)
        elif self._in_headers:
            self._reject(408)
        else:
            self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self._write_timeout.begin()
            self.transport.close()

    def _start_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self.loop.call_later(seconds, callback)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _size(headers: Headers) -> int:
    """Return the encoded size of lines in bytes."""
    return sum(len(name) + len(value) + len(": \r\n") for name, value in headers)
