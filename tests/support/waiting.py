"""Waiting for a state: polls a condition until it holds.

The limit only bounds a failure and asserts no speed: a working service is much faster, also on a busy
machine. A mutation run has a shorter one (TEST_LIMIT): it is expected to fail.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import TypeVar

import psutil

LIMIT = float(os.environ.get("TEST_LIMIT", "60"))  # seconds
INTERVAL = 0.02  # seconds between two polls

T = TypeVar("T")


def eventually(condition: Callable[[], T], show: Callable[[], object] = str) -> T:
    """Return the first true value of the condition; after `LIMIT` fail with the result of `show`."""
    end = time.monotonic() + LIMIT
    while not (value := condition()):
        assert time.monotonic() < end, show()
        time.sleep(INTERVAL)
    return value


async def eventually_async(condition: Callable[[], object], show: Callable[[], object] = str) -> None:
    """Wait like `eventually`, without blocking the event loop; the condition may be asynchronous."""
    end = time.monotonic() + LIMIT
    while True:
        value = condition()
        if await value if isawaitable(value) else value:
            return
        assert time.monotonic() < end, show()
        await asyncio.sleep(INTERVAL)


def await_ends(processes: Iterable[psutil.Process]) -> None:
    """Wait until all processes have ended; fail if one still runs after `LIMIT`."""
    assert psutil.wait_procs(list(processes), timeout=LIMIT)[1] == []
