"""Model-based test of orders for a quiz: random requests to its sessions, compared with a model of each."""

from collections import Counter
from typing import Any
from uuid import uuid4

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from tests.sessions.strategies import END, GIVEN, STARTS
from tests.support.orders import order, order_quiz
from tests.support.service import Service
from tests.support.session_model import Given, Model, Sent, Values

SESSIONS = 5  # of a quiz
USERS = ["ada", "eve"]
LIVE = ("in_progress", "paused")
NUMBERS = st.integers(0, SESSIONS - 1)
# Orders for the quiz and for its sessions have the same keys.
KEYS = st.sampled_from([None, None, "k1", "k2"])


class QuizMachine(RuleBasedStateMachine):
    """The state machine: each rule sends one request and compares the response with the models."""

    service: Service
    database: psycopg.Connection
    cache: Redis

    @initialize()
    def begin(self) -> None:
        """Begin with a quiz without sessions."""
        self.quiz = f"quiz-{uuid4()}"
        self.models: list[Model] = []
        self.users: list[str] = []
        self.given: dict[str, tuple[object, int]] = {}

    @precondition(lambda self: len(self.models) < SESSIONS)
    @rule(user=st.sampled_from(USERS), chosen=STARTS)
    def start(self, user: str, chosen: Values) -> None:
        """Start a session."""
        chosen = {name: value for name, value in chosen.items() if name != "max_attempts"}
        session = self.service.start(**{**chosen, "user_id": f"{user}-{self.quiz}", "quiz_id": self.quiz})
        model = Model(
            str(session["id"]), str(session["last_saved_at"]), on_expiry=chosen.get("on_expiry", "expire")
        )
        model.grace, model.has_end = chosen.get("grace_seconds", 0), chosen.get("time_limit_seconds") != 0
        model.end = "start" if model.has_end else None
        self.models.append(model)
        self.users.append(user)

    @precondition(lambda self: self.models)
    @rule(number=NUMBERS)
    def complete(self, number: int) -> None:
        """Complete a session."""
        model = self._model(number)
        sent = Sent("POST", "complete", {}, {}, {}, None)
        expected = model.expected_status(sent, None, None)
        assert self.service.complete(model.id).status_code == expected
        if expected == 200:
            model.apply(sent, None, None, model.saved_at)

    @precondition(lambda self: self.models)
    @rule(number=NUMBERS)
    def close(self, number: int) -> None:
        """Let the time of a session be over: the next request that finds it, or the sweeper, ends it."""
        model = self._model(number)
        if model.status == "in_progress" and model.has_end:
            self.database.execute(END, [0, model.id])
            self.cache.delete(f"session:{model.id}")
            model.close()

    @precondition(lambda self: self.models)
    @rule(number=NUMBERS, given=GIVEN, key=KEYS)
    def order_one(self, number: int, given: Given, key: str | None) -> None:
        """Give an order to one session."""
        model, key = self._model(number), key or str(uuid4())
        if model.ended_by == "deadline":
            # Stores the end: an order that lets the session run would else make one change of both.
            self.service.read(model.id)
        response = order(self.service, given.kind, model.id, given.body, key)
        assert response.status_code == model.expected_order_status(given, key, None), response.text
        if response.status_code == 200:
            model.obey(given, key, None)

    @rule(
        given=GIVEN.filter(lambda given: given.kind != "reopen"),
        key=KEYS,
        users=st.sampled_from([None, None, ["ada"], ["eve", "nobody"]]),
    )
    def order_all(self, given: Given, key: str | None, users: list[str] | None) -> None:
        """Give an order to the quiz, and repeat it until it is finished."""
        names = users and [f"{user}-{self.quiz}" for user in users]
        body = {"quiz_id": self.quiz, "user_ids": names, **given.body}
        key = key or str(uuid4())
        identity = (given.identity(None), users)
        if key in self.given and self.given[key][0] != identity:
            assert order_quiz(self.service, given.kind, body, key).status_code == 422
            return
        unchanged: list[Any] = []
        while True:
            # The sweeper may have locked a session.
            report = order_quiz(self.service, given.kind, body, key).json()
            unchanged += report["unchanged"]
            if not report["unfinished"]:
                break
        expected: dict[str, str | None] = {}
        if key not in self.given:
            expected = self._obey(given, key, users)
            self.given[key] = identity, self.changed
        assert report["changed"] == self.given[key][1]
        assert {one["id"]: one["errorCode"] for one in unchanged} == expected

    @precondition(lambda self: self.models)
    @rule(number=NUMBERS)
    def read(self, number: int) -> None:
        """Read a session."""
        model = self._model(number)
        response = self.service.read(model.id)
        assert response.status_code == (410 if model.status == "expired" else 200)
        model.check(response.json().get("session", response.json()))

    @invariant()
    def listed_with_their_status(self) -> None:
        """Check the statuses in the list of the quiz, and their counts."""
        if hasattr(self, "models"):
            page = self.service.client.get("/api/sessions", params={"quiz_id": self.quiz}).json()
            statuses = {model.id: model.status for model in self.models}
            assert {item["id"]: item["status"] for item in page["items"]} == statuses
            assert {name: count for name, count in page["counts"].items() if count} == Counter(
                statuses.values()
            )

    def teardown(self) -> None:
        """Check each session at the end."""
        for number in range(len(getattr(self, "models", []))):
            self.read(number)

    def _model(self, number: int) -> Model:
        return self.models[number % len(self.models)]

    def _obey(self, given: Given, key: str, users: list[str] | None) -> dict[str, str | None]:
        """Apply the first call of an order; return the sessions that are listed as unchanged."""
        unchanged: dict[str, str | None] = {}
        self.changed = 0
        for model, user in zip(self.models, self.users, strict=True):
            if model.status not in LIVE or (users is not None and user not in users):
                continue
            if key in model.order_keys:
                # Without its digest the key is that of a repeat.
                if model.order_keys[key] is not None:
                    unchanged[model.id] = "IDEMPOTENCY_KEY_REUSED"
                continue
            version = model.version
            model.obey(given, key, None)
            if model.order_keys[key] is not None:
                model.order_keys[key] = "an order for the quiz"
            self.changed += model.version - version
            if model.version == version:
                unchanged[model.id] = None
        return unchanged


@pytest.mark.parametrize("examples", [15])
def test_orders_for_a_quiz_agree_with_the_model(
    service: Service, database: psycopg.Connection, cache: Redis, examples: int
) -> None:
    """Random orders for a quiz and its sessions have the effect, and the report, of the model."""
    QuizMachine.service, QuizMachine.database, QuizMachine.cache = service, database, cache
    machine = QuizMachine.TestCase
    machine.settings = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        database=None,
        # As in test_state_machine.py.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
