"""What is measured: CPU and memory of a process with its children, and the medians over the rounds."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median

from attrs import frozen

OPERATIONS = ("get hit", "get miss", "put", "patch", "start", "complete", "mix")

OURS = "hypercorn"
"""The target that the others' CPU is compared with."""

BEFORE = " before"
"""The end of the name of a target that runs another checkout; the target without it is compared with it."""

SAVES = "pgbench 16"
"""The target whose rate the others' saves are compared with."""

_TICKS = os.sysconf("SC_CLK_TCK")  # in a second
_MIB = 1024  # KiB


class BenchError(Exception):
    """The run is worth nothing; the text says why."""


@frozen
class Case:
    """What is asked of a target: `rate` in requests/s, 0 for as many as it answers.

    With `churn` a connection ends after every so many requests, and there is a new one.
    """

    operation: str
    connections: int
    stored: int = 10_000
    answers: int = 20
    rate: int = 0
    churn: int = 0

    def __str__(self) -> str:
        pace = f" at {self.rate:,}/s" if self.rate else ""
        stored = f"{self.stored:,} sessions of {self.answers} answers"
        churn = f", one of {self.churn} the last of its connection" if self.churn else ""
        return f"{self.operation}{pace}, {self.connections} connections{churn}, {stored}"


@frozen
class Measurement:
    """One target in one case and round; None is what a target does not have."""

    target: str
    case: Case
    round: int
    rate: float  # replies/s
    cpu: float | None  # microseconds of all its processes for each request
    postgres: float | None  # microseconds of all processes of PostgreSQL for each request
    p50: float  # milliseconds
    p99: float  # milliseconds
    memory: float | None  # MiB, the sum of the processes' peaks


@frozen
class Row:
    """A target's medians in a case; ratios are taken within a round first."""

    target: str
    rate: float
    cpu: float | None
    cpu_ratio: float | None
    postgres: float | None
    postgres_ratio: float | None
    p50: float
    p99: float
    memory: float | None
    of_saves: float | None


def rows(measurements: Iterable[Measurement]) -> dict[Case, list[Row]]:
    """Return the table of each case, both in the order in which they were measured."""
    tables: dict[Case, dict[str, list[Measurement]]] = {}
    for one in measurements:
        tables.setdefault(one.case, {}).setdefault(one.target, []).append(one)
    return {case: [_row(name, targets) for name in targets] for case, targets in tables.items()}


def cpu_seconds(pid: int) -> float:
    """Return the user and system time in seconds of a process and its children, ended ones too."""
    return sum(sum(map(int, fields[11:15])) for fields in _family(pid).values()) / _TICKS


def settle(*pids: int) -> list[float]:
    """Wait until processes and their children have nothing to do; return the CPU time of each in seconds."""
    end = time.monotonic() + 60
    spent = [cpu_seconds(pid) for pid in pids]
    while time.monotonic() < end:
        time.sleep(0.1)
        before, spent = spent, [cpu_seconds(pid) for pid in pids]
        if sum(spent) - sum(before) < 2 / _TICKS:
            return spent
    raise BenchError(f"a process of {pids} is still at work 60 seconds after the last request")


def forget_peak(pid: int) -> None:
    """Let the peak memory of a process and its children begin anew."""
    for member in _family(pid):
        with suppress(OSError):
            Path(f"/proc/{member}/clear_refs").write_text("5")


def memory(pid: int, field: str) -> float:
    """Return VmRSS or VmHWM, in MiB, summed over a process and its children."""
    total = 0
    for member in _family(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return total / _MIB


def threads(pid: int) -> int:
    """Return the number of threads of a process and its children."""
    return sum(int(fields[17]) for fields in _family(pid).values())


def descriptors(pid: int) -> int:
    """Return the number of open file descriptors of a process and its children."""
    total = 0
    for member in _family(pid):
        with suppress(OSError):
            total += len(list(Path(f"/proc/{member}/fd").iterdir()))
    return total


def _row(name: str, targets: dict[str, list[Measurement]]) -> Row:
    own = targets[name]
    saves = targets.get(SAVES, [])
    base = _pairs(own, targets.get(name + BEFORE) or targets.get(OURS, []))
    return Row(
        target=name,
        rate=median(one.rate for one in own),
        cpu=_median(one.cpu for one in own),
        cpu_ratio=_median(_ratio(one.cpu, other.cpu) for one, other in base),
        postgres=_median(one.postgres for one in own),
        postgres_ratio=_median(_ratio(one.postgres, other.postgres) for one, other in base),
        p50=median(one.p50 for one in own),
        p99=median(one.p99 for one in own),
        memory=_median(one.memory for one in own),
        of_saves=_median(_ratio(one.rate, other.rate) for one, other in _pairs(own, saves)),
    )


def _pairs(own: list[Measurement], others: list[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Return what was measured in the same round."""
    return [(one, other) for one in own for other in others if one.round == other.round]


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _family(pid: int) -> dict[int, list[str]]:
    """Return the fields of /proc/*/stat, from the state on, of a process and all that descend from it."""
    stats = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stats[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
    if pid not in stats:
        raise BenchError(f"process {pid} has ended")
    family = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        family[parent] = stats[parent]
        waiting += [child for child, fields in stats.items() if int(fields[1]) == parent]
    return family
