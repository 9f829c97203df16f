"""What Python runs first where this folder is on its path: on SIGUSR2 a service reports its tasks.

The report is a line of the log, `tasks: <how many> <in which function how many, as JSON>`.
`OPEN_FILES` is how many files it may open, `ALL_FILES` how many it may let itself open.
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
    """Write to the log where the loop's tasks are."""
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
