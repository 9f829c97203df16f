"""Tests of the checker of the feed: it accepts a correct reading, and finds each kind of violation."""

import pytest

from tests.verify.histories.checker import check
from tests.verify.histories.feed import Line, check_erased, check_feed
from tests.verify.histories.record import Operation, Outcome

START, END, OTHER = ("s", 1, "session.started"), ("s", 4, "session.completed"), ("t", 1, "session.started")
JOURNAL: set[Line] = {START, END, OTHER}
STARTED = Operation("start", "s", 0, 1, "ok", 1, "in_progress")
COMPLETED = Operation("complete", "s", 2, 3, "ok", 4, "completed")
EXPIRED = Operation("read", "t", 2, 3, "gone", 2, "expired")


def test_a_correct_reading_is_accepted() -> None:
    """Each line once, with the versions of a session in order, is no violation; the last ones may lack."""
    for seen in ([START, END, OTHER], [OTHER, START, END]):
        assert check_feed(seen, JOURNAL, JOURNAL, [STARTED, COMPLETED]) == []
    assert check_feed([START, OTHER], {START}, JOURNAL, [STARTED]) == []


@pytest.mark.parametrize(
    ("seen", "operations", "expected_violation"),
    [
        ([START, OTHER], [], "in the journal and not in the feed"),
        ([START, END, OTHER, ("u", 1, "session.started")], [], "in the feed and not in the journal"),
        ([START, END, OTHER, START], [], "the feed has 1 after 4"),
        ([START, END, END, OTHER], [], "the feed has 4 after 4"),
        ([END, START, OTHER], [], "the feed has 1 after 4"),
        ([END, OTHER], [STARTED], "a start is not in the feed"),
        ([START, OTHER], [COMPLETED], "a completion is not in the feed"),
        ([START, END, OTHER], [EXPIRED], "the end in version 2 is not in the feed"),
    ],
)
def test_each_kind_of_violation_is_found(
    seen: list[Line], operations: list[Operation], expected_violation: str
) -> None:
    """A line that is missing, invented, doubled or out of order, and a change that is missing, are found."""
    found = check_feed(seen, JOURNAL, JOURNAL, operations)
    assert [violation for violation in found if expected_violation in violation]


def test_a_read_that_is_older_than_an_event_is_found() -> None:
    """A read may not be older than an event that was shown before; an event may be older than a read."""
    event = Operation("event", "s", 2, 3, "ok", 4, "completed")
    older = Operation("read", "s", 5, 6, "ok", 3, "in_progress", {})
    newer = Operation("read", "s", 0, 1, "ok", 5, "completed", {})
    assert check([STARTED, newer, event], {}).violations == []
    assert [one for one in check([STARTED, event, older], {}).violations if "read showed 3" in one]


def test_a_save_after_an_end_in_the_feed_is_found() -> None:
    """No save is accepted after the feed has shown the session's end, unless an order follows."""
    event = Operation("event", "s", 2, 3, "ok", 4, "completed")
    save = Operation("save", "s", 5, 6, "ok", 5, "in_progress", {"answers/1": "x"}, writes={"answers/1": "x"})
    assert [one for one in check([STARTED, event, save], {}).violations if "saved after" in one]
    reopened = Operation("order", "s", 3.5, 4, "ok", 5, "in_progress", {})
    later = Operation(
        "save", "s", 5, 6, "ok", 6, "in_progress", {"answers/1": "x"}, writes={"answers/1": "x"}
    )
    assert check([STARTED, event, reopened, later], {}).violations == []


ERASED = ("s", 5, "session.erased")


@pytest.mark.parametrize(
    ("seen", "outcome", "expected_violation"),
    [
        ([START, ERASED, OTHER], "ok", None),
        ([START, END, ERASED], "unknown", None),
        ([START, END], "unknown", None),
        ([START, END], "refused", None),
        ([START, END], "ok", "erased, with 0 events of it"),
        ([ERASED, ERASED], "ok", "erased, with 2 events of it"),
        ([ERASED, END], "ok", "an event after it was erased"),
        ([START, ERASED], "refused", "not erased, and the feed says so"),
    ],
)
def test_violations_of_erasing_are_found(
    seen: list[Line], outcome: Outcome, expected_violation: str | None
) -> None:
    """An erased session without its one event, or with later ones, and an event of a kept one are found."""
    erasing = Operation("erase", "s", 6, 7, outcome)
    found = check_erased(seen, [STARTED, erasing])
    assert [violation.removeprefix("s: ") for violation in found] == [expected_violation][: len(found)]
    assert bool(found) == bool(expected_violation)
