"""Reports the tasks of a service on SIGUSR2; Python runs this module first if its folder is on the path.

The report is a line of the log, `tasks: <count> <counts by function, as JSON>`.
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
    places = Counter(name for task in tasks for name in set(_functions(task.get_coro())))
    os.write(1, f"tasks: {len(tasks)} {json.dumps(places)}\n".encode())


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
