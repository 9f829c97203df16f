"""Model of a session in Python, with which the model-based test compares the service."""

import json
from typing import Any

from attrs import define, field, frozen

Values = dict[str, Any]


@frozen
class Sent:
    """A write: the request, and its effect in the model."""

    method: str
    path: str
    body: Values
    answers: Values
    annotations: Values
    question: str | None

    def identity(self, expected_version: int | None) -> tuple[object, ...]:
        """Return the value that is equal for two writes if one repeats the other."""
        effect = json.dumps([self.answers, self.annotations], sort_keys=True)
        return (self.method, self.path, effect, self.question, expected_version)


@frozen
class Given:
    """An order: the kind of the request, and its body."""

    kind: str
    body: Values

    @property
    def end(self) -> str | None:
        """The end that a deadline asks for, None for no end."""
        end: str | None = self.body.get("expires_at")
        return end

    @property
    def ends_now(self) -> bool:
        """Whether it is a deadline in the past."""
        return self.end is not None and self.end < "2010"

    def identity(self, expected_version: int | None) -> tuple[object, ...]:
        """Return the value that is equal for two orders if one repeats the other."""
        return (self.kind, json.dumps(self.body, sort_keys=True), expected_version)


@define
class Model:
    """The expected session; `late` is true in the grace.

    `end` is the end that the last deadline has asked for, `start` if the start or a later change has set it.
    """

    id: str
    saved_at: str
    status: str = "in_progress"
    version: int = 1
    question: str = "0"
    answers: Values = field(factory=dict)
    annotations: Values = field(factory=dict)
    late: bool = False
    late_saves: int = 0
    ended_by: str | None = None
    keys: dict[str, object] = field(factory=dict)
    order_keys: dict[str, object] = field(factory=dict)
    on_expiry: str = "expire"
    grace: int = 0
    has_end: bool = True
    end: str | None = "start"
    ended_before: bool = False

    def close(self, ended_by: str = "deadline") -> None:
        """End the session by its deadline: the next request that finds it, or the sweeper, stores that."""
        self.status = "completed" if self.on_expiry == "complete" else "expired"
        self.version, self.ended_by, self.end = self.version + 1, ended_by, "start"
        self.ended_before = True
        # The keys of orders stay without what they stood for: each order with one is a repeat.
        self.order_keys = dict.fromkeys(self.order_keys)

    def expected_status(self, sent: Sent, key: str | None, expected_version: int | None) -> int:
        """Return the status by the contract's order of checks: session status, idempotency key, version."""
        if self.status == "completed":
            unchanged = self._merged(sent) == (self.answers, self.annotations)
            return 200 if sent.path == "complete" and unchanged else 410
        if self.status == "expired":
            return 410
        if self.status == "paused" and not self.grace:
            return 423
        if key in self.keys:
            return 200 if self.keys[key] in (None, sent.identity(expected_version)) else 422
        return 409 if expected_version not in (None, self.version) else 200

    def expected_order_status(self, order: Given, key: str, expected_version: int | None) -> int:
        """Return the status of an order, by the same order of checks."""
        if self.status in ("completed", "expired") and order.kind in ("pause", "resume"):
            return 410
        if self.ended_by == "learner" and order.kind == "deadline":
            return 410
        if key in self.order_keys:
            return 200 if self.order_keys[key] in (None, order.identity(expected_version)) else 422
        return 409 if expected_version not in (None, self.version) else 200

    def obey(self, order: Given, key: str, expected_version: int | None) -> None:
        """Apply an order that was accepted, unless it is a repeat or finds the state that it asks for."""
        if key in self.order_keys:
            return
        self.order_keys[key] = order.identity(expected_version)
        ended = self.status in ("completed", "expired")
        match order.kind:
            case "pause" if self.status == "in_progress":
                self.status, self.version = "paused", self.version + 1
            case "resume" if self.status == "paused":
                self.status, self.version, self.end = "in_progress", self.version + 1, self.end and "start"
            case "reopen" if ended:
                self._run_again(has_end=True)
            case "deadline":
                self._move_end(order)
        if self.status in ("completed", "expired"):
            self.order_keys = dict.fromkeys(self.order_keys)

    def _move_end(self, order: Given) -> None:
        if order.ends_now:
            if self.status in ("in_progress", "paused"):
                self.close("proctor")
                self.has_end = True
        # The time left in a pause is another one at each moment.
        elif self.end != order.end or (self.status == "paused" and order.end):
            status = "paused" if self.status == "paused" else "in_progress"
            self._run_again(has_end=order.end is not None)
            self.status, self.end = status, order.end

    def _run_again(self, *, has_end: bool) -> None:
        if self.status in ("completed", "expired"):
            # Without their digests all repeats are equal.
            self.keys = dict.fromkeys(self.keys)
        self.status, self.version, self.ended_by = "in_progress", self.version + 1, None
        self.has_end, self.late, self.end = has_end, False, "start"

    def apply(self, sent: Sent, key: str | None, expected_version: int | None, time: str) -> None:
        """Apply a write that was accepted at the time, unless it is a repeat or the session has ended."""
        if self.status not in ("in_progress", "paused") or key in self.keys:
            return
        self.version += 1
        self.answers, self.annotations = self._merged(sent)
        self.question = self.question if sent.question is None else sent.question
        if sent.answers or sent.annotations:
            self.late_saves += self.late
            self.saved_at = time
        if sent.path == "complete":
            self.status, self.ended_by, self.end = "completed", "learner", "start"
            self.ended_before = True
            self.order_keys = dict.fromkeys(self.order_keys)
        if key is not None:
            self.keys[key] = sent.identity(expected_version)

    def check(self, session: Values) -> None:
        """Check that a session in a response is this one."""
        # As JSON: in Python true is equal to 1.
        expected = {
            "id": self.id,
            "status": self.status,
            "version": self.version,
            "current_question": int(self.question) if self.question in ("0", "1") else self.question,
            "answers": self.answers,
            "annotations": self.annotations,
            "late_saves": self.late_saves,
            "last_saved_at": self.saved_at,
            "ended_by": self.ended_by,
        }
        actual = {name: session[name] for name in expected}
        assert json.dumps(actual, sort_keys=True) == json.dumps(expected, sort_keys=True)
        assert (session["completed_at"] is not None) == (self.status == "completed")
        assert (session["paused_at"] is not None) == (self.status == "paused")
        assert (session["expires_at"] is not None) == self.has_end
        if self.status == "completed" and self.ended_by != "learner":
            assert session["completed_at"] == session["closes_at"]

    def _merged(self, sent: Sent) -> tuple[Values, Values]:
        merged = (self.answers | sent.answers, self.annotations | sent.annotations)
        answers, annotations = (
            {name: value for name, value in one.items() if value is not None} for one in merged
        )
        return answers, annotations
