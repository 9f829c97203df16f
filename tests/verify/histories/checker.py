"""The checker of histories: finds operations that break a guarantee, from the recorded operations alone."""

import heapq
from collections import defaultdict
from collections.abc import Iterable

from tests.verify.histories.record import ENDED, Final, Operation, Verdict


def check(
    operations: Iterable[Operation],
    final: dict[str, Final],
    bound: float | None = None,
    limit: int = 0,
) -> Verdict:
    """Check a history; `final` has each session's state in the database at the end.

    `limit` is the number of attempts in the starts that have a limit.
    Without `bound` a response may not be older than one that ended before its request began. With it, a read
    may be older for so many seconds, unless it names a version that its client has seen.
    """
    verdict = Verdict()
    sessions, limited = defaultdict(list), defaultdict(list)
    for operation in operations:
        sessions[operation.session].append(operation)
        if operation.limited:
            limited[operation.limited].append(operation)
    for user, starts in limited.items():
        _check_attempts(user, starts, limit, verdict)
    for session, history in sessions.items():
        history.sort(key=lambda operation: operation.begin)
        _check_one_state_for_each_version(session, history, verdict)
        _check_order(session, history, bound, verdict)
        _check_refusals(session, history, verdict)
        _check_end(session, history, verdict)
        _check_pauses(session, history, verdict)
        _check_erased(session, history, bound, verdict)
        if session in final:
            _check_final(session, history, final[session], verdict)
    return verdict


def _check_final(session: str, history: list[Operation], final: Final, verdict: Verdict) -> None:
    """The state at the end has what the operations have changed, and no more; an erased session has none."""
    if any(map(_is_erased, history)):
        verdict.violations.append(f"{session}: it was erased, and is in the database")
        return
    _check_nothing_lost(session, history, final, verdict)
    # Orders move the ends: only without them it is known which saves were late.
    kinds = {operation.kind for operation in history}
    if not kinds & {"extend", "order"}:
        _check_late_saves(session, history, final, verdict)
    if "order" not in kinds:
        _check_extensions(session, history, final, verdict)


def _check_one_state_for_each_version(session: str, history: list[Operation], verdict: Verdict) -> None:
    """Each version has one content and one status, and belongs to one write."""
    states: dict[int, tuple[object, ...]] = {}
    winners: set[int] = set()
    for operation in history:
        version = operation.version
        if version is None:
            continue
        shown = operation.entries is not None and (operation.status, operation.entries, operation.times)
        if shown and states.setdefault(version, shown) != shown:
            verdict.violations.append(f"{session}: version {version} was shown with two contents")
        # The response to a repeat or a completion may show the version of a later write.
        if not operation.repeats and (operation.extended or (operation.changed and operation.kind == "save")):
            _check_winner(session, operation, winners, verdict)
            winners.add(version)


def _check_winner(session: str, save: Operation, winners: set[int], verdict: Verdict) -> None:
    """A save, or an extension, has a version of its own, after the expected one, and its reply shows it."""
    if save.version in winners:
        verdict.violations.append(f"{session}: version {save.version} was given to two writes")
    if save.expected_version is not None and save.version != save.expected_version + 1:
        verdict.violations.append(f"{session}: a write onto {save.expected_version} made {save.version}")
    if save.entries is not None and not save.writes.items() <= save.entries.items():
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
        # An event is not a read of the session, but no later read may be older.
        elif operation.version < newest and operation.kind != "event":
            age = operation.begin - first_shown
            verdict.stale += 1
            verdict.max_staleness = max(verdict.max_staleness, age)
            # The bound applies only to reads that may use the cache.
            if bound is None or age > bound or operation.fresh or operation.kind != "read":
                detail = f"showed {operation.version} {age:.3f} s after {newest} was shown"
                verdict.violations.append(f"{session}: {operation.kind} {detail}")
        heapq.heappush(ended, (operation.end, operation.version))


def _check_refusals(session: str, history: list[Operation], verdict: Verdict) -> None:
    """No session is saved after its end was shown; a 409 has another write.

    An extension is 410 only after a completion by the learner.
    """
    ends = [operation for operation in history if operation.status in ENDED and operation.version]
    orders = [operation for operation in history if operation.orders]
    for operation in history:
        if operation.kind == "save" and operation.outcome == "ok":
            ended = max((end.version or 0 for end in ends if end.end < operation.begin), default=0)
            # Only an order after the end lets the session run again.
            if ended and not any(_may_follow(order, ended) for order in orders):
                verdict.violations.append(f"{session}: saved after its completion or expiry")
        if operation.kind == "extend" and operation.outcome == "gone" and operation.ended_by != "learner":
            verdict.violations.append(f"{session}: not extended after its end by {operation.ended_by}")
        if operation.outcome == "conflict" and (operation.version or 0) <= (operation.expected_version or 0):
            verdict.violations.append(
                f"{session}: 409 onto {operation.expected_version} without a competing write"
            )


def _may_follow(order: Operation, version: int) -> bool:
    """Return whether an order may have changed the session after this version."""
    return order.outcome == "unknown" or (order.version or 0) > version


def _check_end(session: str, history: list[Operation], verdict: Verdict) -> None:
    """No session is in progress after its close, and the deadline ends none before it."""
    for operation in history:
        if operation.status == "in_progress" and operation.begin > operation.closes_at:
            verdict.violations.append(f"{session}: in progress after its end")
        if operation.ended_by == "deadline" and operation.end < operation.closes_at:
            verdict.violations.append(f"{session}: ended before its end")


