"""The checker of histories: finds operations that break a guarantee, from the recorded operations alone."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from attrs import define, field

Kind = Literal["start", "save", "read", "complete"]


@define
class Operation:
    """A request as its client saw it: times in seconds, `version` from the response.

    `outcome` is `ok`, `conflict` (409), `gone` (410), `refused` (certainly not applied) or `unknown`.
    `writes` maps question ids to the values of a save; every value belongs to one operation only.
    """

    kind: Kind
    session: str
    begin: float
    end: float
    outcome: Literal["ok", "conflict", "gone", "refused", "unknown"]
    version: int | None = None
    status: str | None = None
    answers: dict[str, str] | None = None
    expected_version: int | None = None
    writes: dict[str, str] = field(factory=dict)
    seen: int = 0
    fresh: bool = False
    expires_at: float = float("inf")
    repeats: int = 0

    @property
    def changed(self) -> bool:
        """Whether the operation certainly changed the session."""
        return self.outcome == "ok" and self.kind in ("save", "complete")


@define
class Verdict:
    """Violations of guarantees, and the number and maximum age in seconds of stale responses."""

    violations: list[str] = field(factory=list)
    stale: int = 0
    max_staleness: float = 0.0


def check(
    operations: Iterable[Operation],
    final: dict[str, tuple[int, dict[str, str]]],
    bound: float | None = None,
) -> Verdict:
    """Check a history; `final` has each session's version and answers in the database at the end.

    Without `bound` a response may not be older than one that ended before its request began. With it, a read
    may be older for so many seconds, unless it names a version that its client has seen.
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
    """Each version has one content and belongs to one write."""
    states: dict[int, dict[str, str]] = {}
    winners: set[int] = set()
    for operation in history:
        version, answers = operation.version, operation.answers
        if version is None:
            continue
        if answers is not None and states.setdefault(version, answers) != answers:
            verdict.violations.append(f"{session}: version {version} was shown with two contents")
        # The response to a repeat or a completion may show the version of a later write.
        if operation.changed and operation.kind == "save" and not operation.repeats:
            _check_winner(session, operation, winners, verdict)
            winners.add(version)


def _check_winner(session: str, save: Operation, winners: set[int], verdict: Verdict) -> None:
    """A save has a version of its own, the next after the expected one, and its response shows it."""
    if save.version in winners:
        verdict.violations.append(f"{session}: version {save.version} was given to two writes")
    if save.expected_version is not None and save.version != save.expected_version + 1:
        verdict.violations.append(f"{session}: a write onto {save.expected_version} made {save.version}")
    if save.answers is not None and not save.writes.items() <= save.answers.items():
        verdict.violations.append(f"{session}: the reply to a save does not show it")


def _check_order(session: str, history: list[Operation], bound: float | None, verdict: Verdict) -> None:
    """No response is older than one that ended before its request, or than what its client has seen."""
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
            verdict.max_staleness = max(verdict.max_staleness, age)
            # The bound applies only to reads that may use the cache.
            if bound is None or age > bound or operation.fresh or operation.kind != "read":
                detail = f"showed {operation.version} {age:.3f} s after {newest} was shown"
                verdict.violations.append(f"{session}: {operation.kind} {detail}")
        heapq.heappush(ended, (operation.end, operation.version))


def _check_refusals(session: str, history: list[Operation], verdict: Verdict) -> None:
    """No session is in progress after its expiry or saved after a completion; a 409 has another write."""
    completed_at = min(
        (operation.end for operation in history if operation.status == "completed"), default=float("inf")
    )
    for operation in history:
        if operation.status == "in_progress" and operation.begin > operation.expires_at:
            verdict.violations.append(f"{session}: in progress after its end")
        if operation.kind == "save" and operation.outcome == "ok" and operation.begin > completed_at:
            verdict.violations.append(f"{session}: saved after its completion")
        if operation.outcome == "conflict" and (operation.version or 0) <= (operation.expected_version or 0):
            verdict.violations.append(
                f"{session}: 409 onto {operation.expected_version} without a competing write"
            )


def _check_nothing_lost(
    session: str, history: list[Operation], final: tuple[int, dict[str, str]], verdict: Verdict
) -> None:
    """Each acknowledged write is stored or overwritten by a later one; everything stored was sent."""
    version, answers = final
    writers = {(key, value): operation for operation in history for key, value in operation.writes.items()}
    for key, value in answers.items():
        if (key, value) not in writers or writers[key, value].outcome in ("conflict", "gone", "refused"):
            verdict.violations.append(f"{session}: question {key} holds what no successful save sent")
    for (key, value), operation in writers.items():
        if operation.outcome != "ok" or answers.get(key) == value:
            continue
        last = writers.get((key, answers.get(key, "")))
        if last is None or _certainly_before(last, operation):
            verdict.violations.append(f"{session}: the answer {value} to question {key} is lost")
    shown = max((operation.version or 0 for operation in history), default=0)
    if version < shown:
        verdict.violations.append(f"{session}: version {shown} was shown, the database holds {version}")
    acknowledged = sum(operation.changed for operation in history)
    possible = acknowledged + sum(operation.outcome == "unknown" for operation in history) + 1
    if not acknowledged - _repeated_completions(history) < version <= possible + 1:
        verdict.violations.append(f"{session}: {acknowledged} writes, but version {version}")


def _certainly_before(one: Operation, other: Operation) -> bool:
    """Return whether a write was certainly applied before another one."""
    if one.outcome != "ok":
        return False
    if one.repeats or other.repeats or one.version is None or other.version is None:
        return one.end < other.begin
    return one.version < other.version


def _repeated_completions(history: list[Operation]) -> int:
    """Return the number of acknowledged completions after the first: they change nothing."""
    return max(
        0, sum(operation.kind == "complete" and operation.outcome == "ok" for operation in history) - 1
    )
