"""Model-based test: random requests of several clients to a session, compared with a model in Python."""

from typing import Any, Literal
from uuid import uuid4

import hypothesis.strategies as st
import psycopg
import pytest
from attrs import frozen
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from tests.support.service import Service

QUESTIONS = st.integers(0, 3)
ANSWERS = st.one_of(
    st.sampled_from(["a", "b", "\u00e4 \U0001f600"]), st.lists(st.sampled_from("xyz"), min_size=1)
)
CHANGES = st.one_of(ANSWERS, st.none())
VERSIONS = st.sampled_from([None, "current", "stale", "future"])
END = "update quiz_sessions set expires_at = date_trunc('milliseconds', clock_timestamp()) where id = %s"
KEYS = st.one_of(st.none(), st.sampled_from(["k1", "k2", "k3"]))


ExpectedVersion = Literal["current", "stale", "future"] | None


@frozen
class Sent:
    """A write: the request, and its effect in the model."""

    method: str
    path: str
    body: dict[str, Any]
    changes: dict[str, Any]
    question: int | None


class Machine(RuleBasedStateMachine):
    """The state machine: each rule sends one request and compares the response with the model."""

    service: Service
    database: psycopg.Connection
    cache: Redis

    @initialize()
    def start(self) -> None:
        """Start a session."""
        self.user = f"user-{uuid4()}"
        self.body = {"user_id": self.user, "quiz_id": 7}
        self.headers = {"idempotency-key": "start"}
        session = self.service.client.post("/api/sessions/start", json=self.body, headers=self.headers).json()
        self.id = session["id"]
        self.status, self.version, self.question = "in_progress", 1, 0
        self.answers: dict[str, Any] = {}
        self.keys: list[tuple[str, object]] = []
        self.keyed: list[tuple[Sent, dict[str, str], int | None, Any]] = []

    @rule(question=QUESTIONS, answer=CHANGES, version=VERSIONS, key=KEYS, tagged=st.booleans())
    def save(
        self, question: int, answer: Any, version: ExpectedVersion, key: str | None, *, tagged: bool
    ) -> None:
        """Save one answer."""
        body = {"question_id": question, "answer": answer}
        sent = Sent("PUT", "progress", body, {str(question): answer}, question)
        self._write(sent, version, key, tagged=tagged)

    @rule(
        changes=st.dictionaries(QUESTIONS.map(str), CHANGES, min_size=1),
        question=st.one_of(st.none(), QUESTIONS),
        version=VERSIONS,
        key=KEYS,
        tagged=st.booleans(),
    )
    def save_many(
        self,
        changes: dict[str, Any],
        question: int | None,
        version: ExpectedVersion,
        key: str | None,
        *,
        tagged: bool,
    ) -> None:
        """Save several answers in one request."""
        body = {"answers": changes} | ({} if question is None else {"current_question": question})
        self._write(Sent("PATCH", "progress", body, changes, question), version, key, tagged=tagged)

    @rule(
        changes=st.dictionaries(QUESTIONS.map(str), CHANGES), version=VERSIONS, key=KEYS, tagged=st.booleans()
    )
    def complete(
        self, changes: dict[str, Any], version: ExpectedVersion, key: str | None, *, tagged: bool
    ) -> None:
        """Complete the session, with or without answers."""
        body = {"answers": changes} if changes else {}
        self._write(Sent("POST", "complete", body, changes, None), version, key, tagged=tagged)

    @precondition(lambda self: self.keyed)
    @rule(back=st.integers(1, 5))
    def repeat(self, back: int) -> None:
        """Repeat an earlier write with its idempotency key."""
        self._send(*self.keyed[-min(back, len(self.keyed))])

    @precondition(lambda self: self.status == "in_progress")
    @rule()
    def expire(self) -> None:
        """Expire the session: set its time limit to the current time of the database."""
        self.database.execute(END, [self.id])
        self.cache.delete(f"session:{self.id}")
        self.status = "expired"

    @rule()
    def start_again(self) -> None:
        """Repeat the start, which returns the current session."""
        response = self.service.client.post("/api/sessions/start", json=self.body, headers=self.headers)
        assert response.status_code == 200
        self._check_session(response.json())

    @rule()
    def resume(self) -> None:
        """Resume the session if it is in progress; another start with its idempotency key gets 422."""
        body = {"user_id": self.user, "quiz_id": 7, "if_active": "resume"}
        if self.status == "in_progress":
            response = self.service.client.post("/api/sessions/start", json=body)
            assert response.status_code == 200
            self._check_session(response.json())
        rejected = self.service.client.post("/api/sessions/start", json=body, headers=self.headers)
        assert rejected.status_code == 422

    @rule(conditional=st.booleans(), no_cache=st.booleans())
    def read(self, *, conditional: bool, no_cache: bool) -> None:
        """Read the session, conditionally or without the cache."""
        headers = ({"if-none-match": f'"{self.version}"'} if conditional else {}) | (
            {"cache-control": "no-cache"} if no_cache else {}
        )
        response = self.service.read(self.id, headers)
        if self.status == "expired":
            assert response.status_code == 410
            self._check_session(response.json()["session"])
        elif conditional:
            assert response.status_code == 304
        else:
            assert response.status_code == 200
            self._check_session(response.json())

    @invariant()
    def listed_with_its_status(self) -> None:
        """Check that the list shows the status of the session."""
        if hasattr(self, "id"):
            page = self.service.client.get("/api/sessions", params={"user_id": self.user}).json()
            assert [(item["id"], item["status"]) for item in page["items"]] == [(self.id, self.status)]

    def _write(self, sent: Sent, version: ExpectedVersion, key: str | None, *, tagged: bool) -> None:
        headers = {} if key is None else {"idempotency-key": key}
        expected_version = {
            None: None,
            "current": self.version,
            "stale": self.version - 1,
            "future": self.version + 1,
        }[version]
        if not expected_version:
            expected_version = None
        elif tagged:
            headers["if-match"] = f'"{expected_version}"'
        else:
            sent.body["version"] = expected_version
        written = (key, (sent.method, sent.path, sent.changes, sent.question, expected_version))
        if key is not None:
            self.keyed.append((sent, headers, expected_version, written))
        self._send(sent, headers, expected_version, written)

    def _send(self, sent: Sent, headers: dict[str, str], expected_version: int | None, written: Any) -> None:
        path = f"/api/sessions/{self.id}/{sent.path}"
        response = self.service.client.request(sent.method, path, json=sent.body, headers=headers)
        expected = self._expected_status(sent, expected_version, written)
        assert response.status_code == expected, response.text
        if expected == 200 and self.status == "in_progress" and written not in self.keys:
            self._apply(sent, written)
        if expected in (200, 409, 410):
            self._check_session(response.json().get("session", response.json()))

    def _expected_status(self, sent: Sent, expected_version: int | None, written: Any) -> int:
        """Return the status by the contract's order of checks: session status, idempotency key, version."""
        if self.status == "completed":
            return 200 if sent.path == "complete" and self._merged(sent) == self.answers else 410
        if self.status == "expired":
            return 410
        if written[0] is not None and written[0] in [known for known, _ in self.keys]:
            return 200 if written in self.keys else 422
        return 409 if expected_version not in (None, self.version) else 200

    def _apply(self, sent: Sent, written: Any) -> None:
        self.version += 1
        self.answers = self._merged(sent)
        self.question = self.question if sent.question is None else sent.question
        self.status = "completed" if sent.path == "complete" else self.status
        if written[0] is not None:
            self.keys = [written, *self.keys][:16]

    def _merged(self, sent: Sent) -> dict[str, Any]:
        return {k: v for k, v in (self.answers | sent.changes).items() if v is not None}

    def _check_session(self, session: dict[str, Any]) -> None:
        actual = (session["id"], session["answers"], session["current_question"])
        assert actual == (self.id, self.answers, self.question)
        # The sweeper increments the version.
        assert session["version"] in {self.version, self.version + (self.status == "expired")}
        assert session["status"] == self.status


@pytest.mark.parametrize("examples", [40])
def test_the_service_agrees_with_the_model(
    service: Service, database: psycopg.Connection, cache: Redis, examples: int
) -> None:
    """Random sequences of start, save, complete, expire, resume and repeat get the responses of the model."""
    Machine.service, Machine.database, Machine.cache = service, database, cache
    machine = Machine.TestCase
    machine.settings = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        database=None,
        # Without shrinking, which takes long and hides the timing of the failure.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
