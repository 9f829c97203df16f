"""Orders for quizzes in a history: their effects on sessions, from the journal, and the check of both."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import psycopg
from attrs import frozen

from tests.verify.histories.record import ENDED, Operation, QuizOrder, monotonic_at

# Seconds by which a time of the database may differ from one of a client: it is in whole milliseconds.
SLACK = 0.05
NEVER = float("inf")
WANTED = {"pause": "paused", "resume": "in_progress"}
CODES = {"SESSION_COMPLETED": "completed", "SESSION_EXPIRED": "expired"}


@frozen
class JournalLine:
    """A line of a session's journal, with its quiz and user; times by the monotonic clock."""

    session: str
    quiz: str
    user: str
    version: int
    type: str
    at: float
    reason: str | None = None
    ended_by: str | None = None
    expires_at: float = NEVER
    closes_at: float = NEVER


@frozen
class Phase:
    """A time in which a session has a status; `overdue` is an end that is not stored yet."""

    since: float
    status: str
    has_end: bool
    ended_by: str | None = None


def read_journal(url: str, quizzes: Iterable[object]) -> list[JournalLine]:
    """Return the lines of all sessions of the quizzes, but those of saves, in the order of the versions."""
    query = """
        select
          session_id::text, quiz_id, user_id, e.version, type, at, data ->> 'reason', data ->> 'ended_by',
          (data ->> 'expires_at')::timestamptz, (data ->> 'closes_at')::timestamptz
        from session_events as e
        join quiz_sessions as s on s.id = e.session_id
        where quiz_id = any (%s)
          and type <> 'session.saved'
        order by session_id, e.version
    """
    with psycopg.connect(url) as database:
        rows = database.execute(query, [[str(quiz) for quiz in quizzes]]).fetchall()
    return [
        JournalLine(
            *(session, quiz, user, version, kind),
            *(monotonic_at(at), reason, by, monotonic_at(end), monotonic_at(close)),
        )
        for session, quiz, user, version, kind, at, reason, by, end, close in rows
    ]


def effects(orders: Iterable[QuizOrder], journal: Iterable[JournalLine]) -> list[Operation]:
    """Return each change by an order for a quiz as an operation on its session.

    Only a finished order has told its client that the changes are made.
    """
    given = {order.reason: order for order in orders}
    statuses = {"session.paused": "paused", "session.expired": "expired", "session.completed": "completed"}
    found = []
    for line in journal:
        order = given.get(line.reason or "")
        if order is None:
            continue
        kind, outcome = ("extend" if order.extends else "order"), ("ok" if order.finished else "unknown")
        change = Operation(kind, line.session, order.begin, order.end, outcome)  # type: ignore[arg-type]
        change.extra, change.expires_at = order.extra, line.expires_at
        if order.finished:
            change.version, change.status = line.version, statuses.get(line.type, "in_progress")
        found.append(change)
    return found


def check_orders(
    orders: Iterable[QuizOrder], journal: Iterable[JournalLine], operations: Iterable[Operation]
) -> list[str]:
    """Return the violations of the guarantees of orders; each order has a reason of its own."""
    lines: defaultdict[str, list[JournalLine]] = defaultdict(list)
    made: defaultdict[str, dict[str, float]] = defaultdict(dict)
    found = []
    for line in journal:
        lines[line.session].append(line)
        if line.reason and line.session in made[line.reason]:
            found.append(f"{line.session}: the order {line.reason} was carried out twice")
        made[line.reason or ""][line.session] = line.at
    starts = {one.session: one for one in operations if one.kind == "start" and one.outcome == "ok"}
    found += [violation for session in lines.values() for violation in _check_pauses(session)]
    phases = {session: _phases(of_session) for session, of_session in lines.items()}
    for order in orders:
        changed = made[order.reason]
        found += _check_report(order, changed, phases)
        for session in starts.keys() & phases.keys():
            begun, reached = starts[session], session in changed
            if begun.begin > order.first_end and reached:
                found.append(f"{session}: changed by {order.reason}, which began before the session")
            asked = order.covers(lines[session][0].quiz, lines[session][0].user)
            if order.finished and asked and begun.end < order.begin and not reached:
                found += _check_omission(order, session, phases[session])
    return found


