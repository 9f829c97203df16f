"""Tests of histories: under every fault no answer is lost and no response is stale beyond its bound."""

import asyncio
from collections import Counter
from collections.abc import Callable

import attrs
import pytest

from tests.support.pgbouncer import COMMAND
from tests.support.waiting import LIMIT, eventually_async
from tests.verify.histories.checker import check
from tests.verify.histories.client import Shared
from tests.verify.histories.cluster import cluster
from tests.verify.histories.faults import (
    BOUNDED,
    STRICT,
    Fault,
    kill_postgresql,
    lose_replies,
    no_fault,
    trial,
)
from tests.verify.histories.record import Final, Kind, Operation

ENOUGH: dict[Kind, int] = {
    "start": 8,
    "save": 150,
    "read": 100,
    "complete": 1,
    "extend": 5,
    "order": 10,
    "erase": 3,
}  # operations of each kind in a history
SEEN: list[Callable[[Operation], bool]] = [
    lambda operation: operation.outcome == "exhausted",
    lambda operation: operation.status == "completed" and operation.ended_by == "deadline",
    lambda operation: operation.status == "expired" and operation.kind == "read",
    lambda operation: operation.outcome == "ok" and operation.begin > operation.expires_at,
    lambda operation: operation.outcome == "paused",
    lambda operation: operation.ended_by == "proctor",
    lambda operation: operation.kind == "erase" and operation.outcome == "ok",
    lambda operation: operation.kind != "erase" and operation.outcome == "missing",
]  # operations that each history has at least once


@pytest.mark.parametrize("fault", STRICT + BOUNDED, ids=lambda fault: fault.__name__)
def test_histories_under_faults(fault: Fault) -> None:
    """Under a fault, acknowledged answers are kept, and versions that were shown do not go back."""
    check_history(fault)


@pytest.mark.needs(COMMAND)
@pytest.mark.parametrize(
    ("pool_mode", "fault"),
    [("transaction", no_fault), ("transaction", kill_postgresql), ("session", kill_postgresql)],
)
def test_histories_behind_pgbouncer(pool_mode: str, fault: Fault) -> None:
    """Behind PgBouncer the same holds, also while PostgreSQL is killed and restarted behind it."""
    check_history(fault, pool_mode)


def check_history(fault: Fault, pool_mode: str = "", redis_url: str = "") -> None:
    """Run a cluster under the fault until its history is long enough; it must have no violation."""

    async def run() -> None:
        async with cluster(pool_mode, redis_url) as one, asyncio.timeout(4 * LIMIT):

            def is_over(shared: Shared) -> bool:
                counts = Counter(operation.kind for operation in shared.operations)
                enough = all(counts[kind] >= count for kind, count in ENOUGH.items())
                enough = enough and all(any(map(seen, shared.operations)) for seen in SEEN)
                done = {one.kind for one in shared.quiz_orders if one.finished and one.changed}
                enough = enough and done >= {"deadline", "pause", "resume"}
                lost = fault is not lose_replies or one.injected["replies lost"] > 0
                return enough and lost and one.injected[fault.__name__] > 0

            _, verdict = await trial(one, fault, is_over, is_strict=fault not in BOUNDED)
            assert verdict.violations == []
            # After the fault each instance uses Redis again.
            await eventually_async(lambda: not any(is_open for _, is_open in one.breaker_states))

    asyncio.run(run())


def _start(session: str = "s", **more: object) -> Operation:
    return Operation("start", session, 0, 1, "ok", 1, "in_progress", {}, **more)  # type: ignore[arg-type]


def _save(
    begin: float, version: int, key: str, value: str, entries: dict[str, str], **more: object
) -> Operation:
    saved = Operation(
        "save", "s", begin, begin + 1, "ok", version, "in_progress", entries, writes={key: value}
    )
    for name, given in more.items():
        setattr(saved, name, given)
    return saved


def _read(begin: float, version: int, entries: dict[str, str], **more: object) -> Operation:
    found = Operation("read", "s", begin, begin + 1, "ok", version, "in_progress", entries)
    for name, given in more.items():
        setattr(found, name, given)
    return found


def _attempt(session: str, number: int) -> Operation:
    return Operation("start", session, 0, 1, "ok", limited="ada", attempt=number)


def _extended(begin: float, version: int, end: float, **more: object) -> Operation:
    extended = _read(begin, version, {"1": "a"}, kind="extend", extra=1, expires_at=end, closes_at=end)
    for name, given in more.items():
        setattr(extended, name, given)
    return extended


