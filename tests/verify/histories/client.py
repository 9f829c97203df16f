"""Clients that start, save, read and complete sessions at random, and record their operations."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from time import monotonic, time
from typing import Any
from uuid import uuid4

from attrs import define, field

from tests.support.keep_alive import KeepAliveClient, LostError, Reply
from tests.verify.histories.checker import Kind, Operation

QUESTIONS = 12
MAX_OPERATIONS = 300  # number of operations on a session before it is replaced


@define
class Shared:
    """The sessions of all clients, the ports of the instances, and the recorded operations."""

    ports: list[int]
    sessions: dict[str, float] = field(factory=dict)
    age: dict[str, int] = field(factory=dict)
    operations: list[Operation] = field(factory=list)
    attempts: int = 0


class Client:
    """A client with one request at a time, to any instance; remembers the versions that it has seen."""

    def __init__(self, shared: Shared, name: str, *, short: bool) -> None:
        self._shared = shared
        self._name = name
        self._short = short
        self._connection = KeepAliveClient()
        self._seen: dict[str, int] = {}
        self._sent = 0

    async def run(self, until: Callable[[], bool]) -> None:
        """Send requests until the condition holds."""
        try:
            while not until():
                await self._step()
        finally:
            self._connection.close()

    async def _step(self) -> None:
        if len(self._shared.sessions) < 8:
            await self._start()
            return
        session = random.choice(list(self._shared.sessions))
        self._shared.age[session] += 1
        if self._shared.age[session] > MAX_OPERATIONS:
            self._shared.sessions.pop(session, None)
        action = random.choices([self._read, self._save, self._complete], [40, 58, 0.6])[0]
        await action(session)

    async def _start(self) -> None:
        limit = random.choice([2, 3, 4]) if self._short and random.random() < 0.4 else 3600
        body = {"user_id": self._name, "quiz_id": 7, "time_limit_seconds": limit}
        operation = Operation("start", "", monotonic(), 0, "unknown")
        await self._send_and_record(
            operation, "POST", "/api/sessions/start", body, {"idempotency-key": str(uuid4())}
        )
        if operation.outcome == "ok" and operation.session not in self._shared.age:
            # The database's clock is this machine's.
            self._shared.sessions[operation.session] = operation.expires_at
            self._shared.age[operation.session] = 0

    async def _read(self, session: str) -> None:
        headers, operation = {}, self._operation("read", session)
        how = random.random()
        if how < 0.3 and session in self._seen:
            operation.seen = self._seen[session]
            headers["if-none-match"] = f'"{operation.seen}"'
        elif how < 0.4:
            operation.fresh = True
            headers["cache-control"] = "no-cache"
        await self._send_and_record(operation, "GET", f"/api/sessions/{session}", None, headers)

    async def _save(self, session: str) -> None:
        operation = self._operation("save", session)
        keys = random.sample(range(QUESTIONS), random.choice([1, 1, 1, 3]))
        operation.writes = {str(key): self._value() for key in keys}
        body: dict[str, Any] = {"answers": operation.writes}
        method = "PATCH"
        if len(keys) == 1:
            method, body = "PUT", {"question_id": keys[0], "answer": operation.writes[str(keys[0])]}
        if random.random() < 0.25 and session in self._seen:
            operation.expected_version = body["version"] = self._seen[session]
        headers = {"idempotency-key": str(uuid4())} if random.random() < 0.7 else {}
        if random.random() < 0.2:
            headers["prefer"] = "return=minimal"
        await self._send_and_record(operation, method, f"/api/sessions/{session}/progress", body, headers)

    async def _complete(self, session: str) -> None:
        operation = self._operation("complete", session)
        await self._send_and_record(operation, "POST", f"/api/sessions/{session}/complete", None, {})
        self._shared.sessions.pop(session, None)

    def _operation(self, kind: Kind, session: str) -> Operation:
        expires_at = self._shared.sessions.get(session, float("inf"))
        return Operation(kind, session, monotonic(), 0, "unknown", expires_at=expires_at)

    def _value(self) -> str:
        self._sent += 1
        return f"{self._name}-{self._sent}"

    async def _send_and_record(
        self, operation: Operation, method: str, path: str, body: object, headers: dict[str, str]
    ) -> None:
        """Repeat a request with an idempotency key until its outcome is known; record the operation."""
        certain = True
        for attempt in range(20 if "idempotency-key" in headers else 1):
            operation.repeats = attempt
            self._shared.attempts += 1
            response = None
            with suppress(LostError):
                response = await self._connection.send(
                    random.choice(self._shared.ports), method, path, body, headers
                )
            if response is not None and response.status < 500:
                self._record_response(operation, response)
                break
            certain &= response is not None and response.body.get("outcome") == "not_applied"
            await asyncio.sleep(0.05 * (attempt + 1))
        else:
            operation.outcome = "refused" if certain else "unknown"
        if operation.repeats and operation.outcome in ("gone", "conflict") and not certain:
            # An earlier attempt may have been applied.
            operation.outcome = "unknown"
        operation.end = monotonic()
        self._shared.operations.append(operation)

    def _record_response(self, operation: Operation, response: Reply) -> None:
        """Record the response in the operation."""
        outcomes = {409: "conflict", 410: "gone", 404: "refused"}
        assert response.status in (200, 201, 204, 304, 404, 409, 410), response
        operation.outcome = outcomes.get(response.status, "ok")  # type: ignore[assignment]
        session = response.body.get("session", response.body)
        if "etag" in response.headers:
            operation.version = int(response.headers["etag"].strip('"'))
        if "id" in session:
            assert operation.version == session["version"], response
            operation.session = session["id"]
            operation.status, operation.answers = session["status"], session["answers"]
        if operation.kind == "start":
            expires_at = datetime.fromisoformat(session["expires_at"]).timestamp()
            operation.expires_at = expires_at - time() + monotonic()
        if operation.version is not None:
            seen = self._seen.get(operation.session, 0)
            self._seen[operation.session] = max(seen, operation.version)
        if response.status == 410 or operation.status == "completed":
            self._shared.sessions.pop(operation.session, None)
