"""The merge of an answer that another device has changed."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from .events import Merged
from .json_values import Answer, copy_of, same
from .kept import Change
from .pauses import backoff

# Chooses the answer to a question from the learner's and the stored one.
Merge = Callable[[str, Answer, Answer], Answer]
GRACE = 0.1  # seconds for a decision; a later one is used once it is there


def keep_mine(_question: str, mine: Answer, _theirs: Answer) -> Answer:
    """Keep this device's answer."""
    return mine


@dataclass
class _Decision:
    """A decision on two answers, which a thread makes; without an answer it has failed."""

    mine: Answer
    theirs: Answer
    answers: list[Answer] = field(default_factory=list)
    ended: Event = field(default_factory=Event)
    late: bool = False


@dataclass
class _Undecided:
    """A conflict without an answer; the merge is asked for again at a time of the monotonic clock."""

    decision: _Decision
    failures: int
    due: float


class Merger:
    """The merges of an attempt, and the conflicts that their function has left undecided."""

    def __init__(self, merge: Merge, decided: Callable[[], None]) -> None:
        """`decided` is called when there is a decision that came late."""
        self._merge, self._decided = merge, decided
        self._undecided: dict[str, _Undecided] = {}
        self._lock = Lock()  # of the decisions' `late`

    def merge(self, question: str, change: Change, theirs: Answer) -> tuple[Change, Merged | None] | None:
        """Return the change to send, merged if another device changed the answer; None while undecided."""
        mine, before = change["answer"], self._undecided.pop(question, None)
        if same(theirs, change["seen"]) or same(theirs, mine):
            return change, None
        if before and before.decision.ended.is_set() and not _is_of(before.decision, mine, theirs):
            before = None
        conflict = before or _Undecided(_Decision(mine, theirs), 0, time.monotonic() + backoff(0))
        if not before:
            self._ask(question, conflict.decision)
        elif not before.decision.answers and time.monotonic() >= before.due:
            before.failures += 1
            before.due = time.monotonic() + backoff(before.failures)
            if before.decision.ended.is_set():
                before.decision = _Decision(mine, theirs)
                self._ask(question, before.decision)
        decision = conflict.decision
        if decision.ended.is_set() and decision.answers and _is_of(decision, mine, theirs):
            answer = decision.answers[0]
            return {"answer": answer, "seen": theirs}, Merged(question, mine, theirs, answer)
        self._undecided[question] = conflict
        return None

    def seconds_until_due(self, questions: Iterable[str]) -> float:
        """Return the seconds until the merge of one of these undecided questions is asked for again."""
        return max(0.01, min(self._undecided[question].due for question in questions) - time.monotonic())

    def _ask(self, question: str, decision: _Decision) -> None:
        """Ask for a decision in a thread, which may never end; return once there is one, or after GRACE."""

        def decide() -> None:
            with suppress(Exception):
                answer = copy_of(self._merge(question, decision.mine, decision.theirs))
                # None from a function without a return statement is no decision.
                if answer is not None or decision.mine is None or decision.theirs is None:
                    decision.answers.append(answer)
            with self._lock:
                decision.ended.set()
                late = decision.late
            if late:
                self._decided()

        try:
            Thread(target=decide, name="merge", daemon=True).start()
        except RuntimeError:
            # While the interpreter ends it starts no thread.
            decide()
        decision.ended.wait(GRACE)
        with self._lock:
            decision.late = not decision.ended.is_set()


def _is_of(decision: _Decision, mine: Answer, theirs: Answer) -> bool:
    """Return whether a decision is that on these answers."""
    return same(decision.mine, mine) and same(decision.theirs, theirs)
