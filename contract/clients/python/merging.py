"""The merge of an answer that another device has changed."""

from collections.abc import Callable
from contextlib import suppress

from .events import Merged
from .json_values import Answer, copy_of, same
from .kept import Change

# Chooses the answer to a question from the learner's and the stored one.
Merge = Callable[[str, Answer, Answer], Answer]


def keep_mine(_question: str, mine: Answer, _theirs: Answer) -> Answer:
    """Keep this device's answer."""
    return mine


def merge_change(
    merge: Merge, question: str, change: Change, theirs: Answer
) -> tuple[Change, Merged | None] | None:
    """Return the change to send, merged if another device has changed the answer; None if that fails."""
    mine = change["answer"]
    if same(theirs, change["seen"]) or same(theirs, mine):
        return change, None
    with suppress(Exception):
        answer = copy_of(merge(question, mine, theirs))
        # None from a function without a return statement is no decision.
        if answer is not None or mine is None or theirs is None:
            return {"answer": answer, "seen": theirs}, Merged(question, mine, theirs, answer)
    return None
