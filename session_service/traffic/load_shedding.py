"""Load shedding: bounds on the requests in flight and on the memory of their bodies; computes Retry-After.

The more requests are rejected, the longer their clients are asked to wait, so that they do not all return at
once. To reject a request costs nearly as much as to serve it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from session_service.sessions.errors import ServiceUnavailableError

MAX_IN_FLIGHT = 1000  # requests, those included whose time for a reply is over
# Bytes of the bodies of requests in flight, and as many again of those that arrive: parsed they take several
# times that.
MAX_BODY_MEMORY = 32 * 1024 * 1024
HOLD_SECONDS = 1.0  # seconds for which the connection of a rejected request is not read

_RETRIES_PER_SECOND = 500  # rejected requests that are asked to return in the same second


class LoadShedder:
    """Counts the requests in flight and rejects those beyond the bounds."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._body_memory = 0
        self._asked_to_wait = 0

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count a request with a body of so many bytes as in flight; raise ServiceUnavailableError."""
        if self._in_flight >= MAX_IN_FLIGHT or self._body_memory + size > MAX_BODY_MEMORY:
            raise ServiceUnavailableError("not_applied", self.retry_after(), shed=True)
        self._in_flight += 1
        self._body_memory += size
        try:
            yield
        finally:
            self._in_flight -= 1
            self._body_memory -= size

    def retry_after(self) -> int:
        """Count one more rejected request; return in how many seconds its client may retry."""
        seconds = 1 + self._asked_to_wait // _RETRIES_PER_SECOND
        self._asked_to_wait += 1
        asyncio.get_running_loop().call_later(seconds, self._forget)
        return seconds

    def _forget(self) -> None:
        self._asked_to_wait -= 1
