"""The database's clock, carried on by the monotonic clock of this process between two statements."""

from datetime import datetime
from time import monotonic_ns

from session_service.sessions import codec

_MILLISECOND = 1_000_000  # nanoseconds


class DatabaseClock:
    """Shows the database's time without a statement of its own.

    The result of a statement bounds the difference of the two clocks, however late it arrives. The difference
    is kept while it is within the bounds, so that the time goes back only if the database's clock does.
    """

    def __init__(self) -> None:
        self._offset = 0

    def set(self, now: datetime, sent: int) -> None:
        """Note the database's time from the result of a statement, and the `monotonic_ns` of its start."""
        time = codec.milliseconds(now) * _MILLISECOND
        # The time was read between the two moments, and is up to a millisecond later than it shows.
        least, most = time - monotonic_ns(), time + _MILLISECOND - sent
        self._offset = min(max(self._offset, least), most)

    def now(self) -> int:
        """Return the database's time in milliseconds since 1970, as of the last statement's result."""
        return (self._offset + monotonic_ns()) // _MILLISECOND