ONE = _save(2, 2, "1", "a", {"1": "a"})
LATE = _save(6, 3, "1", "b", {"1": "b"}, expires_at=5, closes_at=8)
ENDED = Operation("read", "s", 4, 5, "ok", 3, "expired", {"1": "a"}, ended_by="proctor")
LATE_ORDER = Operation("extend", "s", 6, 7, "gone", 3, "completed", {"1": "a"}, ended_by="learner")
REOPENED = Operation("order", "s", 6, 7, "ok", 4, "in_progress", {"1": "a"})
AGAIN = _save(8, 5, "1", "b", {"1": "b"})
EXTENDED = [_start(expires_at=9), ONE, _extended(4, 3, 10), _extended(6, 4, 11)]
EXHAUSTED = Operation("start", "", 3, 4, "exhausted", limited="ada")
SAVED_IN_PAUSE = _save(6, 2, "1", "a", {"1": "a"}, status="paused", paused_at=4.5)
ERASED = Operation("erase", "s", 4, 5, "ok")
MISSING = Operation("read", "s", 6, 7, "missing")
GOOD = [_start(), ONE, _read(4, 2, {"1": "a"}), _save(6, 3, "1", "b", {"1": "b"})]
END = {"s": Final(3, {"1": "b"})}


def test_the_checker_accepts_a_correct_history() -> None:
    """A correct history has no violation."""
    assert check(GOOD, END).violations == []
    late = [_start(), ONE, LATE, _read(9, 4, {"1": "b"}, status="expired", ended_by="deadline", closes_at=8)]
    assert check(late, {"s": Final(4, {"1": "b"}, late_saves=1)}).violations == []
    assert check([_start(), ONE, ENDED, REOPENED, AGAIN], {"s": Final(5, {"1": "b"})}).violations == []
    handed_in = attrs.evolve(ENDED, status="completed", ended_by="learner")
    assert check([_start(), ONE, handed_in, LATE_ORDER], {"s": Final(3, {"1": "a"})}).violations == []
    late_order = attrs.evolve(REOPENED, outcome="unknown", version=None)
    assert check([_start(), ONE, ENDED, late_order, AGAIN], {"s": Final(5, {"1": "b"})}).violations == []
    refused = _save(8, 5, "1", "b", {"1": "a"}, outcome="paused", status="paused")
    assert check([_start(), ONE, REOPENED, refused], {"s": Final(5, {"1": "a"})}).violations == []
    in_grace = [_start(expires_at=5, closes_at=7), SAVED_IN_PAUSE]
    assert check(in_grace, {}).violations == []
    assert check(EXTENDED, {"s": Final(4, {"1": "a"}, expires_at=11)}).violations == []
    assert check([_start(), ONE, ERASED, MISSING], {}).violations == []
    assert check([_start(), ONE, attrs.evolve(ERASED, outcome="unknown"), MISSING], {}).violations == []
    at_the_same_time = _save(4.5, 3, "1", "b", {"1": "b"})
    assert check([_start(), ONE, ERASED, at_the_same_time], {}).violations == []
    attempts = [_attempt("a", 1), _attempt("b", 2), _attempt("a", 1), EXHAUSTED]
    assert check(attempts, {}, limit=2).violations == []


