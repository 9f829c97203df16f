"""bin/torture [operations]: long histories under every fault."""

import asyncio
import sys
from collections import Counter, defaultdict
from itertools import cycle
from time import monotonic

from tests.verify.histories.cluster import cluster
from tests.verify.histories.faults import BOUNDED, STRICT, STRICT_AND_LONG, trial

SECONDS = 20.0  # duration of each fault in seconds
COLUMNS = ("operations", "orders", "for quizzes", "unknown", "injected", "stale", "oldest ms", "violations")


def main() -> None:
    """Run until so many operations are recorded; exit with 1 if a guarantee was violated."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    sys.exit(asyncio.run(run(wanted)))


async def run(wanted: int) -> int:
    """Return 1 if there was a violation in so many operations, else 0."""
    begun = monotonic()
    rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
    async with cluster() as one:
        for fault in cycle(STRICT + STRICT_AND_LONG + BOUNDED):
            end = monotonic() + SECONDS
            shared, verdict = await trial(
                one,
                fault,
                lambda _, end=end: monotonic() > end,  # type: ignore[misc]
                is_strict=fault not in BOUNDED,
            )
            row = rows[fault.__name__]
            row["operations"] += len(shared.operations) + len(shared.quiz_orders)
            row["orders"] += sum(operation.kind in ("extend", "order") for operation in shared.operations)
            row["for quizzes"] += len(shared.quiz_orders)
            row["unknown"] += sum(operation.outcome == "unknown" for operation in shared.operations)
            row["injected"] = one.injected[fault.__name__]
            row["stale"] += verdict.stale
            row["oldest ms"] = max(row["oldest ms"], int(verdict.max_staleness * 1000))
            row["violations"] += len(verdict.violations)
            done, broken = (sum(row[name] for row in rows.values()) for name in ("operations", "violations"))
            print(f"{monotonic() - begun:6.0f} s {done:9,} operations, {broken} violations", flush=True)
            for violation in verdict.violations[:10]:
                print(f"    {fault.__name__}: {violation}", flush=True)
            if done >= wanted:
                break
        lost = one.injected["replies lost"]
    print(f"{'fault':28}" + "".join(f"{name:>12}" for name in COLUMNS))
    for name, row in rows.items():
        print(f"{name:28}" + "".join(f"{row[column]:12,}" for column in COLUMNS))
    print(f"replies lost after the commit: {lost}")
    return min(1, broken)


if __name__ == "__main__":
    main()