def _check_pauses(session: str, history: list[Operation], verdict: Verdict) -> None:
    """A paused session is saved in its grace alone; a 423 is for a paused one."""
    graces = [one.closes_at - one.expires_at for one in history if one.kind == "start"]
    grace = max((grace for grace in graces if grace < float("inf")), default=0)
    for operation in history:
        saved = operation.kind == "save" and operation.outcome == "ok" and operation.status == "paused"
        if saved and operation.begin > operation.paused_at + grace:
            verdict.violations.append(f"{session}: saved in a pause")
        if operation.outcome == "paused" and operation.status != "paused":
            verdict.violations.append(f"{session}: 423 for {operation.status}")


def _check_erased(session: str, history: list[Operation], bound: float | None, verdict: Verdict) -> None:
    """No response shows a session after one has said that it is gone; a session is gone only if it is erased.

    With a bound, a read that may use the cache may still show it for so many seconds.
    """
    gone = [one for one in history if one.outcome == "missing" or _is_erased(one)]
    erasing = [one.begin for one in history if one.kind == "erase" and one.outcome != "refused"]
    for operation in gone:
        if operation.outcome == "missing" and operation.end < min(erasing, default=float("inf")):
            verdict.violations.append(f"{session}: {operation.kind} is 404, and it was not erased")
    first = min((one.end for one in gone), default=float("inf"))
    for operation in history:
        if operation.version is None or operation.kind == "event" or operation.begin <= first:
            continue
        age = operation.begin - first
        verdict.stale += 1
        verdict.max_staleness = max(verdict.max_staleness, age)
        if bound is None or age > bound or operation.fresh or operation.kind != "read":
            verdict.violations.append(f"{session}: {operation.kind} showed it {age:.3f} s after it was gone")


def _is_erased(operation: Operation) -> bool:
    return operation.kind == "erase" and operation.outcome == "ok"


def _check_late_saves(session: str, history: list[Operation], final: Final, verdict: Verdict) -> None:
    """The writes between expiry and close are counted, each once, and no others."""
    saves = [operation for operation in history if operation.kind == "save" and operation.writes]
    certain = sum(save.outcome == "ok" and save.begin > save.expires_at for save in saves)
    possible = sum(
        save.outcome == "unknown" or (save.outcome == "ok" and save.end > save.expires_at) for save in saves
    )
    if not certain <= final.late_saves <= possible:
        verdict.violations.append(
            f"{session}: {final.late_saves} late saves instead of {certain} to {possible}"
        )


def _check_attempts(user: str, starts: list[Operation], limit: int, verdict: Verdict) -> None:
    """A user has no more sessions of the quiz than allowed, numbered from 1, and can have as many."""
    attempts = {start.session: start.attempt for start in starts if start.outcome == "ok"}
    numbers = set(attempts.values())
    if len(attempts) > limit or len(numbers) < len(attempts) or not numbers <= {*range(1, limit + 1)}:
        verdict.violations.append(f"{user}: attempts {attempts} with a limit of {limit}")
    outcomes = [start.outcome for start in starts]
    if "exhausted" in outcomes and len(attempts) + outcomes.count("unknown") < limit:
        verdict.violations.append(f"{user}: a start was refused after {len(attempts)} of {limit} attempts")


def _check_nothing_lost(session: str, history: list[Operation], final: Final, verdict: Verdict) -> None:
    """Each acknowledged write is stored or overwritten by a later one; everything stored was sent."""
    version, stored = final.version, final.entries
    writers = {(key, value): operation for operation in history for key, value in operation.writes.items()}
    for key, value in stored.items():
        if (key, value) not in writers or writers[key, value].outcome not in ("ok", "unknown"):
            verdict.violations.append(f"{session}: {key} holds what no successful save sent")
    for (key, value), operation in writers.items():
        if operation.outcome != "ok" or stored.get(key) == value:
            continue
        last = writers.get((key, stored.get(key, "")))
        if last is None or _certainly_before(last, operation):
            verdict.violations.append(f"{session}: {key}: {value} is lost")
    shown = max((operation.version or 0 for operation in history), default=0)
    if version < shown:
        verdict.violations.append(f"{session}: version {shown} was shown, the database holds {version}")
    acknowledged = sum(operation.changed for operation in history)
    possible = acknowledged + sum(operation.outcome == "unknown" for operation in history) + 1
    # Each order may change the session, and let it run until another end.
    possible += sum(
        operation.orders + (operation.orders and operation.outcome == "ok") for operation in history
    )
    if not acknowledged - _repeated_completions(history) < version <= possible + 1:
        verdict.violations.append(f"{session}: {acknowledged} writes, but version {version}")


def _check_extensions(session: str, history: list[Operation], final: Final, verdict: Verdict) -> None:
    """The end is moved by each acknowledged extension once, and by no other one."""
    (begun, *_) = [start.expires_at for start in history if start.kind == "start"] or [float("inf")]
    if begun == float("inf") or final.expires_at == float("inf"):
        return
    moved = round(final.expires_at - begun)
    certain = sum(operation.extra for operation in history if operation.extended)
    # The reply to a repeat, or to one that came too late, does not say whether it was applied.
    possible = sum(operation.extra for operation in history if operation.orders)
    if not certain <= moved <= possible:
        verdict.violations.append(f"{session}: extended by {moved} s instead of {certain} to {possible}")


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
