"""What Python runs first where this folder is on its path: it has a service tell how many tasks it has.

`OPEN_FILES` is how many files it may open, `ALL_FILES` how many it may let itself open.
"""

import asyncio
import os
import resource
import signal


def tell(*_: object) -> None:
    """Write the number of the loop's tasks to the log."""
    os.write(1, b"tasks: %d\n" % len(asyncio.all_tasks(asyncio.get_running_loop())))


signal.signal(signal.SIGUSR2, tell)
if limit := int(os.environ.get("OPEN_FILES", "0")):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, int(os.environ.get("ALL_FILES", limit))))
