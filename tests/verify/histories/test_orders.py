"""Tests of the checker of orders for quizzes: it accepts a correct history, and finds each violation."""

from typing import Any

import attrs
import pytest

from tests.verify.histories.checker import check
from tests.verify.histories.orders import JournalLine, check_orders, effects
from tests.verify.histories.record import Final, Operation, QuizOrder

START = Operation("start", "s", 0, 1, "ok", 1, "in_progress", {}, expires_at=100)
ANOTHER = attrs.evolve(START, session="t")
LATER = attrs.evolve(START, session="u", begin=14, end=15)
BEGUN = JournalLine("s", "7", "ada", 1, "session.started", 0.5, None, None, 100, 102)
BEGUN_TOO = attrs.evolve(BEGUN, session="t", user="eve")
BEGUN_LATER = attrs.evolve(BEGUN, session="u", at=14.5)
PAUSED = JournalLine("s", "7", "ada", 2, "session.paused", 11, "r", None, 100)
PAUSED_LATER = attrs.evolve(PAUSED, session="u", at=16)
PAUSED_TOO = attrs.evolve(PAUSED, session="t", user="eve")
PAUSED_BEFORE = attrs.evolve(PAUSED_TOO, at=8, reason="q")
REPEATED = attrs.evolve(PAUSED, version=4, at=17)
JOURNAL = [BEGUN, PAUSED, BEGUN_TOO, PAUSED_TOO]


def _paused(changed: int = 2, **more: Any) -> QuizOrder:
    order = QuizOrder("pause", "7", None, "r", 10, changed=changed, first_end=13, end=20, finished=True)
    return attrs.evolve(order, **more)


def _extended(code: str | None) -> QuizOrder:
    return _paused(0, kind="deadline", unchanged=[("s", code, 10, 20)])


def _line(version: int, kind: str, at: float, by: str | None = None) -> JournalLine:
    return JournalLine("s", "7", "ada", version, f"session.{kind}", at, None, by, 100, 102)


ENDED = _line(2, "expired", 5, "deadline")
LISTED: list[tuple[str, str | None, float, float]] = [("t", None, 10, 20)]


@pytest.mark.parametrize(
    ("order", "journal"),
    [
        (_paused(), JOURNAL),
        (_paused(1, finished=False), JOURNAL),
        (_paused(1, users={"ada"}), [BEGUN, PAUSED, BEGUN_TOO]),
        (_paused(0), [BEGUN, ENDED]),
        (_paused(0), [attrs.evolve(BEGUN, closes_at=12)]),
        (
            _paused(1, unchanged=LISTED),
            [BEGUN, PAUSED, BEGUN_TOO, PAUSED_BEFORE],
        ),
        (_paused(1, lost=True), [BEGUN, PAUSED, BEGUN_TOO, PAUSED_BEFORE]),
        (_paused(0, unchanged=[("s", "SESSION_EXPIRED", 10, 20)]), [BEGUN, _line(2, "expired", 15)]),
        (
            _paused(unchanged=[("s", "SESSION_EXPIRED", 10, 14)]),
            [BEGUN, _line(2, "expired", 11), _line(3, "reopened", 15), REPEATED, *JOURNAL[2:]],
        ),
        (
            _paused(lost=True, unchanged=[("s", "SESSION_EXPIRED", 10, 20)]),
            [BEGUN, _line(2, "expired", 11), _line(3, "reopened", 15), REPEATED, *JOURNAL[2:]],
        ),
        (_paused(0, kind="deadline", unchanged=LISTED), [attrs.evolve(BEGUN_TOO, expires_at=float("inf"))]),
        (_paused(0, kind="deadline", unchanged=LISTED), [attrs.evolve(BEGUN_TOO, closes_at=9)]),
        (_extended(None), [BEGUN, _line(2, "completed", 5, "deadline")]),
        (_extended(None), [BEGUN, _line(2, "completed", 5, "proctor")]),
        (_extended("SESSION_COMPLETED"), [BEGUN, _line(2, "completed", 5, "learner")]),
        (_paused(), [*JOURNAL, BEGUN_LATER]),
        (_paused(), [*JOURNAL[:2], _line(3, "deadline_changed", 12), _line(4, "resumed", 13), *JOURNAL[2:]]),
        (_paused(), [*JOURNAL[:2], _line(3, "completed", 12.9, "learner"), *JOURNAL[2:]]),
        (_paused(), [*JOURNAL[:2], _line(3, "expired", 15, "proctor"), *JOURNAL[2:]]),
    ],
)
def test_a_correct_order_is_accepted(order: QuizOrder, journal: list[JournalLine]) -> None:
    """Sessions that have ended, that were started later, and that have the wanted state, may be unchanged."""
    assert check_orders([order], journal, [START, ANOTHER, LATER]) == []


