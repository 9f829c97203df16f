"""A long load: memory, file descriptors, threads and tasks of a process over time, and whether they grow."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import linear_regression
from threading import Event

from attrs import frozen

from dev.bench import drive, measure
from dev.bench.measure import BenchError, Case
from dev.bench.stores import Stores
from dev.bench.targets import Running
from dev.reaper import ROOT

CHURN = 20
"""A connection lives for so many requests."""

_PAUSE = 10.0  # seconds between samples
_SLOPES = {"memory, MiB": 0.1, "tasks": 0.5}
"""How much a figure may grow in a minute, where that is not 0.1: memory settles, and tasks come and go."""
_PIECE = 60  # seconds after which there are fresh sessions to complete


@frozen
class Sample:
    """What a target's processes held so many minutes after the start."""

    minute: float
    memory: float  # MiB
    descriptors: int
    threads: int
    tasks: int | None  # of its event loop, if it is one of Python's


@frozen
class Growth:
    """A figure's way through a soak; the slope is per minute, after the first fifth of the time."""

    name: str
    first: float
    last: float
    peak: float
    slope: float


def make_tasks_told() -> None:
    """Have the service and the bare servers in Python write, on SIGUSR2, how many tasks they have."""
    os.environ["PYTHONPATH"] = str(ROOT / "tests" / "support" / "inside")


def soak(stores: Stores, target: Running, case: Case, minutes: float) -> list[Sample]:
    """Load a target with a case for so many minutes and return what it held every ten seconds."""
    if target.process is None or case.operation not in target.target.operations:
        raise BenchError(f"{target.target.name} does not do {case.operation}")
    samples: list[Sample] = []
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        while (left := round(begin + minutes * 60 - time.monotonic())) > 0:
            sessions = stores.prepare(target.database, case, min(left, _PIECE))
            target.forget_log()
            done = Event()
            sampled = pool.submit(_samples, target, begin, done)
            try:
                told = drive.wrk(target.url, case, sessions, seconds=min(left, _PIECE))
            except BenchError as error:
                raise BenchError(f"{target.target.name}, {case}: {error}\n{target.last_lines()}") from None
            finally:
                done.set()
            samples += sampled.result()
            line = f"{target.target.name}: of {left} s left {min(left, _PIECE)} s at {told.rate:,.0f}/s"
            print(line, file=sys.stderr, flush=True)
    return samples


def growth(samples: list[Sample]) -> list[Growth]:
    """Return how each figure went."""
    figures: dict[str, Callable[[Sample], float]] = {
        "memory, MiB": lambda sample: sample.memory,
        "file descriptors": lambda sample: sample.descriptors,
        "threads": lambda sample: sample.threads,
        "tasks": lambda sample: sample.tasks or 0,
    }
    late = [sample for sample in samples if sample.minute >= samples[-1].minute / 5]
    told = []
    for name, figure in figures.items():
        values = [figure(sample) for sample in samples]
        slope = linear_regression(
            [sample.minute for sample in late], [figure(sample) for sample in late]
        ).slope
        told.append(Growth(name, values[0], values[-1], max(values), slope))
    return told


def leaks(found: list[Growth]) -> list[str]:
    """Return the figures that grow by more in a minute than docs/promises.md lets them."""
    return [
        f"{one.name}: {one.slope:+.3f} a minute" for one in found if one.slope > _SLOPES.get(one.name, 0.1)
    ]


def _samples(target: Running, begin: float, done: Event) -> list[Sample]:
    """Return what a target held under load: not before or after it, when it has no connections."""
    samples = []
    while not done.wait(_PAUSE):
        samples.append(_sample(target, begin))
    return samples


def _sample(target: Running, begin: float) -> Sample:
    assert target.process is not None
    pid = target.process.pid
    minute = (time.monotonic() - begin) / 60
    memory = measure.memory(pid, "VmRSS")
    return Sample(minute, memory, measure.descriptors(pid), measure.threads(pid), _tasks(target, pid))


def _tasks(target: Running, pid: int) -> int | None:
    """Return how many tasks the target has; None if it is not the kind that tells."""
    if target.target.command[0] != sys.executable:
        return None
    os.kill(pid, signal.SIGUSR2)
    time.sleep(0.2)
    told = re.findall(r"^tasks: (\d+) ", target.log.read_text(errors="replace"), re.MULTILINE)
    if not told:
        raise BenchError(f"{target.target.name} did not tell its tasks")
    return int(told[-1])
