"""Logging to standard output without blocking, and with values that may be secret left out."""

import asyncio
import logging
import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from traceback import format_tb
from types import TracebackType

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_PAUSE = 0.01  # seconds in which the lines of requests gather before they are written together
_ROOM = 4 * 1024 * 1024  # bytes that wait for a reader who has stopped reading


class NonBlockingStdout:
    """Writes lines to standard output in a thread of its own; also the stream of Python's logging.

    A slow reader of the log delays no request.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._held = 0
        self._lost = 0
        self._lock = Lock()
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._writer = Thread(target=self._write, name="access log", daemon=True)

    def add(self, line: str) -> None:
        """Have a request's line written soon; if there is no room, how many were lost is written later."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_PAUSE, self._hand_over)
        self._lines.append(line)

    def write(self, text: str, lines: int = 1) -> None:
        """Have so many lines written, in whatever thread."""
        with self._lock:
            lost = f"[session-service] {self._lost} lines were lost: nobody read them\n" if self._lost else ""
            data = (lost + text).encode(errors="backslashreplace")
            if self._held + len(data) > _ROOM:
                self._lost += lines
            elif data:
                self._lost = 0
                self._held += len(data)
                self._waiting.put(data)

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def stop(self) -> None:
        """Write what is there, unless that takes longer than a second."""
        self._hand_over()
        self._waiting.put(b"")
        self._writer.join(timeout=1)

    def _hand_over(self) -> None:
        self.write("".join(self._lines), len(self._lines))
        self._lines.clear()

    def _write(self) -> None:
        while data := self._waiting.get():
            left = data
            # If stdout is closed, drop the lines. Write to the descriptor: sys.stdout's lock could block
            # interpreter shutdown.
            with suppress(OSError):
                while left:
                    left = left[os.write(1, left) :]
            with self._lock:
                self._held -= len(data)


class RedactingFormatter(logging.Formatter):
    """Formats an exception without its text, unless it is one of the service's own.

    PostgreSQL's errors repeat the row, and others repeat a setting.
    """

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 - the name of the standard library
        assert ei[1] is not None
        return _outline(ei[1])


def _outline(error: BaseException) -> str:
    """Return where an error and its causes were raised, and of which types they are."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    own = f": {error}" if type(error).__module__.startswith("session_service.") else ""
    trace = "".join(format_tb(error.__traceback__))
    return (f"{_outline(cause)}\n" if cause else "") + f"{trace}{type(error).__name__}{own}"
