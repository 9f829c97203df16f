"""The record of a history: requests as their clients saw them, the state at the end, and the verdict."""

import json
from datetime import datetime
from time import monotonic, time
from typing import Any, Literal

from attrs import define, field, frozen

Kind = Literal["start", "save", "read", "complete", "extend", "order", "event", "erase"]
Outcome = Literal["ok", "conflict", "gone", "paused", "exhausted", "missing", "refused", "unknown"]
ENDED = ("completed", "expired")


def entries(session: dict[str, Any]) -> dict[str, str]:
    """Return the answers and annotations of a session, or of the body of a save, as JSON texts by name."""
    return {
        f"{part}/{question}": json.dumps(value, sort_keys=True)
        for part in ("answers", "annotations")
        for question, value in (session.get(part) or {}).items()
    }


def monotonic_at(moment: datetime | None) -> float:
    """Return the monotonic clock's time at the moment; the database's clock is this machine's."""
    return moment.timestamp() - time() + monotonic() if moment else float("inf")


@define
class Operation:
    """A request as its client saw it: times in seconds, `version` from the response.

    `extend` is an order that adds seconds to the end, `order` any other one. `outcome` is `ok`, `conflict`
    (409), `gone` (410), `paused` (423), `exhausted` (403), `missing` (404), `refused` (certainly not applied)
    or `unknown`.
    `writes` are the entries of a save; every value belongs to one operation only. `times` are those of the
    session that orders move. `limited` is the user of a start with a limit of attempts. An `event` of the
    feed shows its version and, of an end, the status.
    """

    kind: Kind
    session: str
    begin: float
    end: float
    outcome: Outcome
    version: int | None = None
    status: str | None = None
    entries: dict[str, str] | None = None
    ended_by: str | None = None
    expected_version: int | None = None
    writes: dict[str, str] = field(factory=dict)
    seen: int = 0
    fresh: bool = False
    times: tuple[str | None, ...] = ()
    expires_at: float = float("inf")
    closes_at: float = float("inf")
    paused_at: float = float("inf")
    limited: str = ""
    attempt: int | None = None
    repeats: int = 0
    extra: int = 0

    @property
    def orders(self) -> bool:
        """Whether the operation is an order that may have changed the session."""
        return self.kind in ("extend", "order") and self.outcome in ("ok", "unknown")

    @property
    def extended(self) -> bool:
        """Whether the operation certainly moved the end of the session, which then runs."""
        moved = self.kind == "extend" and self.outcome == "ok" and self.status == "in_progress"
        return moved and self.expires_at != float("inf")

    @property
    def changed(self) -> bool:
        """Whether the operation certainly changed the session."""
        return self.outcome == "ok" and self.kind in ("save", "complete")


@define
class QuizOrder:
    """An order for a quiz as its client saw it, in one or several calls with one key.

    `users` are the learners that it is for, None for all; its `reason` is that of no other order. `extends`
    is set for a quiz whose sessions get no orders but extensions. `first_end` is the time of the first reply;
    `changed` is from the last one, and `unchanged` has the items of all, each with the times of its call.
    `lost` is set if a call had no reply.
    """

    kind: str
    quiz: str
    users: set[str] | None
    reason: str
    begin: float
    extra: int = 0
    extends: bool = False
    first_end: float = float("inf")
    end: float = float("inf")
    changed: int = 0
    unchanged: list[tuple[str, str | None, float, float]] = field(factory=list)
    finished: bool = False
    lost: bool = False

    def covers(self, quiz: str, user: str) -> bool:
        """Return whether the order is for the sessions of the user."""
        return quiz == self.quiz and (self.users is None or user in self.users)

    def note(self, report: dict[str, Any], begin: float, end: float) -> None:
        """Note the reply to a call."""
        self.first_end = min(self.first_end, end)
        self.end, self.changed, self.finished = end, report["changed"], not report["unfinished"]
        self.unchanged += [(one["id"], one["errorCode"], begin, end) for one in report["unchanged"]]


@frozen
class Final:
    """The state of a session in the database at the end."""

    version: int
    entries: dict[str, str]
    late_saves: int = 0
    expires_at: float = float("inf")


@define
class Verdict:
    """Violations of guarantees, and the number and maximum age in seconds of stale responses."""

    violations: list[str] = field(factory=list)
    stale: int = 0
    max_staleness: float = 0.0
