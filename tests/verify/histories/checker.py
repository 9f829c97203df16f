"""Whether a history of operations keeps the service's promises; knows nothing of how it came about."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from attrs import define, field

Kind = Literal["start", "save", "read", "complete"]


@define
class Operation:
    """One request as its client saw it: times in seconds of one clock, `version` what the reply showed.

    `outcome` is `ok`, `conflict` (409), `gone` (410), `refused` (it certainly did nothing) or `unknown`.
    `writes` maps question ids to the values that a save sent; every value is sent by one operation only.
    """

    kind: Kind
    session: str
    begin: float
    end: float
    outcome: Literal["ok", "conflict", "gone", "refused", "unknown"]
    version: int | None = None
    status: str | None = None
    answers: dict[str, str] | None = None
    named: int | None = None
    writes: dict[str, str] = field(factory=dict)
    seen: int = 0
    fresh: bool = False
    over_at: float = float("inf")
    repeats: int = 0

    @property
    def changed(self) -> bool:
        """Whether it certainly was a change of the session."""
        return self.outcome == "ok" and self.kind in ("save", "complete")


@define
class Verdict:
    """What was found: broken promises, and how stale a reply was where staleness is bounded only."""

    violations: list[str] = field(factory=list)
    stale: int = 0
    stalest: float = 0.0


def check(
    operations: Iterable[Operation],
    final: dict[str, tuple[int, dict[str, str]]],
    bound: float | None = None,
) -> Verdict:
    """Judge a history; `final` has each session's version and answers as the database holds them at the end.

    Without `bound` no reply may be older than one that ended before it began. With it, one may be whose
    request began within so many seconds after the newer one was first shown, unless its client said what it
    has seen.
    """
    verdict = Verdict()
    sessions = defaultdict(list)
    for operation in operations:
        sessions[operation.session].append(operation)
    for session, history in sessions.items():
        history.sort(key=lambda operation: operation.begin)
        _check_one_state_for_each_version(session, history, verdict)
        _check_order(session, history, bound, verdict)
        _check_refusals(session, history, verdict)
        if session in final:
            _check_nothing_lost(session, history, final[session], verdict)
    return verdict


def _check_one_state_for_each_version(session: str, history: list[Operation], verdict: Verdict) -> None:
    """A version looks the same to everyone who is shown it, and is one write's."""
    states: dict[int, dict[str, str]] = {}
    winners: set[int] = set()
    for operation in history:
        version, answers = operation.version, operation.answers
        if version is None:
            continue
        if answers is not None and states.setdefault(version, answers) != answers:
            verdict.violations.append(f"{session}: version {version} was shown with two contents")
        # The reply to a repeat, and to a completion, shows the session as it is: maybe another write's.
        if operation.changed and operation.kind == "save" and not operation.repeats:
            _check_winner(session, operation, winners, verdict)
            winners.add(version)


def _check_winner(session: str, save: Operation, winners: set[int], verdict: Verdict) -> None:
    """A save has a version to itself, the next after the one that it named, and its reply shows it."""
    if save.version in winners:
        verdict.violations.append(f"{session}: version {save.version} was given to two writes")
    if save.named is not None and save.version != save.named + 1:
        verdict.violations.append(f"{session}: a write onto {save.named} made {save.version}")
    if save.answers is not None and not save.writes.items() <= save.answers.items():
        verdict.violations.append(f"{session}: the reply to a save does not show it")


def _check_order(session: str, history: list[Operation], bound: float | None, verdict: Verdict) -> None:
    """No reply is older than one that had ended when its request began, nor than what its client has seen."""
    ended: list[tuple[float, int]] = []
    newest, first_shown = 0, 0.0
    for operation in history:
        while ended and ended[0][0] <= operation.begin:
            end, version = heapq.heappop(ended)
            if version > newest:
                newest, first_shown = version, end
        if operation.version is None:
            continue
        if operation.version < operation.seen:
            verdict.violations.append(
                f"{session}: {operation.version} was shown to a client of {operation.seen}"
            )
        elif operation.version < newest:
            age = operation.begin - first_shown
            verdict.stale += 1
            verdict.stalest = max(verdict.stalest, age)
            # A read that asks for the database's word, and a write, have no excuse.
            if bound is None or age > bound or operation.fresh or operation.kind != "read":
                told = f"showed {operation.version} {age:.3f} s after {newest} was shown"
                verdict.violations.append(f"{session}: {operation.kind} {told}")
        heapq.heappush(ended, (operation.end, operation.version))


def _check_refusals(session: str, history: list[Operation], verdict: Verdict) -> None:
    """Nothing is in progress after its end, or written after a completion, or refused for no other write."""
    completed_at = min(
        (operation.end for operation in history if operation.status == "completed"), default=float("inf")
    )
    for operation in history:
        if operation.status == "in_progress" and operation.begin > operation.over_at:
            verdict.violations.append(f"{session}: in progress after its end")
        if operation.kind == "save" and operation.outcome == "ok" and operation.begin > completed_at:
            verdict.violations.append(f"{session}: saved after its completion")
        if operation.outcome == "conflict" and (operation.version or 0) <= (operation.named or 0):
            verdict.violations.append(f"{session}: 409 onto {operation.named} without a competing write")


def _check_nothing_lost(
    session: str, history: list[Operation], final: tuple[int, dict[str, str]], verdict: Verdict
) -> None:
    """What was acknowledged is there, or what replaced it; nothing is there that nobody sent."""
    version, answers = final
    writers = {(key, value): operation for operation in history for key, value in operation.writes.items()}
    for key, value in answers.items():
        if (key, value) not in writers or writers[key, value].outcome in ("conflict", "gone", "refused"):
            verdict.violations.append(f"{session}: question {key} holds what no successful save sent")
    for (key, value), operation in writers.items():
        if operation.outcome != "ok" or answers.get(key) == value:
            continue
        last = writers.get((key, answers.get(key, "")))
        if last is None or _went_before(last, operation):
            verdict.violations.append(f"{session}: the answer {value} to question {key} is lost")
    shown = max((operation.version or 0 for operation in history), default=0)
    if version < shown:
        verdict.violations.append(f"{session}: version {shown} was shown, the database holds {version}")
    acknowledged = sum(operation.changed for operation in history)
    possible = acknowledged + sum(operation.outcome == "unknown" for operation in history) + 1
    if not acknowledged - _idle(history) < version <= possible + 1:
        verdict.violations.append(f"{session}: {acknowledged} writes, but version {version}")


def _went_before(one: Operation, other: Operation) -> bool:
    """Tell whether a write certainly landed before another one that was acknowledged."""
    if one.outcome != "ok":
        return False
    if one.repeats or other.repeats or one.version is None or other.version is None:
        return one.end < other.begin
    return one.version < other.version


def _idle(history: list[Operation]) -> int:
    """Return how many acknowledged completions came after the first: they change nothing."""
    return max(
        0, sum(operation.kind == "complete" and operation.outcome == "ok" for operation in history) - 1
    )
