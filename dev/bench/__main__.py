"""Starts the service and what it is compared with, drives them in turn and tells what they cost."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from dev.bench import picture, report
from dev.bench.measure import OPERATIONS, BenchError, Case, rows
from dev.bench.overload import CAPACITY, overload, shortfalls
from dev.bench.rounds import Bench
from dev.bench.soak import CHURN, growth, leaks, make_tasks_told, soak
from dev.bench.stores import Stores
from dev.bench.targets import TARGETS, Target, before, missing, running
from dev.reaper import servers
from dev.servers import EmbeddedError
from tests.support.service import folder as private_folder


def main() -> None:
    """Run what the arguments ask for.

    Exit with 1 if a reply was an error or a bound was missed, with 2 if there is no wrk.
    """
    wanted = _arguments()
    if shutil.which("wrk") is None:
        print("bench: wrk is needed (on Debian: apt-get install wrk)", file=sys.stderr)
        sys.exit(2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        with ExitStack() as stack:
            _run(wanted, stack)
    except (BenchError, EmbeddedError) as error:
        sys.exit(f"bench: {error}")


def _run(wanted: argparse.Namespace, stack: ExitStack) -> None:
    base = stack.enter_context(private_folder())
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="session-service-bench-")))
    stores = Stores(stack.enter_context(servers(base)), folder)
    facts = report.machine(stores)
    if wanted.soak:
        make_tasks_told()
    started = [stack.enter_context(running(target, stores, folder)) for target in _targets(wanted)]
    bench = Bench(stores, started, wanted.seconds or 3, folder)
    if wanted.soak:
        _soak(bench, wanted, facts)
        return
    if wanted.overload:
        _overload(bench, wanted, facts)
        return
    cases = _cases(wanted)
    if wanted.latency:
        cases = [bench.half_load(case) for case in cases]
    measurements = bench.interleaved(cases, wanted.rounds or (7 if wanted.latency else 3))
    print(f"{report.summary(facts)}\n\n{report.tables(measurements)}")
    if wanted.picture:
        wanted.picture.write_text(picture.draw(rows(measurements)))
    if wanted.results:
        report.write_measurements(wanted.results, facts, measurements)


def _soak(bench: Bench, wanted: argparse.Namespace, facts: dict[str, object]) -> None:
    case = bench.half_load(Case("mix", wanted.connections[0], churn=CHURN))
    soaks, leaking = {}, []
    for target in bench.started:
        samples = soak(bench.stores, target, case, wanted.soak)
        soaks[target.target.name] = samples
        found = growth(samples)
        print(report.growths(target.target.name, found), flush=True)
        # What is warming up grows in any shorter time.
        if wanted.soak >= 10:
            leaking += [f"{target.target.name}: {leak}" for leak in leaks(found)]
    if wanted.results:
        report.write_samples(wanted.results, facts, soaks)
    if leaking:
        raise BenchError("; ".join(leaking))


def _overload(bench: Bench, wanted: argparse.Namespace, facts: dict[str, object]) -> None:
    found = []
    for _ in range(wanted.rounds or 1):
        peaks = bench.interleaved([CAPACITY], 1)
        for target, peak in zip(bench.started, peaks, strict=True):
            sessions = bench.stores.prepare(target.database, CAPACITY, wanted.overload)
            found += overload(target, peak.rate, sessions, wanted.overload)
            target.forget_log()
    print(f"{report.summary(facts)}\n\n{report.overloads(found)}")
    if wanted.results:
        report.write_overloads(wanted.results, facts, found)
    if short := shortfalls(found):
        raise BenchError("; ".join(short))


def _targets(wanted: argparse.Namespace) -> list[Target]:
    """Return the targets that are asked for and can run here; tell which cannot."""
    names = wanted.targets or (("hypercorn", "uvicorn") if wanted.before else _usual(wanted))
    found = []
    for target in TARGETS:
        if target.name in names and (lacking := missing(target)):
            print(f"NOT RUN: {target.name}, which needs {lacking}", file=sys.stderr)
        elif target.name in names:
            found += [before(target, wanted.before)] if wanted.before else []
            found.append(target)
    return found


def _usual(wanted: argparse.Namespace) -> tuple[str, ...]:
    if wanted.latency:
        return ("hypercorn", "uvicorn", "fastapi", "express")
    if wanted.stored or wanted.answers or wanted.overload:
        return ("hypercorn", "uvicorn")
    return ("hypercorn",) if wanted.soak else tuple(target.name for target in TARGETS)


def _cases(wanted: argparse.Namespace) -> list[Case]:
    operations = wanted.operations or (("mix",) if wanted.latency else OPERATIONS)
    return [
        Case(operation, connections, stored, answers)
        for stored in wanted.stored or [10_000]
        for answers in wanted.answers or [20]
        for operation in operations
        for connections in wanted.connections
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__)
    names = tuple(target.name for target in TARGETS)
    parser.add_argument("--targets", type=_some(names), help=", ".join(names))
    parser.add_argument("--operations", type=_some(OPERATIONS), help=", ".join(OPERATIONS))
    parser.add_argument("--connections", type=_counts, default=[32], help="as 1,32,256 (32 if left out)")
    parser.add_argument("--rounds", type=_count, help="3 if left out, 7 with --latency")
    parser.add_argument("--seconds", type=_count, help="of each measurement (3 if left out)")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="compare the service with that of another checkout"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the CPU for each request, as SVG")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write everything measured, as JSON")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--latency", action="store_true", help="at half the peak of the slowest target")
    modes.add_argument("--stored", type=_counts, metavar="1000,100000", help="with so many sessions")
    modes.add_argument("--answers", type=_counts, metavar="10,100,500", help="with so many in each session")
    modes.add_argument(
        "--overload",
        type=_count,
        metavar="SECONDS",
        help="up to four times what it can take, for so long each",
    )
    modes.add_argument(
        "--soak", type=_minutes, metavar="MINUTES", help="look for growth under a long mix, at half the peak"
    )
    wanted = parser.parse_args()
    if wanted.soak and (wanted.operations or wanted.rounds or wanted.seconds or wanted.picture):
        parser.error("--soak goes with --targets, --connections and --results only")
    return wanted


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _minutes(text: str) -> float:
    """Return the minutes; less than half of one has too few samples for a slope."""
    if float(text) < 0.5:
        raise argparse.ArgumentTypeError("half a minute is the least")
    return float(text)


def _some(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    def chosen(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}")
        return wanted

    return chosen


if __name__ == "__main__":
    main()
