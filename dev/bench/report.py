"""What a run prints, as Markdown, and what it leaves as JSON."""

import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import asdict

from dev.bench.measure import SAVES, Measurement, rows
from dev.bench.overload import Load
from dev.bench.soak import Growth, Sample
from dev.bench.stores import Stores

_PACKAGES = (
    "hypercorn",
    "uvicorn",
    "granian",
    "uvloop",
    "httptools",
    "starlette",
    "psycopg",
    "redis",
    "hiredis",
    "fastapi",
    "pydantic",
    "sqlalchemy",
    "asyncpg",
)
_PROGRAMS = ("wrk", "node", "pgbench")
_HEAD = [
    "",
    "requests/s",
    "CPU µs/request",
    "CPU ratio",
    "PostgreSQL µs/request",
    "PostgreSQL ratio",
    "p50 ms",
    "p99 ms",
    "memory MiB",
    f"of {SAVES}",
]


def machine(stores: Stores) -> dict[str, Any]:
    """Return what the figures depend on: the machine, its load, and the versions of all that ran."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "versions": stores.versions() | _packages() | _programs(),
    }


def summary(facts: dict[str, Any]) -> str:
    """Return the facts about the machine in one line."""
    load = facts["load_average"][0]
    return f"{facts['cores']} cores, load {load:.2f} before, Python {facts['python']}, {facts['system']}"


def tables(measurements: list[Measurement]) -> str:
    """Return a table for each case: the medians over the rounds."""
    parts = []
    for case, found in rows(measurements).items():
        lines = [
            [
                row.target,
                f"{row.rate:,.0f}",
                _number(row.cpu, ",.0f"),
                _number(row.cpu_ratio, ".2f"),
                _number(row.postgres, ",.0f"),
                _number(row.postgres_ratio, ".2f"),
                f"{row.p50:,.1f}",
                f"{row.p99:,.1f}",
                _number(row.memory, ",.0f"),
                _number(row.of_saves, ".2f"),
            ]
            for row in found
        ]
        parts.append(f"### {case}\n\n{_table(_filled([_HEAD, *lines]))}")
    return "\n\n".join(parts)


def growths(target: str, found: list[Growth]) -> str:
    """Return the table of a soak."""
    lines = [
        [one.name, f"{one.first:,.1f}", f"{one.last:,.1f}", f"{one.peak:,.1f}", f"{one.slope:+,.3f}"]
        for one in found
    ]
    return f"### {target}\n\n{_table([['', 'first', 'last', 'peak', 'slope/minute'], *lines])}"


def overloads(found: list[Load]) -> str:
    """Return the table of targets under more and more load."""
    head = [
        "",
        "load",
        "refused clients",
        "offered/s",
        "good/s",
        "refused/s",
        "broken",
        "good/CPU s",
        "of the best",
    ]
    lines = [
        [
            one.target,
            f"{one.offer.share:.1f}",
            "wait" if one.offer.patient else "do not wait",
            *(f"{value:,.0f}" for value in (one.offer.rate, one.good, one.refused, one.broken, one.per_cpu)),
            f"{one.ratio:.2f}",
            f"{one.back:.2f}",
            f"{one.probes}",
            f"{one.failed}",
            f"{one.slowest:,.0f}",
        ]
        for one in found
    ]
    return _table([[*head, "normal after s", "/health asked", "not 200", "slowest ms"], *lines])


def write_measurements(path: Path, facts: dict[str, Any], measurements: list[Measurement]) -> None:
    """Write every measurement and the medians as JSON."""
    medians = [
        {"case": asdict(case), "rows": [asdict(row) for row in found]}
        for case, found in rows(measurements).items()
    ]
    told = {"machine": facts, "medians": medians, "measurements": [asdict(one) for one in measurements]}
    path.write_text(json.dumps(told, indent=1) + "\n")


def write_overloads(path: Path, facts: dict[str, Any], found: list[Load]) -> None:
    """Write all that was seen of targets under too much load as JSON."""
    told = {"machine": facts, "overloads": [asdict(one) for one in found]}
    path.write_text(json.dumps(told, indent=1) + "\n")


def write_samples(path: Path, facts: dict[str, Any], soaks: dict[str, list[Sample]]) -> None:
    """Write every sample of the soaks as JSON."""
    samples = {target: [asdict(sample) for sample in found] for target, found in soaks.items()}
    path.write_text(json.dumps({"machine": facts, "soaks": samples}, indent=1) + "\n")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _filled(lines: list[list[str]]) -> list[list[str]]:
    """Return the lines without the columns in which there is nothing but the head."""
    kept = [n for n in range(len(lines[0])) if any(line[n] for line in lines[1:])]
    return [[line[n] for n in kept] for line in lines]


def _table(lines: list[list[str]]) -> str:
    """Return Markdown whose columns are aligned: names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _programs() -> dict[str, str]:
    """Return the first line of what each program that there is says of its version."""
    found = {}
    for name in _PROGRAMS:
        try:
            told = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        found[name] = told.stdout.partition("\n")[0]
    return found
