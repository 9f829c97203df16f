"""Waiting for a state: polls a condition until it holds.

The limit is the bound of a failure, never an assertion on speed: a service in order is done long before it,
on a machine however busy.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import TypeVar

import psutil

LIMIT = 60.0  # seconds
INTERVAL = 0.02  # seconds between two looks

T = TypeVar("T")


def eventually(condition: Callable[[], T], show: Callable[[], object] = str) -> T:
    """Return the first true value of the condition; after `LIMIT` fail with what `show` returns."""
    end = time.monotonic() + LIMIT
    while not (value := condition()):
        assert time.monotonic() < end, show()
        time.sleep(INTERVAL)
    return value


async def eventually_async(condition: Callable[[], object], show: Callable[[], object] = str) -> None:
    """Wait as `eventually` does, beside the loop's other tasks; the condition may be asynchronous."""
    end = time.monotonic() + LIMIT
    while True:
        value = condition()
        if await value if isawaitable(value) else value:
            return
        assert time.monotonic() < end, show()
        await asyncio.sleep(INTERVAL)


def await_ends(processes: Iterable[psutil.Process]) -> None:
    """Wait until all the processes have ended; raise AssertionError if one runs on after `LIMIT`."""
    assert psutil.wait_procs(list(processes), timeout=LIMIT)[1] == []
