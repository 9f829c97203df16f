"""Deadlines: one timer for many equal timeouts, where a timer for each would cost 5 µs."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define

Item = TypeVar("Item")


@define(eq=False)
class Deadline(Generic[Item]):
    """The deadline of an item, by the loop's clock; without an item it was met or missed."""

    at: float
    item: Item | None
    missed: bool = False

    def meet(self) -> None:
        """Note that the item is done in time."""
        self.item = None


class Deadlines(Generic[Item]):
    """Gives each item so many seconds, and calls `missed` with each that is not done by then."""

    def __init__(self, seconds: float, missed: Callable[[Item], None]) -> None:
        self._seconds = seconds
        self._missed = missed
        # In the order in which they end; a deadline that was met is removed once all before it are.
        self._deadlines: deque[Deadline[Item]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, item: Item) -> Deadline[Item]:
        """Start and return the deadline of an item."""
        loop = asyncio.get_running_loop()
        deadline = Deadline(loop.time() + self._seconds, item)
        while self._deadlines and self._deadlines[0].item is None:
            self._deadlines.popleft()
        self._deadlines.append(deadline)
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._check, loop)
        return deadline

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        over = []
        while self._deadlines and (self._deadlines[0].at <= now or self._deadlines[0].item is None):
            over.append(self._deadlines.popleft())
        # Set before `missed` is called, which may fail.
        self._timer = loop.call_at(self._deadlines[0].at, self._check, loop) if self._deadlines else None
        for deadline in over:
            if deadline.item is not None:
                deadline.missed = True
                self._missed(deadline.item)
