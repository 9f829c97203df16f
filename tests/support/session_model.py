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


@define
class Model:
    """The expected session; `late` is true in the grace."""

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

    def close(self, on_expiry: str) -> None:
        """End the session by its deadline: the next request that finds it, or the sweeper, stores that."""
        self.status = "completed" if on_expiry == "complete" else "expired"
        self.version, self.ended_by = self.version + 1, "deadline"

    def expected_status(self, sent: Sent, key: str | None, expected_version: int | None) -> int:
        """Return the status by the contract's order of checks: session status, idempotency key, version."""
        if self.status == "completed":
            unchanged = self._merged(sent) == (self.answers, self.annotations)
            return 200 if sent.path == "complete" and unchanged else 410
        if self.status == "expired":
            return 410
        if key in self.keys:
            return 200 if self.keys[key] == sent.identity(expected_version) else 422
        return 409 if expected_version not in (None, self.version) else 200

    def apply(self, sent: Sent, key: str | None, expected_version: int | None, time: str) -> None:
        """Apply a write that was accepted at the time, unless it is a repeat or the session has ended."""
        if self.status != "in_progress" or key in self.keys:
            return
        self.version += 1
        self.answers, self.annotations = self._merged(sent)
        self.question = self.question if sent.question is None else sent.question
        if sent.answers or sent.annotations:
            self.late_saves += self.late
            self.saved_at = time
        if sent.path == "complete":
            self.status, self.ended_by = "completed", "learner"
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
        if self.status == "completed" and self.ended_by == "deadline":
            assert session["completed_at"] == session["closes_at"]

    def _merged(self, sent: Sent) -> tuple[Values, Values]:
        merged = (self.answers | sent.answers, self.annotations | sent.annotations)
        answers, annotations = (
            {name: value for name, value in one.items() if value is not None} for one in merged
        )
        return answers, annotations
