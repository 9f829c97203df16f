"""Load shedding: limits the requests in flight and the memory of their bodies; computes Retry-After.

Retry-After increases with the number of rejected requests, so that clients do not all retry at once:
rejecting a request costs nearly as much as serving it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from session_service import metrics
from session_service.sessions.errors import ServiceUnavailableError

MAX_IN_FLIGHT = 1000  # requests, including those that have passed their deadline
# Bytes of the bodies of requests in flight; a second limit of the same size applies to arriving bodies.
# Parsed bodies take several times as much.
MAX_BODY_MEMORY = 32 * 1024 * 1024
HOLD_SECONDS = 1.0  # seconds for which the connection of a rejected request is not read

_RETRIES_PER_SECOND = 500  # rejected requests with the same Retry-After


class LoadShedder:
    """Counts the requests in flight and rejects those beyond the limits."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._body_memory = 0
        self._asked_to_wait = 0
        metrics.requests_in_flight.set_function(lambda: self._in_flight)
        metrics.body_bytes.set_function(lambda: self._body_memory)

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count a request with a body of `size` bytes; raise ServiceUnavailableError over a limit."""
        if self._in_flight >= MAX_IN_FLIGHT or self._body_memory + size > MAX_BODY_MEMORY:
            full = "in_flight" if self._in_flight >= MAX_IN_FLIGHT else "body_memory"
            raise ServiceUnavailableError("not_applied", self.retry_after(), reason=full, shed=True)
        self._in_flight += 1
        self._body_memory += size
        try:
            yield
        finally:
            self._in_flight -= 1
            self._body_memory -= size

    def retry_after(self) -> int:
        """Count a rejected request; return its Retry-After, in seconds."""
        seconds = 1 + self._asked_to_wait // _RETRIES_PER_SECOND
        self._asked_to_wait += 1
        asyncio.get_running_loop().call_later(seconds, self._forget)
        return seconds

    def _forget(self) -> None:
        self._asked_to_wait -= 1
