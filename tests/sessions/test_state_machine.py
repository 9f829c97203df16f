"""Model-based test: random requests of several clients to a session, compared with a model in Python."""

from typing import Any
from uuid import uuid4

import hypothesis.strategies as st
import psycopg
import pytest
from httpx import Response
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from tests.sessions.strategies import CHANGES, END, GIVEN, HOW, MANY_CHANGES, QUESTIONS, STARTS, How
from tests.support.journal import lines, replayed
from tests.support.orders import order
from tests.support.service import Service
from tests.support.session_model import Given, Model, Sent, Values


class Machine(RuleBasedStateMachine):
    """The state machine: each rule sends one request and compares the response with the model."""

    service: Service
    database: psycopg.Connection
    cache: Redis

    @initialize(chosen=STARTS)
    def start(self, chosen: Values) -> None:
        """Start a session."""
        self.body = {"user_id": f"user-{uuid4()}", **chosen}
        self.headers = {"idempotency-key": "start"}
        self.keyed: list[tuple[Sent, dict[str, str], int | None]] = []
        self.others: list[str] = []
        response = self._post("start", self.body, self.headers)
        session = response.json()
        self.model = Model(
            session["id"],
            session["last_saved_at"],
            on_expiry=chosen.get("on_expiry", "expire"),
            grace=chosen.get("grace_seconds", 0),
            has_end=chosen.get("time_limit_seconds") != 0,
            end=None if chosen.get("time_limit_seconds") == 0 else "start",
        )
        self.ordered: list[tuple[Given, str, int | None]] = []
        assert response.status_code == 201
        assert session["attempt"] == (1 if "max_attempts" in chosen else None)
        assert (session["expires_at"] is None) == (chosen.get("time_limit_seconds") == 0)
        assert (session["closes_at"] == session["expires_at"]) == (not self.model.has_end or not self._grace)
        self._check_session(response)

    @rule(
        question=QUESTIONS,
        answer=CHANGES,
        annotation=CHANGES,
        how=HOW,
    )
    def save(
        self,
        question: int | str,
        answer: Any,
        annotation: Any,
        how: How,
    ) -> None:
        """Save one answer, with an annotation unless it is null."""
        body = {"question_id": question, "answer": answer, "annotation": annotation}
        noted = {} if annotation is None else {str(question): annotation}
        sent = Sent("PUT", "progress", body, {str(question): answer}, noted, str(question))
        self._write(sent, how)

    @rule(
        answers=MANY_CHANGES,
        annotations=MANY_CHANGES,
        question=st.one_of(st.none(), QUESTIONS),
        how=HOW,
    )
    def save_many(
        self,
        answers: Values | None,
        annotations: Values | None,
        question: int | str | None,
        how: How,
    ) -> None:
        """Save answers, annotations and the position in one request, or only some of them."""
        body = {"answers": answers, "annotations": annotations, "current_question": question}
        if body == dict.fromkeys(body):
            body["current_question"] = question = 1
        place = None if question is None else str(question)
        sent = Sent("PATCH", "progress", body, answers or {}, annotations or {}, place)
        self._write(sent, how)

    @rule(answers=MANY_CHANGES, annotations=MANY_CHANGES, how=HOW)
    def complete(
        self,
        answers: Values | None,
        annotations: Values | None,
        how: How,
    ) -> None:
        """Complete the session, with or without answers."""
        body = {"answers": answers, "annotations": annotations}
        sent = Sent("POST", "complete", body, answers or {}, annotations or {}, None)
        self._write(sent, how)

    @precondition(lambda self: self.keyed)
    @rule(back=st.integers(1, 5))
    def repeat(self, back: int) -> None:
        """Repeat an earlier write with its idempotency key."""
        self._send(*self.keyed[-min(back, len(self.keyed))])

    @rule(given=GIVEN, how=HOW)
    def order(self, given: Given, how: How) -> None:
        """Give an order, with one of a few keys or a new one."""
        distance = {None: None, "current": 0, "stale": -1, "future": 1}[how.version]
        expected_version = None if distance is None else self.model.version + distance or None
        self.ordered.append((given, how.key or str(uuid4()), expected_version))
        self._give(*self.ordered[-1])

    @precondition(lambda self: self.ordered)
    @rule(back=st.integers(1, 5))
    def repeat_an_order(self, back: int) -> None:
        """Repeat an earlier order with its idempotency key."""
        self._give(*self.ordered[-min(back, len(self.ordered))])

    @precondition(lambda self: self.model.status == "in_progress" and self.model.has_end and self._grace)
    @rule()
    def enter_the_grace(self) -> None:
        """Set the time limit to the current time of the database; the grace begins."""
        self._end(self._grace)
        self.model.late, self.model.end = True, "start"

    @precondition(lambda self: self.model.status == "in_progress" and self.model.has_end)
    @rule()
    def close(self) -> None:
        """Close the session: the next request that finds it, or the sweeper, ends it."""
        self._end(0)
        self.model.close()

    @rule()
    def start_again(self) -> None:
        """Repeat the start, which returns the current session."""
        response = self._post("start", self.body, self.headers)
        assert response.status_code == 200
        self._check_session(response)

    @rule()
    def start_another(self) -> None:
        """Start another session of the quiz, unless there are as many as the first start has allowed."""
        response = self._post("start", {"user_id": self.body["user_id"], "quiz_id": self.body["quiz_id"]})
        limit = self.body.get("max_attempts")
        if limit is not None and len(self.others) + 1 >= limit:
            assert (response.status_code, response.json()["errorCode"]) == (403, "ATTEMPTS_EXHAUSTED")
        else:
            self.others.append(response.json()["id"])
            assert response.status_code == 201
            assert response.json()["attempt"] == (limit and len(self.others) + 1)

    @rule()
    def resume(self) -> None:
        """Resume the newest session in progress; the keys of ended sessions find them with any start."""
        body = {name: self.body[name] for name in ("user_id", "quiz_id")} | {"if_active": "resume"}
        live = self.model.status in ("in_progress", "paused")
        if self.others or live:
            response = self._post("start", body)
            assert response.status_code == 200
            assert response.json()["id"] == (self.others[-1] if self.others else self.model.id)
        response = self._post("start", body, self.headers)
        # After an end the key of the start has no digest any more, also if the session runs again.
        assert response.status_code == (422 if live and not self.model.ended_before else 200)
        if response.status_code == 200:
            self._check_session(response)

    @rule(conditional=st.booleans(), no_cache=st.booleans())
    def read(self, *, conditional: bool, no_cache: bool) -> None:
        """Read the session, conditionally or without the cache."""
        headers = ({"if-none-match": f'"{self.model.version}"'} if conditional else {}) | (
            {"cache-control": "no-cache"} if no_cache else {}
        )
        response = self.service.read(self.model.id, headers)
        conditional &= self.model.status != "expired"
        assert response.status_code == (
            304 if conditional else 410 if self.model.status == "expired" else 200
        )
        if conditional:
            assert response.headers["etag"] == f'"{self.model.version}"'
        else:
            self._check_session(response)

    @invariant()
    def listed_with_its_status(self) -> None:
        """Check that the list shows the status of the sessions."""
        if hasattr(self, "model"):
            query = {"user_id": self.body["user_id"], "limit": 100}
            page = self.service.client.get("/api/sessions", params=query).json()
            others = {(other, "in_progress") for other in self.others}
            assert {(item["id"], item["status"]) for item in page["items"]} == {
                (self.model.id, self.model.status),
                *others,
            }

    def teardown(self) -> None:
        """Check that the journal gives the session, but for the ends, which the rules move."""
        if hasattr(self, "model"):
            self.service.read(self.model.id)
            session = replayed(self.model.id, lines(self.service, self.model.id))
            moved = {"late_saves": self.model.late_saves, "closes_at": session["completed_at"]}
            self.model.check(session | moved)

    @property
    def _grace(self) -> int:
        return int(self.body.get("grace_seconds", 0))

    def _post(self, path: str, body: Values, headers: dict[str, str] | None = None) -> Response:
        return self.service.client.post(f"/api/sessions/{path}", json=body, headers=headers)

    def _end(self, grace: int) -> None:
        self.database.execute(END, [grace, self.model.id])
        self.cache.delete(f"session:{self.model.id}")

    def _write(self, sent: Sent, how: How) -> None:
        headers = {} if how.key is None else {"idempotency-key": how.key}
        distance = {None: None, "current": 0, "stale": -1, "future": 1}[how.version]
        # Version 0 is none.
        expected_version = None if distance is None else self.model.version + distance or None
        if expected_version and how.tagged:
            headers["if-match"] = f'"{expected_version}"'
        else:
            sent.body["version"] = expected_version
        if how.key is not None:
            self.keyed.append((sent, headers, expected_version))
        self._send(sent, headers, expected_version)

    def _send(self, sent: Sent, headers: dict[str, str], expected_version: int | None) -> None:
        path = f"/api/sessions/{self.model.id}/{sent.path}"
        response = self.service.client.request(sent.method, path, json=sent.body, headers=headers)
        key = headers.get("idempotency-key")
        expected = self.model.expected_status(sent, key, expected_version)
        assert response.status_code == expected, response.text
        if expected == 200:
            self.model.apply(sent, key, expected_version, response.json()["updated_at"])
        if expected in (200, 409, 410, 423):
            self._check_session(response)

    def _give(self, given: Given, key: str, expected_version: int | None) -> None:
        if self.model.ended_by == "deadline":
            # Stores the end: an order that lets the session run would else make one change of both.
            self.service.read(self.model.id)
        body = {**given.body, "version": expected_version}
        response = order(self.service, given.kind, self.model.id, body, key)
        expected = self.model.expected_order_status(given, key, expected_version)
        assert response.status_code == expected, response.text
        if expected == 200:
            self.model.obey(given, key, expected_version)
        if expected in (200, 409, 410):
            self._check_session(response)

    def _check_session(self, response: Response) -> None:
        """Check the session in a response, and its headers."""
        session = response.json().get("session", response.json())
        self.model.check(session)
        assert response.headers["etag"] == f'"{self.model.version}"'
        end = None if session["status"] == "paused" else session["expires_at"]
        assert response.headers["session-expires-at"] == (end or "none")


@pytest.mark.parametrize("examples", [20])
def test_the_service_agrees_with_the_model(
    service: Service, database: psycopg.Connection, cache: Redis, examples: int
) -> None:
    """Random sequences of start, save, complete, close, order and repeat get the responses of the model."""
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
