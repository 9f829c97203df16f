"""Task group: runs connections and requests instead of Hypercorn's own task group; Hypercorn's settings."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from time import time
from typing import Any

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from starlette.types import Message, Scope

from session_service.server.connections import CLOSE, ServedApplication, early_error_response

MAX_QUEUED_CHUNKS = 10  # body chunks of a request that wait for the application (back pressure)

Put = Callable[[Any], Awaitable[None]]


class Settings(Config):
    """Hypercorn's settings; adds `Connection: close` to responses during graceful shutdown."""

    include_server_header = False
    errorlog = logging.getLogger("hypercorn.error")
    is_shutting_down = False
    _date_second = 0

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return the server's own headers; the date is formatted once per second."""
        if self._date_second != int(time()):
            self._date_second = int(time())
            self._date = super().response_headers(protocol)
        return [*self._date, CLOSE] if self.is_shutting_down else self._date


class TaskGroup:
    """Runs the tasks of connections and requests, and waits for them at shutdown."""

    def __init__(self, app: ServedApplication) -> None:
        self.app = app
        self.settings = Settings()
        self.context = WorkerContext(None)
        self._tasks: set[asyncio.Task[None]] = set()

    def early_error_response(self, status: int) -> bytes:
        """Return an encoded error response that ends its connection."""
        return early_error_response(self.app, status, self.settings.response_headers("h11"))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine as a task of the group."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def spawn_app(self, app: ServedApplication, _: Config, scope: Scope, send: Put) -> Put:
        """Run the application for a request; return the function that queues its ASGI messages."""
        queue = ReceiveQueue()
        self.spawn(_run_app(app(scope, queue.get, send), send))
        return queue.put

    async def wait(self, seconds: float) -> None:
        """Wait until every task is done, for at most `seconds`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def cancel(self) -> None:
        """Cancel the tasks that are not done."""
        for task in self._tasks:
            task.cancel()


class ReceiveQueue:
    """Bounded queue of the ASGI messages of a request, with back pressure on its client.

    `http.disconnect` is queued without waiting: in Hypercorn's own queue it would wait for an application
    that reads no more.
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._is_disconnected = False
        self._changed = asyncio.Event()

    async def put(self, message: Message) -> None:
        """Add a message, then wait while the queue is full."""
        self._messages.append(message)
        self._is_disconnected = self._is_disconnected or message["type"] == "http.disconnect"
        self._changed.set()
        while len(self._messages) > MAX_QUEUED_CHUNKS and not self._is_disconnected:
            self._changed.clear()
            await self._changed.wait()

    async def get(self) -> Message:
        """Return the next message; repeat `http.disconnect`, which is the last, for each later call."""
        while not self._messages:
            self._changed.clear()
            await self._changed.wait()
        self._changed.set()
        is_last = self._messages[0]["type"] == "http.disconnect"
        return self._messages[0] if is_last else self._messages.popleft()


async def _run_app(running: Awaitable[None], send: Put) -> None:
    try:
        await running
    finally:
        # For Hypercorn, None means that the application has returned.
        await send(None)
