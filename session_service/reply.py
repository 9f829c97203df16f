"""What is sent back: status, headers and body, as ASGI has them."""

from attrs import frozen
from starlette.types import Send

Headers = list[tuple[bytes, bytes]]


@frozen
class Reply:
    """A reply that is complete; a body of None has no length either, as 204 and 304 have none."""

    status: int
    headers: Headers
    body: bytes | None = None
    media_type: bytes = b"application/json"

    async def send(self, send: Send, request_id: str) -> None:
        """Send the reply, marked with its request's id."""
        headers = [*self.headers, (b"x-request-id", request_id.encode())]
        if self.body is not None:
            headers += [(b"content-length", b"%d" % len(self.body)), (b"content-type", self.media_type)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body or b""})
