"""One measurement from an empty Redis to its figures, and many of them, target by target in turn."""

import sys
from collections.abc import Iterable
from pathlib import Path

from attrs import evolve, frozen

from dev.bench import drive, measure
from dev.bench.measure import BenchError, Case, Measurement
from dev.bench.stores import Stores, check_lookups
from dev.bench.targets import Running

_WARM = 1  # seconds: the least that wrk does


@frozen
class Bench:
    """Everything that has been started, and for how many seconds each measurement lasts."""

    stores: Stores
    started: list[Running]
    seconds: int
    folder: Path

    def interleaved(self, cases: Iterable[Case], rounds: int) -> list[Measurement]:
        """Measure every case on every target so many times, the targets one after the other each time."""
        wanted = [
            (number, case, target)
            for number in range(1, rounds + 1)
            for case in cases
            for target in self.started
            if case.operation in target.target.operations
        ]
        if not wanted:
            raise BenchError("none of the targets does any of the operations")
        return [self._told(target, case, number, rounds) for number, case, target in wanted]

    def half_load(self, case: Case) -> Case:
        """Return the case at half the rate that the slowest target reaches in it."""
        peaks = self.interleaved([case], 1)
        slowest = min(peaks, key=lambda one: one.rate)
        print(f"half the peak of {slowest.target}, {slowest.rate:,.0f}/s", file=sys.stderr)
        return evolve(case, rate=int(slowest.rate / 2))

    def _told(self, target: Running, case: Case, number: int, rounds: int) -> Measurement:
        try:
            one = (
                self._pgbench(target, case, number)
                if target.target.clients
                else self._served(target, case, number)
            )
        except BenchError as error:
            raise BenchError(f"{target.target.name}, {case}: {error}\n{target.last_lines()}") from None
        cpu = f", {one.cpu:,.0f} µs CPU" if one.cpu is not None else ""
        line = f"round {number}/{rounds}: {case}: {one.target}: {one.rate:,.0f}/s{cpu}"
        print(line, file=sys.stderr, flush=True)
        return one

    def _served(self, target: Running, case: Case, number: int) -> Measurement:
        assert target.process is not None
        pid = target.process.pid
        sessions = self.stores.prepare(target.database, case, self.seconds + _WARM)
        target.forget_log()
        measure.forget_peak(pid)
        warm = drive.warm_up(target.url, case, sessions, seconds=_WARM)
        postmaster = self.stores.postmaster()
        pids = [pid] if postmaster is None else [pid, postmaster]
        before = measure.settle(*pids)
        hits, misses = self.stores.looked_up()
        left = evolve(sessions, own=sessions.own[warm.taken :])
        told = drive.wrk(target.url, case, left, seconds=self.seconds)
        # Requests that were under way at the end are worked on, too: so they are counted.
        spent = [after - at_first for after, at_first in zip(measure.settle(*pids), before, strict=True)]
        found, lacked = self.stores.looked_up()
        check_lookups(case, found - hits, lacked - misses)
        return Measurement(
            target=target.target.name,
            case=case,
            round=number,
            rate=told.rate,
            cpu=spent[0] / told.sent * 1e6,
            postgres=spent[1] / told.sent * 1e6 if postmaster is not None else None,
            p50=told.p50,
            p99=told.p99,
            memory=measure.memory(pid, "VmHWM"),
        )

    def _pgbench(self, target: Running, case: Case, number: int) -> Measurement:
        self.stores.prepare(target.database, case, self.seconds + _WARM)
        clients = target.target.clients
        drive.pgbench(target.database, case, self.folder, clients=clients, seconds=_WARM)
        before = self.stores.saves(target.database)
        told = drive.pgbench(target.database, case, self.folder, clients=clients, seconds=self.seconds)
        saved = self.stores.saves(target.database) - before
        if saved != told.requests:
            raise BenchError(f"{told.requests} transactions have saved {saved} answers")
        return Measurement(
            target=target.target.name,
            case=case,
            round=number,
            rate=told.rate,
            cpu=None,
            postgres=None,
            p50=told.p50,
            p99=told.p99,
            memory=None,
        )
