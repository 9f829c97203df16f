"""Calls that wait at the same time travel together: a lane carries whatever waits as one batch."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from attrs import define

from session_service.sessions.errors import ServiceUnavailableError
from session_service.traffic.deadlines import Deadline, Deadlines

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 2.0  # seconds that a call waits for its turn


@define(eq=False)
class Waiting(Generic[Item, Result]):
    """A call that waits for its turn, until a deadline, and then for what comes of it."""

    item: Item
    key: Hashable
    result: asyncio.Future[Result]
    turn: Deadline[asyncio.Future[Result]]


class Lane(Generic[Item, Result]):
    """Carries calls in batches of up to `size`, up to `places` batches at a time.

    A call that finds a place free goes at once, in its own task and alone. The others wait, and whenever a
    batch arrives the next is made of those that have waited longest. Of calls with the same key one is
    under way at a time, in the order in which they came. With `room` calls waiting, or after `PATIENCE`, a
    call fails with ServiceUnavailableError and has not been carried.

    `carry` takes the items of a batch and returns a result for each, or raises what each of them then
    raises; but after an error of `apart`, which says that nothing was done, it is given them one by one.
    """

    def __init__(
        self,
        carry: Callable[[list[Item]], Awaitable[list[Result]]],
        *,
        places: int,
        size: int,
        room: int = 1000,
        apart: tuple[type[Exception], ...] = (),
    ) -> None:
        self._carry = carry
        self._free = places
        self._size = size
        self._room = room
        self._apart = apart
        # Behind each key that is under way or waiting: the calls that wait with it.
        self._behind: dict[Hashable, deque[Waiting[Item, Result]]] = {}
        # The keys that wait and are not under way, the longest first.
        self._ready: deque[Hashable] = deque()
        self._waiting = 0
        self._turns: Deadlines[asyncio.Future[Result]] = Deadlines(PATIENCE, _refuse)
        self._batches: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item, key: Hashable = None) -> Result:
        """Return what comes of the item; without a key it has one to itself."""
        key = key or object()
        if not self._free or key in self._behind:
            return await self._wait(item, key)
        self._free -= 1
        self._behind[key] = deque()
        try:
            return (await self._carry([item]))[0]
        finally:
            self._arrive([key])

    async def _wait(self, item: Item, key: Hashable) -> Result:
        if self._waiting >= self._room:
            raise ServiceUnavailableError("not_applied")
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if key not in self._behind:
            self._behind[key] = deque()
            self._ready.append(key)
        self._behind[key].append(Waiting(item, key, result, self._turns.begin(result)))
        self._waiting += 1
        return await result

    def _arrive(self, keys: list[Hashable]) -> None:
        """Make room for the next batches, behind those that have just arrived."""
        self._free += 1
        for key in keys:
            if self._behind[key]:
                self._ready.append(key)
            else:
                del self._behind[key]
        while self._free and (batch := self._next()):
            self._free -= 1
            task = asyncio.create_task(self._carry_all(batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    def _next(self) -> list[Waiting[Item, Result]]:
        """Take the calls of a batch; those that were given up are left out."""
        batch: list[Waiting[Item, Result]] = []
        while self._ready and len(batch) < self._size:
            key = self._ready.popleft()
            behind = self._behind[key]
            while behind:
                call = behind.popleft()
                self._waiting -= 1
                call.turn.meet()
                if not call.result.done():
                    batch.append(call)
                    break
            else:
                del self._behind[key]
        return batch

    async def _carry_all(self, batch: list[Waiting[Item, Result]]) -> None:
        try:
            await self._try(batch)
        except self._apart:
            for call in batch:
                await self._try([call])
        finally:
            for call in batch:
                # Only if the service ends in the middle of it.
                call.result.cancel()
            self._arrive([call.key for call in batch])

    async def _try(self, batch: list[Waiting[Item, Result]]) -> None:
        try:
            results = await self._carry([call.item for call in batch])
        except Exception as error:
            if len(batch) > 1 and isinstance(error, self._apart):
                raise
            for call in batch:
                _fail(call.result, error)
        else:
            for call, result in zip(batch, results, strict=True):
                if not call.result.done():
                    call.result.set_result(result)


def _refuse(result: asyncio.Future[Result]) -> None:
    _fail(result, ServiceUnavailableError("not_applied"))


def _fail(result: asyncio.Future[Result], error: Exception) -> None:
    if not result.done():
        result.set_exception(error)
