"""Loads every processor: `python -m tests.support.burner -- command …` runs a command beside the load.

bin/test --busy runs the tests beside the same load.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PER_PROCESSOR = 2  # processes of the load
SECONDS = 7200  # after these, a process of the load ends by itself

# A process of the load also ends with the process that has started it.
_SPIN = """
import os, sys, time
parent, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while os.getppid() == parent and time.monotonic() < end:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def cpu_load(count: int = 0) -> Iterator[None]:
    """Run `count` spinning processes until the end of the block, by default `PER_PROCESSOR` each."""
    command = [sys.executable, "-S", "-c", _SPIN, str(os.getpid()), str(SECONDS)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL)
        for _ in range(count or PER_PROCESSOR * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Run the command that is given beside the load, and exit with its status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.burner", description="Run a command under load."
    )
    parser.add_argument("--processes", type=int, default=0, help=f"{PER_PROCESSOR} a processor if left out")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    with cpu_load(options.processes):
        status = subprocess.run(options.command, check=False).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