@pytest.mark.parametrize(
    ("order", "journal", "expected_violation"),
    [
        (_paused(3), [*JOURNAL, attrs.evolve(PAUSED, version=4)], "s: the order r was carried out twice"),
        (_paused(1), JOURNAL, "reports 1 of 2 changed"),
        (_paused(3, finished=False), JOURNAL, "reports 3 of 2 changed"),
        (_paused(1), [BEGUN, PAUSED, BEGUN_TOO], "t: left out by r"),
        (_paused(1, lost=True), [BEGUN, PAUSED, BEGUN_TOO], "t: left out by r"),
        (
            _paused(2),
            [BEGUN, PAUSED, BEGUN_LATER, PAUSED_LATER],
            "u: changed by r",
        ),
        (_paused(1, unchanged=LISTED), [BEGUN, PAUSED, BEGUN_TOO], "t: r leaves it unchanged for None"),
        (
            _paused(1, unchanged=[("t", "SESSION_EXPIRED", 10, 20)]),
            [BEGUN, PAUSED, BEGUN_TOO],
            "t: r leaves it unchanged for SESSION_EXPIRED",
        ),
        (_paused(0, kind="deadline", unchanged=LISTED), [BEGUN_TOO], "t: r leaves it unchanged for None"),
        (_extended(None), [BEGUN, _line(2, "completed", 5, "learner")], "s: r leaves it unchanged for None"),
        (_extended("SESSION_COMPLETED"), [BEGUN, _line(2, "completed", 5, "deadline")], "s: r leaves it"),
        (_extended("SESSION_EXPIRED"), [BEGUN, _line(2, "expired", 5, "deadline")], "s: r leaves it"),
        (_paused(2, unchanged=LISTED), JOURNAL, "t: r has changed it and lists it"),
        (_paused(2, lost=True, unchanged=[("t", None, 12, 20)]), JOURNAL, "t: r has changed it and lists it"),
        (_paused(1), [BEGUN, PAUSED, _line(3, "expired", 15, "deadline")], "session.expired by deadline"),
        (
            _paused(1),
            [BEGUN, PAUSED, _line(3, "completed", 15, "learner")],
            "session.completed by learner",
        ),
    ],
)
def test_each_kind_of_violation_is_found(
    order: QuizOrder, journal: list[JournalLine], expected_violation: str
) -> None:
    """A session that is changed twice, left out, reported wrongly or ended in its pause is found."""
    found = check_orders([order], journal, [START, ANOTHER, LATER])
    assert [violation for violation in found if expected_violation in violation]


def test_a_read_that_is_older_than_an_order_for_its_quiz_is_found() -> None:
    """No read is older than the reply to a finished order; before that it may be."""
    changes = effects([_paused()], JOURNAL)
    older = Operation("read", "s", 21, 22, "ok", 1, "in_progress", {})
    assert check([START, *changes, attrs.evolve(older, begin=19)], {}).violations == []
    assert check([START, *effects([_paused(finished=False)], JOURNAL), older], {}).violations == []
    found = check([START, *changes, older], {}).violations
    assert [violation for violation in found if "read showed 1" in violation]


def test_an_extension_of_a_quiz_counts_once() -> None:
    """An extension of a quiz moves each end once, and its version is that of no other write."""
    order = QuizOrder("deadline", "7", None, "r", 10, 60, extends=True, changed=1, end=20, finished=True)
    line = JournalLine("s", "7", "ada", 2, "session.deadline_changed", 11, "r", None, 160, 162)
    history = [START, *effects([order], [BEGUN, line])]
    final = {"s": Final(2, {}, expires_at=160)}
    assert check(history, final).violations == []
    twice = {"s": Final(3, {}, expires_at=220)}
    assert [one for one in check(history, twice).violations if "extended by 120 s instead of 60" in one]
    save = Operation("save", "s", 10, 12, "ok", 2, "in_progress", {"1": "a"}, writes={"1": "a"})
    assert [one for one in check([*history, save], {}).violations if "given to two writes" in one]
