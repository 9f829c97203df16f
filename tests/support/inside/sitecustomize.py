"""Reports the tasks of a service on SIGUSR2; Python runs this module first if its folder is on the path.

The report is a line of the log, `tasks: <count> <counts by function, as JSON>`. The requests that wait in a
batcher have a count of their own, "queued request": the sweeper and the sequencer wait in one, too.
`OPEN_FILES` is the soft limit on open files, `ALL_FILES` the hard limit.
"""

import asyncio
import json
import os
import resource
import signal
from collections import Counter
from collections.abc import Coroutine, Generator
from typing import Any


def report(*_: object) -> None:
    """Log the number of tasks of the event loop, by function."""
    tasks = asyncio.all_tasks(asyncio.get_running_loop())
    places = Counter(name for task in tasks for name in _places(task.get_coro()))
    os.write(1, f"tasks: {len(tasks)} {json.dumps(places)}\n".encode())


def _places(coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any] | None) -> set[str]:
    """Return the names of the functions that the coroutine is in."""
    names = set(_functions(coroutine))
    return names | {"queued request"} if names >= {"Endpoint.handle", "Batcher._enqueue"} else names


def _functions(coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any] | None) -> list[str]:
    """Return the names of the coroutine and of those that it awaits, the outermost first."""
    names = []
    awaited: Any = coroutine
    while code := getattr(awaited, "cr_code", None):
        names.append(code.co_qualname)
        awaited = awaited.cr_await
    return names


signal.signal(signal.SIGUSR2, report)
if limit := int(os.environ.get("OPEN_FILES", "0")):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, int(os.environ.get("ALL_FILES", limit))))