@pytest.mark.parametrize(
    ("history", "final", "expected_violation"),
    [
        ([*GOOD, _read(8, 2, {"1": "a"})], END, "showed 2"),
        ([*GOOD, _read(6.5, 2, {"1": "a"}, seen=3)], END, "to a client of 3"),
        ([*GOOD, _read(8, 3, {"1": "x"})], END, "two contents"),
        ([*GOOD, _save(6, 3, "2", "c", {"1": "b"})], END, "given to two writes"),
        ([*GOOD, _save(8, 4, "2", "c", {"1": "b"})], {"s": Final(4, {"1": "b"})}, "does not show it"),
        (
            [*GOOD, _save(8, 5, "2", "c", {"1": "b", "2": "c"}, expected_version=3)],
            {"s": Final(5, {"1": "b", "2": "c"})},
            "onto 3",
        ),
        (GOOD, {"s": Final(3, {})}, "is lost"),
        (GOOD, {"s": Final(3, {"1": "a"})}, "is lost"),
        (GOOD, {"s": Final(3, {"1": "z"})}, "no successful save sent"),
        (GOOD, {"s": Final(2, {"1": "b"})}, "the database holds 2"),
        (GOOD, {"s": Final(9, {"1": "b"})}, "2 writes, but version 9"),
        (
            [_start(), ONE, attrs.evolve(LATE_ORDER, ended_by="deadline")],
            {"s": Final(3, {"1": "a"})},
            "not extended after its end by deadline",
        ),
        ([*GOOD, _read(8, 3, {"1": "b"}, closes_at=7)], END, "in progress after its end"),
        (
            [*GOOD, Operation("save", "s", 8, 9, "conflict", 3, expected_version=3, writes={"2": "x"})],
            END,
            "without a competing",
        ),
        (
            [
                *GOOD,
                Operation("read", "s", 8, 8.5, "ok", 3, "completed", {"1": "b"}),
                _save(9, 4, "1", "c", {"1": "c"}),
            ],
            {"s": Final(4, {"1": "c"})},
            "after its completion",
        ),
        (
            [*GOOD, _read(8, 3, {"1": "b"}), _read(9.5, 3, {"1": "b"}, status="expired")],
            END,
            "two contents",
        ),
        ([*GOOD, _read(8, 4, {"1": "b"}, ended_by="deadline", closes_at=9.5)], END, "ended before its end"),
        (GOOD, {"s": Final(3, {"1": "b"}, late_saves=1)}, "1 late saves instead of 0 to 0"),
        ([_start(), ONE, LATE], {"s": Final(3, {"1": "b"})}, "0 late saves instead of 1 to 1"),
        ([_start(), ONE, ENDED, AGAIN], {"s": Final(5, {"1": "b"})}, "after its completion"),
        (
            [_start(), ONE, attrs.evolve(REOPENED, version=2), ENDED, AGAIN],
            {"s": Final(5, {"1": "b"})},
            "after its completion",
        ),
        (EXTENDED, {"s": Final(4, {"1": "a"}, expires_at=10)}, "extended by 1 s instead of 2 to 2"),
        (EXTENDED, {"s": Final(4, {"1": "a"}, expires_at=12)}, "extended by 3 s instead of 2 to 2"),
        ([*EXTENDED, _extended(8, 4, 11)], {"s": Final(4, {"1": "a"}, expires_at=11)}, "to two writes"),
        (
            [*GOOD, _read(8, 3, {"1": "b"}, times=("a",)), _read(9.5, 3, {"1": "b"}, times=("b",))],
            END,
            "two contents",
        ),
        ([_start(expires_at=5, closes_at=7), attrs.evolve(SAVED_IN_PAUSE, paused_at=3.5)], {}, "in a pause"),
        ([_start(), attrs.evolve(SAVED_IN_PAUSE, outcome="paused", status="expired")], {}, "423 for expired"),
        ([_start(), ONE, ERASED, _read(6, 2, {"1": "a"})], {}, "read showed it 1.000 s after it was gone"),
        ([_start(), ONE, ERASED, _save(6, 3, "1", "b", {"1": "b"})], {}, "save showed it"),
        (
            [_start(), ONE, attrs.evolve(ERASED, end=9), MISSING, _read(8, 2, {"1": "a"})],
            {},
            "after it was gone",
        ),
        ([_start(), ONE, MISSING], {}, "read is 404, and it was not erased"),
        ([_start(), ONE, attrs.evolve(ERASED, outcome="refused"), MISSING], {}, "was not erased"),
        ([_start(), ONE, ERASED], {"s": Final(2, {"1": "a"})}, "it was erased, and is in the database"),
        ([_attempt("a", 1), _attempt("b", 2), _attempt("c", 3)], {}, "with a limit of 2"),
        ([_attempt("a", 1), _attempt("b", 1)], {}, "with a limit of 2"),
        ([_attempt("a", 1), EXHAUSTED], {}, "refused after 1 of 2 attempts"),
    ],
)
def test_the_checker_finds_violations(
    history: list[Operation], final: dict[str, Final], expected_violation: str
) -> None:
    """Each kind of violation is found in a history that has it."""
    found = check(history, final, limit=2).violations
    assert [violation for violation in found if expected_violation in violation]


def test_the_checker_counts_bounded_staleness() -> None:
    """With a bound, staleness within it is counted, and staleness beyond it is a violation."""
    history = [*GOOD, _read(8, 2, {"1": "a"})]
    verdict = check(history, END, bound=3)
    assert (verdict.violations, verdict.stale, verdict.max_staleness) == ([], 1, 1)
    assert check(history, END, bound=0.5).violations
    assert check([*GOOD, _read(8, 2, {"1": "a"}, fresh=True)], END, bound=3).violations
    shown = [_start(), ONE, ERASED, _read(6, 2, {"1": "a"})]
    assert check(shown, {}, bound=3).violations == []
    assert check(shown, {}, bound=0.5).violations
