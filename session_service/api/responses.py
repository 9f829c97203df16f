"""Responses: sends status, headers and body as ASGI messages; maps errors to responses."""

import asyncio
from typing import Any

from attrs import field, frozen
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Send

from session_service.api.health import ServiceNotReadyError, ServiceUnhealthyError
from session_service.api.request import discard_body
from session_service.sessions import codec
from session_service.sessions.errors import RefusedError, ServiceError, ServiceUnavailableError
from session_service.sessions.exports import Export
from session_service.sessions.models import EncodedSession, History
from session_service.traffic.load_shedding import HOLD_SECONDS

Headers = list[tuple[bytes, bytes]]

# For a browser that shows a response as a page: no resources are loaded, no frame may contain it.
SECURITY_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


@frozen
class Response:
    """A complete response; with a body of None it has no Content-Length, as 204 and 304 require.

    No further request is read from its connection for `hold_connection` seconds. `reason` is that of a
    rejected request, for the metrics.
    """

    status: int
    headers: Headers
    body: bytes | None = None
    media_type: bytes = b"application/json"
    security: Headers = SECURITY_HEADERS
    hold_connection: float = 0.0
    reason: str | None = None

    def encoded_headers(self, request_id: str) -> Headers:
        """Return all headers of the response, including the request id."""
        headers = [*self.headers, *self.security, (b"x-request-id", request_id.encode())]
        if self.body is not None:
            headers += [(b"content-length", b"%d" % len(self.body)), (b"content-type", self.media_type)]
        return headers

    async def send(self, send: Send, request_id: str) -> None:
        """Send the response as ASGI messages."""
        headers = self.encoded_headers(request_id)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        # To hold the connection, the response stays unfinished for the server, which then reads no further
        # request. The client has the whole response, by its Content-Length.
        more = self.hold_connection > 0
        await send({"type": "http.response.body", "body": self.body or b"", "more_body": more})

    async def release_connection(self, send: Send) -> None:
        """End the response after `hold_connection` seconds."""
        await asyncio.sleep(self.hold_connection)
        await send({"type": "http.response.body"})


@frozen(kw_only=True)
class StreamedResponse(Response):
    """A response whose body is made while it is sent, without a Content-Length.

    It takes no request's deadline and is not counted as in flight: a slow client may take it for minutes.
    """

    export: Export = field()

    async def stream(self, method: str, receive: Receive, send: Send, request_id: str) -> None:
        """Send the chunks; raise the error of a failed one, or ClientDisconnect.

        The response is then unfinished, and the server resets its connection.
        """
        gone = asyncio.create_task(discard_body(receive))
        try:
            headers = [*self.encoded_headers(request_id), (b"content-type", self.media_type)]
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            if method != "HEAD":
                async for chunk in self.export:
                    if gone.done():
                        raise ClientDisconnect
                    if chunk:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            gone.cancel()
            await self.export.close()


def session_headers(session: EncodedSession) -> Headers:
    """Return the headers of every response with a session."""
    return [
        (b"etag", b'"%d"' % session.version),
        *time_headers(session),
        (b"cache-control", b"private, no-cache"),
    ]


def time_headers(about: EncodedSession | History) -> Headers:
    """Return the headers about time of every response about one session."""
    return [
        (b"session-expires-at", about.expires_at.encode()),
        (b"session-now", codec.timestamp_of(about.read_at).encode()),
    ]


def error_response(error: ServiceError, request_id: str) -> Response:
    """Return the response that the contract declares for the error."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers().items()]
    if isinstance(error, RefusedError):
        headers += session_headers(error.session)
    else:
        headers.append((b"cache-control", b"no-store"))
    if isinstance(error, ServiceUnhealthyError | ServiceNotReadyError):
        return Response(error.status, headers, encode_with_id(error.body, request_id))
    body = codec.encode_error(_fields(error, request_id) | error.fields())
    hold = HOLD_SECONDS if isinstance(error, ServiceUnavailableError) and error.shed else 0.0
    return Response(error.status, headers, body, hold_connection=hold, reason=error.reason)


def encode_with_id(value: object, request_id: str) -> bytes:
    """Encode a value about the service itself, with the id of the request."""
    return codec.encode({**codec.unstructure(value), "requestId": request_id})


def _fields(error: ServiceError, request_id: str) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": error.message,
        "errorCode": error.code,
        "statusCode": error.status,
        "requestId": request_id,
    }
