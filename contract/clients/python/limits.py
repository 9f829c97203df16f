"""Time limits for the functions of a program, which may never return."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

from .stores import Store

Result = TypeVar("Result")


class TimeLimit:
    """Calls functions in a thread that does not keep the process alive, one at a time.

    A call raises RuntimeError if its function raises an exception, and TimeoutError if it does not return in
    time; as long as it has not returned, further calls raise TimeoutError at once.
    """

    def __init__(self, seconds: float, late: Callable[[], None]) -> None:
        """Limit the calls to so many seconds; `late` is called for each one that takes longer."""
        self._seconds, self._late = seconds, late
        self._ended = Event()  # of the last call
        self._ended.set()

    def call(self, function: Callable[[], Result]) -> Result:
        """Return the function's result."""
        if not self._ended.is_set():
            raise TimeoutError
        self._ended = ended = Event()
        results: list[Result] = []

        def run() -> None:
            try:
                with suppress(Exception):
                    results.append(function())
            finally:
                ended.set()

        try:
            Thread(target=run, name="time-limit", daemon=True).start()
        except RuntimeError:
            # While the interpreter ends it starts no thread.
            run()
        if not ended.wait(self._seconds):
            self._late()
            raise TimeoutError
        if not results:
            raise RuntimeError
        return results[0]


class LimitedStore:
    """A store of a program, with a time limit for each of its functions."""

    def __init__(self, store: Store, limit: TimeLimit) -> None:
        self._store, self._limit = store, limit

    def read(self) -> bytes | None:
        """Return the content; None if there is none yet."""
        return self._limit.call(self._store.read)

    def write(self, content: bytes) -> None:
        """Replace the content."""
        self._limit.call(lambda: self._store.write(content))

    def set_aside(self, content: bytes) -> str | Path:
        """Store a content under a new name; return the name."""
        return self._limit.call(lambda: self._store.set_aside(content))
