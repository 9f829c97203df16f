"""What Hypercorn has under way: its settings, the connections' tasks, and the application at its requests."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from time import time
from typing import Any

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from starlette.types import Message, Scope

from session_service.server.connections import CLOSE, Application, early_error_response

MAX_QUEUED_CHUNKS = 10  # pieces of a body that may wait for the application

Put = Callable[[Any], Awaitable[None]]


class Settings(Config):
    """Hypercorn's settings, with a word to clients that the connection ends when the service does."""

    include_server_header = False
    errorlog = logging.getLogger("hypercorn.error")
    ending = False
    _made = 0

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return the date, which is made once in a second, and that word."""
        if self._made != int(time()):
            self._made = int(time())
            self._date = super().response_headers(protocol)
        return [*self._date, CLOSE] if self.ending else self._date


class TaskGroup:
    """The application, and every task that serves with it."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.settings = Settings()
        self.context = WorkerContext(None)
        self._tasks: set[asyncio.Task[None]] = set()

    def early_error_response(self, status: int) -> bytes:
        """Return what a refused client is told."""
        return early_error_response(self.app, status, self.settings.response_headers("h11"))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the work done."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def spawn_app(self, app: Application, _: Config, scope: Scope, send: Put) -> Put:
        """Have a request answered, as Hypercorn's own groups of tasks do; return where its messages go."""
        inbox = ReceiveQueue()
        self.spawn(_run_app(app(scope, inbox.get, send), send))
        return inbox.put

    async def end(self, seconds: float) -> None:
        """Wait until everything is done, but no longer than so many seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def cancel(self) -> None:
        """Give up what is not done."""
        for task in self._tasks:
            task.cancel()


class ReceiveQueue:
    """What has come of a request for the application; the word that its client is gone always finds room.

    In Hypercorn's own queue it may have to wait for one who reads no more.
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._is_over = False
        self._changed = asyncio.Event()

    async def put(self, message: Message) -> None:
        """Add a message, and wait until there is room for the next."""
        self._messages.append(message)
        self._is_over = self._is_over or message["type"] == "http.disconnect"
        self._changed.set()
        while len(self._messages) > MAX_QUEUED_CHUNKS and not self._is_over:
            self._changed.clear()
            await self._changed.wait()

    async def get(self) -> Message:
        """Return the next message; the last one is that the client is gone, as often as it is asked for."""
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
        # Hypercorn's sign that nothing more comes.
        await send(None)
