"""Non-blocking logging to standard output, and a formatter that redacts values that may be secret."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Lock, Thread
from traceback import format_tb
from types import TracebackType

import orjson

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_FLUSH_INTERVAL = 0.01  # seconds from an access log line to its write, together with later ones
_MAX_BUFFERED = 4 * 1024 * 1024  # bytes of lines that wait for a slow reader


def _text_line(message: str) -> str:
    return f"[session-service] {message}\n"


class NonBlockingStdout:
    """Stream that writes to standard output in its own thread, for the access log and Python's logging.

    A slow reader of the log delays no request. Lines beyond 4 MiB are dropped, and their number is logged.
    `form` makes a line of that message.
    """

    def __init__(self, form: Callable[[str], str] = _text_line) -> None:
        self._form = form
        self._lines: list[str] = []
        self._buffered = 0
        self._dropped = 0
        self._lock = Lock()
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._writer = Thread(target=self._write, name="access log", daemon=True)

    def add(self, line: str) -> None:
        """Buffer an access log line; must run in the event loop's thread."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_INTERVAL, self._flush)
        self._lines.append(line)

    def write(self, text: str, lines: int = 1) -> None:
        """Queue text, from any thread; if the buffer is full, drop it and add `lines` to the lost lines."""
        with self._lock:
            data = (self._loss_notice() + text).encode(errors="backslashreplace")
            if self._buffered + len(data) > _MAX_BUFFERED:
                self._dropped += lines
            elif data:
                self._dropped = 0
                self._buffered += len(data)
                self._queue.put(data)

    def start(self) -> None:
        """Start the writing thread."""
        self._writer.start()

    def stop(self) -> None:
        """Write the buffered lines, for at most a second."""
        self._flush()
        # The buffer may still be full: the number of lost lines is queued all the same.
        self._queue.put(self._loss_notice().encode())
        self._queue.put(b"")
        self._writer.join(timeout=1)

    def _loss_notice(self) -> str:
        lost = self._dropped
        return self._form(f"{lost} lines were lost: stdout was blocked") if lost else ""

    def _flush(self) -> None:
        self.write("".join(self._lines), len(self._lines))
        self._lines.clear()

    def _write(self) -> None:
        while data := self._queue.get():
            left = data
            # If stdout is closed, drop the lines. Write to the descriptor: sys.stdout's lock could block
            # interpreter shutdown.
            with suppress(OSError):
                while left:
                    left = left[os.write(1, left) :]
            with self._lock:
                self._buffered -= len(data)


class RedactingFormatter(logging.Formatter):
    """Marks the service's own lines; formats exceptions without their messages, except for its own classes.

    Messages of PostgreSQL contain rows, those of other libraries settings.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the standard library
        prefix = "session-service: " if record.name.startswith("session_service.") else ""
        return prefix + super().formatMessage(record)

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 - the name of the standard library
        assert ei[1] is not None
        return _outline(ei[1])


class JsonFormatter(RedactingFormatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return _json(moment, fields)


def log_to_stdout(*, level: int, is_json: bool) -> NonBlockingStdout:
    """Direct Python's logging to standard output; return the stream, which is not started yet."""
    log = NonBlockingStdout(_json_line if is_json else _text_line)
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter() if is_json else RedactingFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=level)
    return log


def _json_line(message: str, level: str = "warning") -> str:
    """Return a line of the log with a message of the service itself."""
    return _json(datetime.now(UTC), {"level": level, "logger": "session_service", "message": message}) + "\n"


@contextmanager
def exits_in_log_format() -> Iterator[None]:
    """With LOG_FORMAT=json, write the reason for which the process ends to standard error as one JSON object.

    It reads the variable itself, since a wrong setting may be that reason.
    """
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.code, str) or os.environ.get("LOG_FORMAT") != "json":
            raise
        for line in error.code.splitlines():
            sys.stderr.write(_json_line(line.removeprefix("session-service: "), "critical"))
        raise SystemExit(1) from None
    except Exception as error:
        if os.environ.get("LOG_FORMAT") != "json":
            raise
        sys.stderr.write(_json_line(_outline(error), "critical"))
        raise SystemExit(1) from None


def _json(moment: datetime, fields: dict[str, str]) -> str:
    time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = orjson.dumps({"time": time} | fields, default=str)
    return text.decode()


def _outline(error: BaseException) -> str:
    """Return the traces and types of an error and its causes."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    own = f": {error}" if type(error).__module__.startswith("session_service.") else ""
    trace = "".join(format_tb(error.__traceback__))
    return (f"{_outline(cause)}\n" if cause else "") + f"{trace}{type(error).__name__}{own}"
