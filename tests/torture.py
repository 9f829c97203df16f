"""A long run of every fault: bin/torture [operations]."""

import asyncio
import sys
from collections import defaultdict
from itertools import cycle
from time import monotonic

from tests.history.world import BOUNDED, STRICT, trial, world

SECONDS = 20.0  # of each fault before the next


def main() -> None:
    """Run until so many operations are on record, tell what was found, exit with 1 if a promise was broken."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    sys.exit(asyncio.run(run(wanted)))


async def run(wanted: int) -> int:
    """Return how many violations were found in so many operations, at the most 1."""
    begun = monotonic()
    table: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0])
    violations = 0
    async with world() as one:
        for fault in cycle(STRICT + BOUNDED):
            shared, verdict = await trial(one, fault, SECONDS)
            row = table[fault.__name__]
            row[0] += len(shared.operations)
            row[1] += sum(operation.outcome == "unknown" for operation in shared.operations)
            row[2] = one.injected[fault.__name__]
            row[3] += verdict.stale
            row[4] = max(row[4], verdict.stalest)
            row[5] += len(verdict.violations)
            violations += len(verdict.violations)
            done = int(sum(row[0] for row in table.values()))
            print(f"{monotonic() - begun:6.0f} s {done:9,} operations, {violations} violations", flush=True)
            for violation in verdict.violations[:10]:
                print(f"    {fault.__name__}: {violation}", flush=True)
            if done >= wanted:
                break
        lost = one.injected["replies lost"]
    print(
        f"{'fault':20} {'operations':>11} {'unknown':>8} {'injected':>9} {'stale':>6} {'stalest':>8} violations"
    )
    for name, (operations, unknown, injected, stale, stalest, found) in table.items():
        cells = f"{operations:11,.0f} {unknown:8,.0f} {injected:9,.0f} {stale:6,.0f} {stalest:7.2f}s {found:10,.0f}"
        print(f"{name:20} {cells}")
    print(f"replies lost after the commit: {lost}")
    return min(1, violations)


if __name__ == "__main__":
    main()
