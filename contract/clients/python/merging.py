"""The merge of an answer that another device has changed."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from .events import Merged
from .json_values import Answer, copy_of, same
from .kept import Change
from .pauses import backoff

# Chooses the answer to a question from the learner's and the stored one.
Merge = Callable[[str, Answer, Answer], Answer]


def keep_mine(_question: str, mine: Answer, _theirs: Answer) -> Answer:
    """Keep this device's answer."""
    return mine


@dataclass(frozen=True)
class _Undecided:
    """A conflict for which the merge has failed; it is asked for again at a time of the monotonic clock."""

    mine: Answer
    theirs: Answer
    failures: int
    due: float


class Merger:
    """The merges of an attempt, and the conflicts that their function has left undecided."""

    def __init__(self, merge: Merge) -> None:
        self._merge = merge
        self._undecided: dict[str, _Undecided] = {}

    def merge(self, question: str, change: Change, theirs: Answer) -> tuple[Change, Merged | None] | None:
        """Return the change to send, merged if another device changed the answer; None while undecided."""
        mine, before = change["answer"], self._undecided.pop(question, None)
        if same(theirs, change["seen"]) or same(theirs, mine):
            return change, None
        if before and not (same(before.mine, mine) and same(before.theirs, theirs)):
            before = None
        if before and time.monotonic() < before.due:
            self._undecided[question] = before
            return None
        with suppress(Exception):
            answer = copy_of(self._merge(question, mine, theirs))
            # None from a function without a return statement is no decision.
            if answer is not None or mine is None or theirs is None:
                return {"answer": answer, "seen": theirs}, Merged(question, mine, theirs, answer)
        failures = before.failures + 1 if before else 0
        due = time.monotonic() + backoff(failures)
        self._undecided[question] = _Undecided(mine, theirs, failures, due)
        return None

    def seconds_until_due(self, questions: Iterable[str]) -> float:
        """Return the seconds until the merge of one of these undecided questions is asked for again."""
        return max(0.01, min(self._undecided[question].due for question in questions) - time.monotonic())
