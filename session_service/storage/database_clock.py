"""The database's clock, carried on by the monotonic clock of this process between two statements."""

from datetime import datetime
from time import monotonic_ns

from session_service.sessions import codec


class DatabaseClock:
    """Shows the database's time without a statement of its own."""

    def __init__(self) -> None:
        self._offset = 0

    def set(self, now: datetime) -> None:
        """Note the database's time from the result of a statement."""
        self._offset = codec.milliseconds(now) - _ticks()

    def now(self) -> int:
        """Return the database's time in milliseconds since 1970, as of the last statement's result."""
        return self._offset + _ticks()


def _ticks() -> int:
    return monotonic_ns() // 1_000_000
