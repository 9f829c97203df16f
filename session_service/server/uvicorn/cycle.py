"""Writes each response with one write: status line, headers and the first bytes of the body."""

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from session_service.api.responses import Headers
from session_service.server.connections import CLOSE, reset

_LAST_CHUNK = b"0\r\n\r\n"


class SingleWriteCycle(RequestResponseCycle):
    """Holds the encoded headers back until the first body message, and writes both as one.

    Headers are not validated again: their names are lower-case, their values checked where they enter the
    service, and Content-Length is the length of the body (`Response.encoded_headers`). A response with a
    Content-Type, but without Content-Length, is chunked, or in HTTP/1.0 delimited by the end of the
    connection. If it is unfinished, the connection is reset.
    """

    _encoded_headers = b""
    _is_delimited = True  # by Content-Length or as chunks
    _has_length = True

    @property
    def is_streaming(self) -> bool:
        """Whether the client has a part of the response, and does not know how long that is."""
        ended = self.response_complete or self.disconnected
        return self.response_started and not self._has_length and not ended

    async def run_asgi(self, app: ASGI3Application) -> None:
        async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            try:
                await app(scope, receive, send)
            finally:
                if self.is_streaming:
                    self.disconnected = True
                    reset(self.transport)

        await super().run_asgi(run)

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start" and not self.response_started:
            self._start_response(message)
        elif message["type"] == "http.response.body" and self._encoded_headers:
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
            if not self.disconnected:
                self._write_first(message)
        else:
            if message["type"] == "http.response.body" and not self._is_delimited:
                self.expected_content_length = len(message.get("body", b""))
            await super().send(message)

    def _start_response(self, message: HTTPResponseStartEvent) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        # With False, later body messages are neither chunked nor searched for a length.
        self.chunked_encoding = False
        headers: Headers = [*self.default_headers, *message["headers"]]
        if CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append(CLOSE)
        names = dict(headers)
        self.expected_content_length = int(names.get(b"content-length", 0))
        if b"content-type" in names and b"content-length" not in names:
            self._has_length = False
            # In HTTP/1.0 the end of the connection delimits the body.
            self.chunked_encoding = self._is_delimited = self.scope["http_version"] != "1.0"
            headers += [(b"transfer-encoding", b"chunked")] if self.chunked_encoding else []
        lines = [b"%b: %b\r\n" % header for header in headers]
        self._encoded_headers = b"".join([STATUS_LINE[message["status"]], *lines, b"\r\n"])

    def _write_first(self, message: HTTPResponseBodyEvent) -> None:
        headers, self._encoded_headers = self._encoded_headers, b""
        body, more_body = message.get("body", b""), message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (
                b"" if more_body else _LAST_CHUNK
            )
        elif self._is_delimited:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more_body):
                raise RuntimeError("The body differs from Content-Length")
        self.transport.write(headers + body)
        if not more_body:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
