"""Deadlines: one timer for many equal timeouts, where a timer for each would cost 5 µs."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define

Item = TypeVar("Item")


@define(eq=False)
class Deadline(Generic[Item]):
    """The deadline of an item, by the loop's clock; the item is None once the deadline is met."""

    at: float
    item: Item | None
    missed: bool = False

    def meet(self) -> None:
        """Record that the item was done in time."""
        self.item = None


class Deadlines(Generic[Item]):
    """Gives each item a deadline after `seconds`; calls `missed` with each item that has missed it."""

    def __init__(self, seconds: float, missed: Callable[[Item], None]) -> None:
        self._seconds = seconds
        self._missed = missed
        # In chronological order; a deadline that was met is removed after all earlier ones.
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
        # Set before the calls of `missed`, which may raise an exception.
        self._timer = loop.call_at(self._deadlines[0].at, self._check, loop) if self._deadlines else None
        for deadline in over:
            if deadline.item is not None:
                deadline.missed = True
                self._missed(deadline.item)
