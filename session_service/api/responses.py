"""What is sent back: status, headers and body, as ASGI has them."""

import asyncio

from attrs import frozen
from starlette.types import Send

Headers = list[tuple[bytes, bytes]]

# What a browser may do with a reply that it was made to show as a page: nothing.
PLAIN: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


@frozen
class Reply:
    """A reply that is complete; a body of None has no length either, as 204 and 304 have none.

    After it, nothing is heard from its connection for `pause` seconds.
    """

    status: int
    headers: Headers
    body: bytes | None = None
    media_type: bytes = b"application/json"
    security: Headers = PLAIN
    pause: float = 0.0

    def head(self, request_id: str) -> Headers:
        """Return all headers of the reply, marked with its request's id."""
        headers = [*self.headers, *self.security, (b"x-request-id", request_id.encode())]
        if self.body is not None:
            headers += [(b"content-length", b"%d" % len(self.body)), (b"content-type", self.media_type)]
        return headers

    async def send(self, send: Send, request_id: str) -> None:
        """Send the reply as ASGI has it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.head(request_id)})
        # Before a pause the client has the whole of it, but the server takes it for unfinished, and reads
        # no next request.
        await send({"type": "http.response.body", "body": self.body or b"", "more_body": self.pause > 0})

    async def end(self, send: Send) -> None:
        """End a reply that has a pause, when that is over."""
        await asyncio.sleep(self.pause)
        await send({"type": "http.response.body"})
