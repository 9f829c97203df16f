"""Reads requests: the request id, and the body within limits of size, memory and time."""

import asyncio
import re
from random import getrandbits
from typing import cast

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from session_service.api.errors import RequestTimeoutError
from session_service.sessions.errors import PayloadTooLargeError, ServiceUnavailableError
from session_service.traffic.deadlines import Deadlines
from session_service.traffic.load_shedding import MAX_BODY_MEMORY

MAX_BODY_BYTES = 256 * 1024
READ_BODY_TIMEOUT = 10.0  # seconds for a body to arrive
# Body size in bytes that the memory limit does not apply to: slow large bodies must not block small saves.
GUARANTEED_BODY_SIZE = 16 * 1024

# W3C Trace Context, 3.2: version, trace id, parent id and flags; a later version may append to them.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def request_id_of(scope: Scope) -> str:
    """Return the client's own request id if it sends one that is well-formed, else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return str(given[0], "ascii")
    return new_request_id()


def trace_id_of(scope: Scope) -> str | None:
    """Return the trace id of the header traceparent (W3C Trace Context); None if it is absent or invalid."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    found = _TRACEPARENT.fullmatch(given[0].strip()) if len(given) == 1 else None
    # Version 00 has nothing after the flags.
    if found is None or (found[2] and given[0].strip().startswith(b"00")):
        return None
    return str(found[1], "ascii")


def new_request_id() -> str:
    """Return a UUID v4.

    It need not be unpredictable: the system's randomness and the class UUID would cost five times as much.
    """
    digits = f"{getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class BodyReader:
    """Reads bodies, with one limit on the memory of all bodies that are arriving."""

    def __init__(self) -> None:
        self._arriving = 0
        self._deadlines = Deadlines(READ_BODY_TIMEOUT, _cancel)

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of a request; raise the contract's errors, and ClientDisconnect."""
        if not any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"]):
            return b""
        reading = cast("asyncio.Task[None]", asyncio.current_task())
        deadline = self._deadlines.begin(reading)
        try:
            return await self._read_chunks(receive)
        except asyncio.CancelledError:
            if not deadline.missed:
                raise
            reading.uncancel()
            raise RequestTimeoutError from None
        finally:
            deadline.meet()

    async def _read_chunks(self, receive: Receive) -> bytes:
        """Return the whole body; after reading it, raise an error of the contract if it exceeds a limit.

        A rejected body is also read to its end, so that the connection can serve the next request.
        """
        chunks: list[bytes] = []
        size = 0
        fits = more = True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(chunk)
                is_full = size > GUARANTEED_BODY_SIZE and self._arriving + len(chunk) > MAX_BODY_MEMORY
                fits = fits and not is_full and size <= MAX_BODY_BYTES
                if fits:
                    chunks.append(chunk)
                    self._arriving += len(chunk)
        finally:
            self._arriving -= sum(map(len, chunks))
        if size > MAX_BODY_BYTES:
            raise PayloadTooLargeError(f"The body has over {MAX_BODY_BYTES} bytes.")
        if not fits:
            raise ServiceUnavailableError("not_applied", reason="body_memory")
        return b"".join(chunks)


async def discard_body(receive: Receive) -> None:
    """Discard the rest of the body until the server has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _cancel(reading: asyncio.Task[None]) -> None:
    reading.cancel()
