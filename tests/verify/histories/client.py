"""Clients that start, save, read, complete and order sessions at random, and record their operations."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from time import monotonic
from typing import Any, Literal
from uuid import uuid4

from attrs import define, field

from tests.support.keep_alive import KeepAliveClient, LostError, Reply
from tests.verify.histories.record import ENDED, Kind, Operation, QuizOrder, entries, monotonic_at

QUESTIONS = [*range(10), "q-\u00e4", "007"]
MAX_OPERATIONS = 300  # number of operations on a session before it is replaced
FIRST_OPERATIONS = 30  # number of operations on a session before it may be erased
AFTER_THE_END = 20  # number of further operations on a session that has ended
MAX_ATTEMPTS = 2  # of each user with a limit of attempts
RACERS = 4  # starts of such a user at the same time
NO_END = (float("inf"), float("inf"))
EXTEND: tuple[str, dict[str, Any]] = ("deadline", {"extra_seconds": 1})
# Long enough for most sessions that their deadline has ended to run again.
REVIVE: tuple[str, dict[str, Any]] = ("deadline", {"extra_seconds": 5})
SHORTEN: tuple[str, dict[str, Any]] = ("deadline", {"extra_seconds": -1})
ORDERS = (
    [
        EXTEND,
        REVIVE,
        SHORTEN,
        ("deadline", {"expires_at": "2000-01-01T00:00:00Z"}),
        ("pause", {}),
        ("resume", {}),
        ("reopen", {"time_limit_seconds": 2}),
    ],
    [2, 1, 1, 0.5, 2, 4, 3],
)  # kinds and bodies, and their weights
QUIZ_ORDERS = ([EXTEND, SHORTEN, ("pause", {}), ("resume", {})], [2, 1, 3, 4])  # the same for a quiz


@define
class Shared:
    """The sessions of all clients, the ports of the instances, and the recorded operations.

    Of each session: when it expires and when it closes, by the monotonic clock. The sessions of the first
    quiz, the `ordered` ones, get every kind of order, those of the second one are only extended. Those of the
    `erased_quiz`, the `erasable` ones, get no orders for a quiz. `changes` are less while the release before
    is at work, or before it is again: then only extensions and erasing are added to its own.
    """

    ports: list[int]
    quizzes: tuple[int, str]
    erased_quiz: str
    users: list[str] = field(factory=list)
    sessions: dict[str, tuple[float, float]] = field(factory=dict)
    age: dict[str, int] = field(factory=dict)
    operations: list[Operation] = field(factory=list)
    attempts: int = 0
    erasable: set[str] = field(factory=set)
    ordered: set[str] = field(factory=set)
    quiz_orders: list[QuizOrder] = field(factory=list)
    changes: Literal["all", "kept by the release before", "of the release before"] = "all"


class Client:
    """A client with one request at a time, to any instance; remembers the versions that it has seen."""

    def __init__(self, shared: Shared, name: str, *, short: bool) -> None:
        self._shared = shared
        self._name = name
        shared.users.append(name)
        self._short = short
        self._connection = KeepAliveClient()
        self._racers = [KeepAliveClient() for _ in range(RACERS)]
        self._seen: dict[str, int] = {}
        self._sent = 0

    async def run(self, until: Callable[[], bool]) -> None:
        """Send requests until the condition holds."""
        try:
            while not until():
                await self._step()
        finally:
            for connection in (self._connection, *self._racers):
                connection.close()

    async def _step(self) -> None:
        if len(self._shared.sessions) < 8:
            await self._start()
            return
        session = random.choice(list(self._shared.sessions))
        self._shared.age[session] += 1
        if self._shared.age[session] > MAX_OPERATIONS:
            self._shared.sessions.pop(session, None)
        new, orders_of_quiz = self._shared.changes != "of the release before", self._shared.changes == "all"
        # So few orders that deadlines end sessions; more of them afterwards.
        orders = 15 if self._has_ended(session) else 3
        action = random.choices(
            [
                *(self._read, self._save, self._complete, self._start_limited),
                *(self._order, self._order_quiz, self._erase),
            ],
            [40, 52, 0.3, 1.5, orders * new, 1.2 * orders_of_quiz, 3 * new],
        )[0]
        await action(session)

    def _has_ended(self, session: str) -> bool:
        """Return whether the session has ended, or is about to be replaced."""
        return self._shared.age[session] >= MAX_OPERATIONS - AFTER_THE_END

    async def _start(self) -> None:
        quiz = random.choice([*self._shared.quizzes, self._shared.erased_quiz])
        body: dict[str, Any] = {"user_id": self._name, "quiz_id": quiz}
        if self._short and random.random() < 0.5:
            body |= {"time_limit_seconds": random.choice([1, 2, 3]), "grace_seconds": random.choice([0, 2])}
            body["on_expiry"] = random.choice(["expire", "complete"])
        else:
            body["time_limit_seconds"] = random.choice([0, 3600])
        operation = Operation("start", "", monotonic(), 0, "unknown")
        await self._send_start(operation, body)
        if operation.outcome == "ok" and operation.session not in self._shared.age:
            self._shared.sessions[operation.session] = operation.expires_at, operation.closes_at
            self._shared.age[operation.session] = 0
            # The others are only extended, so that their end says which extensions were applied.
            if quiz == self._shared.quizzes[0] and self._shared.changes == "all":
                self._shared.ordered.add(operation.session)
            if quiz == self._shared.erased_quiz:
                self._shared.erasable.add(operation.session)

    async def _start_limited(self, _: str) -> None:
        """Send more starts than a user may have, at the same time."""
        self._sent += 1
        user = f"{self._name}-limited-{self._sent}"
        body = {"user_id": user, "quiz_id": 7, "max_attempts": MAX_ATTEMPTS}
        begin = monotonic()
        await asyncio.gather(
            *(
                self._send_start(Operation("start", "", begin, 0, "unknown", limited=user), body, racer)
                for racer in self._racers
            )
        )

    async def _send_start(
        self, operation: Operation, body: dict[str, Any], connection: KeepAliveClient | None = None
    ) -> None:
        headers = {"idempotency-key": str(uuid4())}
        await self._send_and_record(operation, ("POST", "/api/sessions/start"), body, headers, connection)

    async def _read(self, session: str) -> None:
        headers, operation = {}, self._operation("read", session)
        how = random.random()
        if how < 0.3 and session in self._seen:
            operation.seen = self._seen[session]
            headers["if-none-match"] = f'"{operation.seen}"'
        elif how < 0.4:
            operation.fresh = True
            headers["cache-control"] = "no-cache"
        await self._send_and_record(operation, ("GET", f"/api/sessions/{session}"), None, headers)

    async def _save(self, session: str) -> None:
        operation = self._operation("save", session)
        method, body = random.choice([self._one_answer, self._one_answer, self._several])()
        if method == "PUT":
            name = body["question_id"]
            operation.writes = entries({"answers": {name: body["answer"]}}) | (
                entries({"annotations": {name: body["annotation"]}}) if "annotation" in body else {}
            )
        else:
            operation.writes = entries(body)
        if random.random() < 0.25 and session in self._seen:
            operation.expected_version = body["version"] = self._seen[session]
        headers = {"idempotency-key": str(uuid4())} if random.random() < 0.7 else {}
        if random.random() < 0.2:
            headers["prefer"] = "return=minimal"
        await self._send_and_record(operation, (method, f"/api/sessions/{session}/progress"), body, headers)

    def _one_answer(self) -> tuple[str, dict[str, Any]]:
        body = {"question_id": random.choice(QUESTIONS), "answer": self._value()}
        return "PUT", body | ({"annotation": self._value()} if random.random() < 0.2 else {})

    def _several(self) -> tuple[str, dict[str, Any]]:
        """Return a save of answers, annotations or the position, or of several of them."""
        parts = random.choice(
            [["answers"], ["answers", "annotations"], ["annotations"], ["answers", "current_question"], []]
        )
        body: dict[str, Any] = {
            part: {str(name): self._value() for name in random.sample(QUESTIONS, 3)}
            for part in parts
            if part != "current_question"
        }
        if "current_question" in parts or not parts:
            body["current_question"] = random.choice(QUESTIONS)
        return "PATCH", body

    async def _complete(self, session: str) -> None:
        operation = self._operation("complete", session)
        await self._send_and_record(operation, ("POST", f"/api/sessions/{session}/complete"), None, {})

    async def _order(self, session: str) -> None:
        """Extend the session, or give it one of the other orders if it is for these."""
        extend = REVIVE if self._has_ended(session) else EXTEND
        kind, body = random.choices(*ORDERS)[0] if session in self._shared.ordered else extend
        extra = body.get("extra_seconds", 0)
        operation = self._operation("extend" if extra > 0 else "order", session)
        operation.extra = extra
        method = "PUT" if kind == "deadline" else "POST"
        headers = {"idempotency-key": str(uuid4())}
        target = method, f"/api/sessions/{session}/{kind}"
        await self._send_and_record(operation, target, body | {"reason": self._text()}, headers)

    async def _erase(self, session: str) -> None:
        """Erase the session if it is for that; clients go on using it for a while."""
        if session in self._shared.erasable and self._shared.age[session] > FIRST_OPERATIONS:
            operation = self._operation("erase", session)
            age = self._shared.age[session]
            self._shared.age[session] = max(age, MAX_OPERATIONS - AFTER_THE_END)
            await self._send_and_record(operation, ("DELETE", f"/api/sessions/{session}"), None, {})

    async def _order_quiz(self, _: str) -> None:
        """Give an order to all learners of a quiz or to some; repeat it until it is finished."""
        quiz = random.choice(self._shared.quizzes)
        extends = quiz == self._shared.quizzes[1]
        kind, fields = EXTEND if extends else random.choices(*QUIZ_ORDERS)[0]
        users = random.sample(self._shared.users, 4) if random.random() < 0.3 else None
        order = QuizOrder(kind, str(quiz), set(users) if users else None, self._text(), monotonic())
        order.extra, order.extends = fields.get("extra_seconds", 0), extends
        body = {"quiz_id": quiz, "user_ids": users, "reason": order.reason, **fields}
        headers = {"idempotency-key": str(uuid4())}
        for attempt in range(20):
            begin, reply = monotonic(), None
            with suppress(LostError):
                port = random.choice(self._shared.ports)
                reply = await self._connection.send(port, "POST", f"/api/sessions/{kind}", body, headers)
            if reply is None or reply.status >= 500:
                order.lost = True
            else:
                assert reply.status == 200, reply
                order.note(reply.body, begin, monotonic())
            if order.finished:
                break
            if reply is not None and reply.status == 200:
                # One that the order does not cover.
                await self._start()
            await asyncio.sleep(0.05 * (attempt + 1))
        self._shared.quiz_orders.append(order)

    def _operation(self, kind: Kind, session: str) -> Operation:
        expires_at, closes_at = self._shared.sessions.get(session, NO_END)
        begin = monotonic()
        return Operation(kind, session, begin, 0, "unknown", expires_at=expires_at, closes_at=closes_at)

    def _value(self) -> Any:
        """Return a value that no other save has."""
        text = self._text()
        return random.choice([text, [text, None, 1.5], {"": text, "n": {"0": [None, False]}}])

    def _text(self) -> str:
        """Return a text that no other request has."""
        self._sent += 1
        return f"{self._name}-{self._sent}"

    async def _send_and_record(
        self,
        operation: Operation,
        target: tuple[str, str],
        body: object,
        headers: dict[str, str],
        connection: KeepAliveClient | None = None,
    ) -> None:
        """Repeat a request with an idempotency key until its outcome is known; record the operation."""
        certain = True
        for attempt in range(20 if "idempotency-key" in headers else 1):
            operation.repeats = attempt
            self._shared.attempts += 1
            response = None
            with suppress(LostError):
                response = await (connection or self._connection).send(
                    random.choice(self._shared.ports), *target, body, headers
                )
            if response is not None and response.status < 500:
                self._record_response(operation, response)
                break
            certain &= response is not None and response.body.get("outcome") == "not_applied"
            await asyncio.sleep(0.05 * (attempt + 1))
        else:
            operation.outcome = "refused" if certain else "unknown"
        if operation.repeats and operation.outcome in ("gone", "conflict", "paused") and not certain:
            # An earlier attempt may have been applied.
            operation.outcome = "unknown"
        operation.end = monotonic()
        self._shared.operations.append(operation)

    def _record_response(self, operation: Operation, response: Reply) -> None:
        """Record the response in the operation."""
        outcomes = {403: "exhausted", 409: "conflict", 410: "gone", 404: "missing", 423: "paused"}
        assert response.status in (200, 201, 204, 304, *outcomes), response
        operation.outcome = outcomes.get(response.status, "ok")  # type: ignore[assignment]
        session = response.body.get("session", response.body)
        if "etag" in response.headers:
            operation.version = int(response.headers["etag"].strip('"'))
        if "id" in session:
            assert operation.version == session["version"], response
            operation.session = session["id"]
            operation.status, operation.entries = session["status"], entries(session)
            operation.ended_by, operation.attempt = session["ended_by"], session["attempt"]
            operation.times = tuple(session.get(name) for name in ("expires_at", "closes_at", "paused_at"))
            operation.expires_at, operation.closes_at, operation.paused_at = (
                monotonic_at(datetime.fromisoformat(time) if time else None) for time in operation.times
            )
        if operation.version is not None:
            seen = self._seen.get(operation.session, 0)
            self._seen[operation.session] = max(seen, operation.version)
        if operation.status in ENDED and operation.session in self._shared.age:
            age = self._shared.age[operation.session]
            self._shared.age[operation.session] = max(age, MAX_OPERATIONS - AFTER_THE_END)
