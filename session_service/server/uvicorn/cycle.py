"""Writes each response with one write: status line, headers and the first bytes of the body."""

from uvicorn._types import ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from session_service.api.responses import Headers
from session_service.server.connections import CLOSE


class SingleWriteCycle(RequestResponseCycle):
    """Holds the encoded headers back until the first body message, and writes both as one.

    Headers are not validated again: their names are lower-case, their values checked where they enter the
    service, and Content-Length is the length of the body (`Response.encoded_headers`). A response without
    Content-Length has no body: responses are never chunked.
    """

    _encoded_headers = b""

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start" and not self.response_started:
            self._start_response(message)
        elif message["type"] == "http.response.body" and self._encoded_headers:
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
            if not self.disconnected:
                self._write_first(message)
        else:
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
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length = int(value)
        lines = [b"%b: %b\r\n" % header for header in headers]
        self._encoded_headers = b"".join([STATUS_LINE[message["status"]], *lines, b"\r\n"])

    def _write_first(self, message: HTTPResponseBodyEvent) -> None:
        headers, self._encoded_headers = self._encoded_headers, b""
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        else:
            body = message.get("body", b"")
        self.expected_content_length -= len(body)
        more_body = message.get("more_body", False)
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
