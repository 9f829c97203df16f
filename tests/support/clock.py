"""A clock of the test's own for an event loop: what waits for hours is over at once, and in order."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Lets the time pass in which the loop would sleep."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(timeout and 0)


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while a task runs, and jumps to the next timer when none does.

    It is for tasks that wait for timers and each other, not for sockets: a reply takes no time.
    """

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine as asyncio.run does, by a clock of its own that begins at 0."""
    with asyncio.Runner(loop_factory=ManualLoop) as runner:
        return runner.run(work)
