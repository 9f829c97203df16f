"""Request batching: calls that wait at the same time are processed as one batch."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from typing import Generic, TypeVar

from attrs import define

from session_service import metrics
from session_service.sessions.errors import ServiceUnavailableError
from session_service.traffic.deadlines import Deadline, Deadlines

Item = TypeVar("Item")
Result = TypeVar("Result")

QUEUE_SIZE = 1000  # calls that may be queued
QUEUE_TIMEOUT = 2.0  # seconds that a call may be queued

queued: ContextVar[float] = ContextVar("queued", default=0.0)
"""Seconds for which the calls of the current request were queued."""


@define(eq=False)
class Call(Generic[Item, Result]):
    """A queued call: its deadline, the future of its result, and the seconds until it was taken."""

    item: Item
    key: Hashable
    result: asyncio.Future[Result]
    deadline: Deadline[asyncio.Future[Result]]
    waited: float = 0.0


class Batcher(Generic[Item, Result]):
    """Processes calls in batches of up to `max_batch_size`, up to `concurrency` batches at a time.

    While fewer than `concurrency` batches are processed, a call is processed at once, in its own task and
    alone. Other calls are queued, and each batch takes those that were queued longest. Calls with the same
    key are processed one at a time, in order of arrival. With QUEUE_SIZE calls queued, or after
    QUEUE_TIMEOUT in the queue, a call fails with ServiceUnavailableError and was not processed.

    `process` takes the items of a batch and returns a result for each, or raises an error, which is then the
    result of each. After an error of `retry_singly_on`, which means that nothing was applied, it is called
    with one item at a time. Metrics have `lane` as a label.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], Awaitable[list[Result]]],
        *,
        lane: str,
        concurrency: int,
        max_batch_size: int,
        retry_singly_on: tuple[type[Exception], ...] = (),
    ) -> None:
        self._process = process
        self._lane = lane
        self._free = concurrency
        self._max_batch_size = max_batch_size
        self._retry_singly_on = retry_singly_on
        # The queued calls by key, for each key that is processed or queued.
        self._queues: dict[Hashable, deque[Call[Item, Result]]] = {}
        # The keys that are queued and not processed, in order of arrival.
        self._ready: deque[Hashable] = deque()
        self._queued = 0
        self._deadlines: Deadlines[asyncio.Future[Result]] = Deadlines(QUEUE_TIMEOUT, _reject)
        self._batches: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item, key: Hashable = None) -> Result:
        """Return the result of the item; items with the same key are processed one after the other."""
        key = key or object()
        if not self._free or key in self._queues:
            return await self._enqueue(item, key)
        self._free -= 1
        self._queues[key] = deque()
        metrics.batch_size.observe(1, self._lane)
        try:
            return (await self._process([item]))[0]
        finally:
            self._batch_done([key])

    async def _enqueue(self, item: Item, key: Hashable) -> Result:
        if self._queued >= QUEUE_SIZE:
            raise ServiceUnavailableError("not_applied", reason="queue_full")
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if key not in self._queues:
            self._queues[key] = deque()
            self._ready.append(key)
        call = Call(item, key, result, self._deadlines.begin(result))
        self._queues[key].append(call)
        self._queued += 1
        try:
            return await result
        finally:
            queued.set(queued.get() + (call.waited or QUEUE_TIMEOUT))

    def _batch_done(self, keys: list[Hashable]) -> None:
        """Start the next batches, with the calls that were queued behind the keys at the end."""
        self._free += 1
        for key in keys:
            if self._queues[key]:
                self._ready.append(key)
            else:
                del self._queues[key]
        while self._free and (batch := self._next_batch()):
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    def _next_batch(self) -> list[Call[Item, Result]]:
        """Take the calls of a batch out of the queues; drop those whose result is no longer awaited."""
        batch: list[Call[Item, Result]] = []
        now = asyncio.get_running_loop().time()
        while self._ready and len(batch) < self._max_batch_size:
            key = self._ready.popleft()
            queue = self._queues[key]
            while queue:
                call = queue.popleft()
                self._queued -= 1
                call.deadline.meet()
                if not call.result.done():
                    call.waited = now - call.deadline.at + QUEUE_TIMEOUT
                    metrics.queue_seconds.observe(call.waited, self._lane)
                    batch.append(call)
                    break
            else:
                del self._queues[key]
        if batch:
            metrics.batch_size.observe(len(batch), self._lane)
        return batch

    async def _run(self, batch: list[Call[Item, Result]]) -> None:
        try:
            await self._process_batch(batch)
        except self._retry_singly_on:
            for call in batch:
                await self._process_batch([call])
        finally:
            for call in batch:
                # Has an effect only if the service stops during the batch.
                call.result.cancel()
            self._batch_done([call.key for call in batch])

    async def _process_batch(self, batch: list[Call[Item, Result]]) -> None:
        try:
            results = await self._process([call.item for call in batch])
        except Exception as error:
            if len(batch) > 1 and isinstance(error, self._retry_singly_on):
                raise
            for call in batch:
                _fail(call.result, error)
        else:
            for call, result in zip(batch, results, strict=True):
                if not call.result.done():
                    call.result.set_result(result)


def _reject(result: asyncio.Future[Result]) -> None:
    _fail(result, ServiceUnavailableError("not_applied", reason="queue_timeout"))


def _fail(result: asyncio.Future[Result], error: Exception) -> None:
    if not result.done():
        result.set_exception(error)
