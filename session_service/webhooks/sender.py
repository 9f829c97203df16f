"""Posts events to one endpoint: signed after Standard Webhooks, to a judged address, without redirects.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import base64
import hmac
import secrets
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self

import httpcore
from attrs import frozen

from session_service.webhooks.addresses import Address, Resolver, is_private, is_public
from session_service.webhooks.endpoints import Endpoint

TIMEOUT = 15.0  # seconds for a post as a whole: name, connection, request and status of the response
CONNECT_TIMEOUT = 5.0  # seconds for a connection to one address, and as long again for its TLS handshake
BODY_TIMEOUT = (
    1.0  # seconds for the body of a response, which is not used: the connection is kept if it has ended
)
MAX_BODY_BYTES = 64 * 1024  # of a response that are read
KEEP_ALIVE = 5.0  # seconds for which an idle connection is kept: less than most servers do
CONCURRENCY = 8  # posts at the same time

# httpcore passes on an error of TLS after the handshake as it is, such as an alert for a client certificate.
_FAULTS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError)


Headers = Sequence[tuple[str | bytes, str | bytes]]


class SendError(Exception):
    """A post without a response; the text gives the reason, without the URL."""


@frozen
class Reply:
    """The status of a response, and the seconds of its Retry-After."""

    status: int
    retry_after: int


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message."""
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


class Sender:
    """Sends to one endpoint, over connections of its own; use it as a context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._resolver = Resolver(endpoint.host, endpoint.port)
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=CONCURRENCY,
            keepalive_expiry=KEEP_ALIVE,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.aclose()

    async def post(self, message_id: str, body: bytes, trace_id: str | None = None) -> Reply:
        """Post a message and return the response; raise SendError if there is none within TIMEOUT.

        With a trace id the post is a span of that trace.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._post(body, self._headers(message_id, body, trace_id))
        except TimeoutError:
            raise SendError(f"no response within {TIMEOUT:.0f} seconds") from None

    async def _post(self, body: bytes, headers: Headers) -> Reply:
        reason = SendError("no address of its host is allowed, or it has none")
        for address in await self._resolver.resolve():
            if self._is_allowed(address):
                try:
                    return await self._request(address, body, headers)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    reason = SendError(_reason(error))
                except _FAULTS as error:
                    raise SendError(_reason(error)) from None
        raise reason

    def _is_allowed(self, address: Address) -> bool:
        """Return whether events may be sent to the address: over the Internet only with TLS."""
        if self._endpoint.private and is_private(address):
            return True
        return self._endpoint.scheme == "https" and is_public(address)

    async def _request(self, address: Address, body: bytes, headers: Headers) -> Reply:
        endpoint = self._endpoint
        url = httpcore.URL(
            scheme=endpoint.scheme, host=str(address), port=endpoint.port, target=endpoint.target
        )
        # The certificate must be one of the host's name, not of the address.
        extensions = {"sni_hostname": endpoint.host, "timeout": {"connect": CONNECT_TIMEOUT}}
        request = self._connections.stream("POST", url, headers=headers, content=body, extensions=extensions)
        async with request as response:
            await _read(response)
            received = {name.lower(): value for name, value in response.headers}
            return Reply(response.status, _seconds(received.get(b"retry-after", b"")))

    def _headers(self, message_id: str, body: bytes, trace_id: str | None) -> Headers:
        timestamp = int(time.time())
        signatures = [sign(key, message_id, timestamp, body) for key in self._endpoint.keys]
        headers = {
            "host": self._endpoint.authority,
            "user-agent": "session-service",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }
        if trace_id is not None:
            # A post is a span of its own below the trace. Sampled: the receiver decides what it keeps.
            headers["traceparent"] = f"00-{trace_id}-{secrets.token_hex(8)}-01"
        return list(headers.items())


async def _read(response: httpcore.Response) -> None:
    """Read the body up to the bounds: its connection is then kept, and any other is closed."""
    size = 0
    with suppress(TimeoutError, *_FAULTS):
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in response.aiter_stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    break


def _seconds(retry_after: bytes) -> int:
    """Return the seconds of a Retry-After, a number or a date (RFC 9110, 10.2.3); 0 for any other value."""
    text = retry_after.decode("latin-1").strip()
    if text.isascii() and text.isdecimal():
        return int(text[:9])
    try:
        date = parsedate_to_datetime(text)
        return max(0, int((date.astimezone(UTC) - datetime.now(UTC)).total_seconds()))
    except (ValueError, OverflowError):
        return 0


def _reason(error: Exception) -> str:
    """Return a line without control characters: a message may quote the certificate."""
    text = f"{type(error).__name__}: {error}"
    return "".join(character if character.isprintable() else " " for character in text)[:200]
