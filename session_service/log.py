"""A line for each request, written by a thread of its own: a slow reader of the log holds up no request."""

import asyncio
import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

_PAUSE = 0.01  # seconds in which lines gather before they are written together
_ROOM = 1000  # such gatherings that wait for a reader who has stopped reading


class AccessLog:
    """Standard output as the place for lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._lost = 0
        self._waiting: SimpleQueue[str] = SimpleQueue()
        self._writer = Thread(target=self._write, name="access log", daemon=True)

    def add(self, line: str) -> None:
        """Have the line written soon; if there is no room for it, how many were lost is written later."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_PAUSE, self._hand_over)
        self._lines.append(line)

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def stop(self) -> None:
        """Write what is there, unless that takes longer than a second."""
        self._hand_over()
        self._waiting.put("")
        self._writer.join(timeout=1)

    def _hand_over(self) -> None:
        if self._waiting.qsize() < _ROOM:
            lost = f"[session-service] {self._lost} lines were lost: nobody read them\n" if self._lost else ""
            self._waiting.put(lost + "".join(self._lines))
            self._lost = 0
        else:
            self._lost += len(self._lines)
        self._lines.clear()

    def _write(self) -> None:
        while text := self._waiting.get():
            left = text.encode()
            # Without a reader the lines go nowhere, and the service goes on. sys.stdout has a lock for which
            # the interpreter would wait at the end.
            with suppress(OSError):
                while left:
                    left = left[os.write(1, left) :]