def _check_report(order: QuizOrder, changed: dict[str, float], phases: dict[str, list[Phase]]) -> list[str]:
    """The report counts the changed sessions; the others are unchanged for the reason that it gives.

    A later call may change a session that an earlier one has found ended: it was reopened in between.
    """
    found = []
    if order.changed > len(changed) or (order.finished and order.changed < len(changed)):
        found.append(f"{order.reason} reports {order.changed} of {len(changed)} changed sessions")
    for session, code, begin, end in order.unchanged:
        during = _during(phases.get(session, []), begin, end)
        # A call without a reply may go on while the next one runs.
        if changed.get(session, NEVER) < (begin - SLACK if order.lost else end):
            found.append(f"{session}: {order.reason} has changed it and lists it as unchanged")
        if not (_is_reached(order, during) if code is None else _is_refused(order, code, during)):
            found.append(f"{session}: {order.reason} leaves it unchanged for {code}: {during}")
    return found


def _check_omission(order: QuizOrder, session: str, phases: list[Phase]) -> list[str]:
    """A finished order has changed each session that runs or is paused all the time, or lists it."""
    during = _during(phases, order.begin, order.end)
    if not {phase.status for phase in during} <= {"in_progress", "paused"}:
        return []
    listed = session in {one for one, *_ in order.unchanged}
    # The list of a call without a reply is not known, and a repeat does not have its sessions.
    if listed or (order.lost and _is_reached(order, during)):
        return []
    return [f"{session}: left out by {order.reason}"]


def _check_pauses(lines: Sequence[JournalLine]) -> list[str]:
    """No deadline ends a paused session, and no learner after the grace."""
    found, grace = [], 0.0
    if lines[0].expires_at != NEVER:
        grace = lines[0].closes_at - lines[0].expires_at
    paused_at = NEVER
    for line in lines:
        late = line.ended_by == "learner" and line.at > paused_at + grace + SLACK
        if late or (line.ended_by == "deadline" and paused_at != NEVER):
            found.append(f"{line.session}: {line.type} by {line.ended_by} in a pause")
        if line.type == "session.paused":
            paused_at = line.at
        elif line.type != "session.deadline_changed":
            paused_at = NEVER
    return found


def _phases(lines: Sequence[JournalLine]) -> list[Phase]:
    """Return the phases of a session."""
    phases: list[Phase] = []
    for line, following in pairwise([*lines, None]):
        assert line is not None
        status = line.type.removeprefix("session.")
        if status == "deadline_changed" and phases[-1].status == "paused":
            status = "paused"
        elif status not in (*ENDED, "paused"):
            status = "in_progress"
        phases.append(Phase(line.at, status, line.expires_at != NEVER, line.ended_by))
        if status == "in_progress" and line.closes_at < (following.at if following else NEVER):
            phases.append(Phase(line.closes_at, "overdue", has_end=True))
    return phases


def _during(phases: Sequence[Phase], begin: float, end: float) -> list[Phase]:
    """Return the phases that the session may have had between the two times."""
    return [
        phase
        for phase, following in pairwise([*phases, Phase(NEVER, "", has_end=False)])
        if phase.since < end + SLACK and following.since > begin - SLACK
    ]


def _is_reached(order: QuizOrder, during: Iterable[Phase]) -> bool:
    """Return whether the session may have had the state that the order asks for."""
    if order.kind in WANTED:
        return any(phase.status == WANTED[order.kind] for phase in during)
    # Without an end there is none to move, and an end that stays in the past is as good as none.
    return any(
        not phase.has_end or phase.status == "overdue" or phase.ended_by in ("deadline", "proctor")
        for phase in during
    )


def _is_refused(order: QuizOrder, code: str, during: Iterable[Phase]) -> bool:
    """Return whether the session may have had the state that the error code names."""
    if order.kind == "deadline":
        # More time lets a session run again unless its learner has completed it.
        return code == "SESSION_COMPLETED" and any(phase.ended_by == "learner" for phase in during)
    return any(phase.status in (CODES.get(code), "overdue") for phase in during)
