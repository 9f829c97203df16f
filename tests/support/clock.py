"""A simulated clock for an event loop: timers of hours fire at once, in their order."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Advances the simulated time instead of sleeping."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(timeout and 0)


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stops while a task runs, and jumps to the next timer when all tasks wait.

    It suits tasks that wait for timers and for each other, but not for sockets: a response takes no time.
    """

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine like asyncio.run, with a simulated clock that starts at 0."""
    with asyncio.Runner(loop_factory=ManualLoop) as runner:
        return runner.run(work)
