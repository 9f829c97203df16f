"""One session, several clients, against a model in plain Python: whatever they do, in whatever order."""

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


Naming = Literal["current", "stale", "future"] | None


@frozen
class Sent:
    """A write as it is sent, and what it means."""

    method: str
    path: str
    body: dict[str, Any]
    changes: dict[str, Any]
    question: int | None


class Machine(RuleBasedStateMachine):
    """Each rule is one request of one client; the model says what has to come back."""

    service: Service
    database: psycopg.Connection
    cache: Redis

    @initialize()
    def start(self) -> None:
        """A new session."""
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
    def save(self, question: int, answer: Any, version: Naming, key: str | None, *, tagged: bool) -> None:
        """One answer."""
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
        self, changes: dict[str, Any], question: int | None, version: Naming, key: str | None, *, tagged: bool
    ) -> None:
        """Several answers in one step."""
        body = {"answers": changes} | ({} if question is None else {"current_question": question})
        self._write(Sent("PATCH", "progress", body, changes, question), version, key, tagged=tagged)

    @rule(
        changes=st.dictionaries(QUESTIONS.map(str), CHANGES), version=VERSIONS, key=KEYS, tagged=st.booleans()
    )
    def complete(self, changes: dict[str, Any], version: Naming, key: str | None, *, tagged: bool) -> None:
        """The end, with or without last answers."""
        body = {"answers": changes} if changes else {}
        self._write(Sent("POST", "complete", body, changes, None), version, key, tagged=tagged)

    @precondition(lambda self: self.keyed)
    @rule(back=st.integers(1, 5))
    def repeat(self, back: int) -> None:
        """A keyed write of before, once more: whatever landed since, it has one effect."""
        self._send(*self.keyed[-min(back, len(self.keyed))])

    @precondition(lambda self: self.status == "in_progress")
    @rule()
    def expire(self) -> None:
        """The time is over: its end is moved to now, in the database, where no clock of the test decides."""
        self.database.execute(END, [self.id])
        self.cache.delete(f"session:{self.id}")
        self.status = "expired"

    @rule()
    def start_again(self) -> None:
        """A repeat of the start is told the session as it is."""
        reply = self.service.client.post("/api/sessions/start", json=self.body, headers=self.headers)
        assert reply.status_code == 200
        self._same(reply.json())

    @rule()
    def resume(self) -> None:
        """A resume finds the session while it runs; another start under its key is refused."""
        body = {"user_id": self.user, "quiz_id": 7, "if_active": "resume"}
        if self.status == "in_progress":
            reply = self.service.client.post("/api/sessions/start", json=body)
            assert reply.status_code == 200
            self._same(reply.json())
        refused = self.service.client.post("/api/sessions/start", json=body, headers=self.headers)
        assert refused.status_code == 422

    @rule(has=st.booleans(), fresh=st.booleans())
    def read(self, *, has: bool, fresh: bool) -> None:
        """A read shows what the model holds, by whatever way it comes."""
        headers = ({"if-none-match": f'"{self.version}"'} if has else {}) | (
            {"cache-control": "no-cache"} if fresh else {}
        )
        reply = self.service.read(self.id, headers)
        if self.status == "expired":
            assert reply.status_code == 410
            self._same(reply.json()["session"])
        elif has:
            assert reply.status_code == 304
        else:
            assert reply.status_code == 200
            self._same(reply.json())

    @invariant()
    def listed_as_it_is(self) -> None:
        """The list shows the session's status."""
        if hasattr(self, "id"):
            page = self.service.client.get("/api/sessions", params={"user_id": self.user}).json()
            assert [(item["id"], item["status"]) for item in page["items"]] == [(self.id, self.status)]

    def _write(self, sent: Sent, naming: Naming, key: str | None, *, tagged: bool) -> None:
        headers = {} if key is None else {"idempotency-key": key}
        named = {None: None, "current": self.version, "stale": self.version - 1, "future": self.version + 1}[
            naming
        ]
        if not named:
            named = None
        elif tagged:
            headers["if-match"] = f'"{named}"'
        else:
            sent.body["version"] = named
        written = (key, (sent.method, sent.path, sent.changes, sent.question, named))
        if key is not None:
            self.keyed.append((sent, headers, named, written))
        self._send(sent, headers, named, written)

    def _send(self, sent: Sent, headers: dict[str, str], named: int | None, written: Any) -> None:
        path = f"/api/sessions/{self.id}/{sent.path}"
        reply = self.service.client.request(sent.method, path, json=sent.body, headers=headers)
        expected = self._judge(sent, named, written)
        assert reply.status_code == expected, reply.text
        if expected == 200 and self.status == "in_progress" and written not in self.keys:
            self._apply(sent, written)
        if expected in (200, 409, 410):
            self._same(reply.json().get("session", reply.json()))

    def _judge(self, sent: Sent, named: int | None, written: Any) -> int:
        """Return the status that the contract's order of judgement leads to."""
        if self.status == "completed":
            return 200 if sent.path == "complete" and self._merged(sent) == self.answers else 410
        if self.status == "expired":
            return 410
        if written[0] is not None and written[0] in [known for known, _ in self.keys]:
            return 200 if written in self.keys else 422
        return 409 if named not in (None, self.version) else 200

    def _apply(self, sent: Sent, written: Any) -> None:
        self.version += 1
        self.answers = self._merged(sent)
        self.question = self.question if sent.question is None else sent.question
        self.status = "completed" if sent.path == "complete" else self.status
        if written[0] is not None:
            self.keys = [written, *self.keys][:16]

    def _merged(self, sent: Sent) -> dict[str, Any]:
        return {k: v for k, v in (self.answers | sent.changes).items() if v is not None}

    def _same(self, session: dict[str, Any]) -> None:
        told = (session["id"], session["answers"], session["current_question"])
        assert told == (self.id, self.answers, self.question)
        # The sweeper's mark is a version of its own.
        assert session["version"] in {self.version, self.version + (self.status == "expired")}
        assert session["status"] == self.status


@pytest.mark.parametrize("examples", [40])
def test_the_service_does_what_the_model_does(
    service: Service, database: psycopg.Connection, cache: Redis, examples: int
) -> None:
    """Start, save, batch, complete, expire, resume, repeat: the reply is always the model's."""
    Machine.service, Machine.database, Machine.cache = service, database, cache
    machine = Machine.TestCase
    machine.settings = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        database=None,
        # A history as it happened says more than the shortest one, and comes at once.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
