"""Writes log lines to standard output without blocking, and redacts exceptions."""

import asyncio
import logging
import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from traceback import format_tb
from types import TracebackType

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_FLUSH_INTERVAL = 0.01  # time in which access log lines are collected for one write, in seconds
_MAX_BUFFER_BYTES = 4 * 1024 * 1024  # size limit of the lines that wait for a slow reader, in bytes


class NonBlockingStdout:
    """Writes lines to standard output in a separate thread; also a stream for logging.StreamHandler.

    A slow reader of the log delays no request: lines are dropped and counted once 4 MiB are waiting.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._buffered = 0
        self._dropped = 0
        self._lock = Lock()
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._writer = Thread(target=self._write, name="access log", daemon=True)

    def add(self, line: str) -> None:
        """Buffer a line of the access log for the next flush; call it on the event loop only."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_INTERVAL, self._flush)
        self._lines.append(line)

    def write(self, text: str, lines: int = 1) -> None:
        """Queue a text of `lines` lines for the writer, or drop it if the buffer is full; thread-safe."""
        with self._lock:
            lost = (
                f"[session-service] {self._dropped} lines were lost: nobody read them\n"
                if self._dropped
                else ""
            )
            data = (lost + text).encode(errors="backslashreplace")
            if self._buffered + len(data) > _MAX_BUFFER_BYTES:
                self._dropped += lines
            elif data:
                self._dropped = 0
                self._buffered += len(data)
                self._waiting.put(data)

    def start(self) -> None:
        """Start the writer thread."""
        self._writer.start()

    def stop(self) -> None:
        """Flush the buffer and stop the writer thread, within one second."""
        self._flush()
        self._waiting.put(b"")
        self._writer.join(timeout=1)

    def _flush(self) -> None:
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
                self._buffered -= len(data)


class RedactingFormatter(logging.Formatter):
    """Formats exceptions without their text, except those of the service itself.

    Texts of libraries may contain secrets: PostgreSQL's errors repeat the row, and others repeat a setting.
    """

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 - the name of the standard library
        assert ei[1] is not None
        return _outline(ei[1])


def _outline(error: BaseException) -> str:
    """Return the tracebacks and the types of an error and its causes."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    own = f": {error}" if type(error).__module__.startswith("session_service.") else ""
    trace = "".join(format_tb(error.__traceback__))
    return (f"{_outline(cause)}\n" if cause else "") + f"{trace}{type(error).__name__}{own}"
