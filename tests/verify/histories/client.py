"""Clients that start, save, read and complete at random, and write down what they saw."""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from time import monotonic, time
from typing import Any
from uuid import uuid4

import httpx
from attrs import define, field

from tests.support import conformance
from tests.support.waiting import LIMIT
from tests.verify.histories.checker import Kind, Operation

QUESTIONS = 12
LONGEST = 300  # operations on a session before another takes its place


class LostError(Exception):
    """No reply came."""


@define
class Reply:
    """A reply as it came."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@define
class Shared:
    """The sessions that all clients work on, the ports of the instances, and the record."""

    ports: list[int]
    sessions: dict[str, float] = field(factory=dict)
    age: dict[str, int] = field(factory=dict)
    operations: list[Operation] = field(factory=list)
    attempts: int = 0


class Wire:
    """One keep-alive connection, as small as a load of many requests wants it."""

    def __init__(self) -> None:
        self._streams: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def send(
        self, port: int, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a request and return its reply; raise LostError if none comes."""
        content = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(content)}"]
        head += ["content-type: application/json"] if content else []
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = "\r\n".join(head).encode() + b"\r\n\r\n" + content
        try:
            async with asyncio.timeout(LIMIT):
                status, told, content = await self._exchange(port, request)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._drop(port)
            raise LostError from error
        asked = httpx.Request(method, f"http://127.0.0.1:{port}{path}")
        reply = httpx.Response(status, headers=told, content=content, request=asked)
        conformance.check(reply)
        return Reply(status, dict(reply.headers), reply.json() if content else {})

    def close(self) -> None:
        """Close every connection."""
        for port in list(self._streams):
            self._drop(port)

    async def _exchange(self, port: int, request: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if port not in self._streams:
            self._streams[port] = await asyncio.open_connection("127.0.0.1", port, limit=2**21)
        reader, writer = self._streams[port]
        writer.write(request)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        body = await reader.readexactly(int(dict(headers).get("content-length", 0)))
        if ("connection", "close") in headers:
            self._drop(port)
        return int(first.split()[1]), headers, body

    def _drop(self, port: int) -> None:
        streams = self._streams.pop(port, None)
        if streams:
            streams[1].transport.abort()


class Client:
    """One user agent: it does one thing at a time, anywhere, and remembers what it has seen."""

    def __init__(self, shared: Shared, name: str, *, short: bool) -> None:
        self._shared = shared
        self._name = name
        self._short = short
        self._wire = Wire()
        self._seen: dict[str, int] = {}
        self._sent = 0

    async def run(self, until: Callable[[], bool]) -> None:
        """Work until told to stop."""
        try:
            while not until():
                await self._step()
        finally:
            self._wire.close()

    async def _step(self) -> None:
        if len(self._shared.sessions) < 8:
            await self._start()
            return
        session = random.choice(list(self._shared.sessions))
        self._shared.age[session] += 1
        if self._shared.age[session] > LONGEST:
            self._shared.sessions.pop(session, None)
        action = random.choices([self._read, self._save, self._complete], [40, 58, 0.6])[0]
        await action(session)

    async def _start(self) -> None:
        limit = random.choice([2, 3, 4]) if self._short and random.random() < 0.4 else 3600
        body = {"user_id": self._name, "quiz_id": 7, "time_limit_seconds": limit}
        operation = Operation("start", "", monotonic(), 0, "unknown")
        await self._settle(operation, "POST", "/api/sessions/start", body, {"idempotency-key": str(uuid4())})
        if operation.outcome == "ok" and operation.session not in self._shared.age:
            # Expiry is the database's clock's; it runs on this machine, too.
            self._shared.sessions[operation.session] = operation.over_at
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
        await self._settle(operation, "GET", f"/api/sessions/{session}", None, headers)

    async def _save(self, session: str) -> None:
        operation = self._operation("save", session)
        keys = random.sample(range(QUESTIONS), random.choice([1, 1, 1, 3]))
        operation.writes = {str(key): self._value() for key in keys}
        body: dict[str, Any] = {"answers": operation.writes}
        method = "PATCH"
        if len(keys) == 1:
            method, body = "PUT", {"question_id": keys[0], "answer": operation.writes[str(keys[0])]}
        if random.random() < 0.25 and session in self._seen:
            operation.named = body["version"] = self._seen[session]
        headers = {"idempotency-key": str(uuid4())} if random.random() < 0.7 else {}
        if random.random() < 0.2:
            headers["prefer"] = "return=minimal"
        await self._settle(operation, method, f"/api/sessions/{session}/progress", body, headers)

    async def _complete(self, session: str) -> None:
        operation = self._operation("complete", session)
        await self._settle(operation, "POST", f"/api/sessions/{session}/complete", None, {})
        self._shared.sessions.pop(session, None)

    def _operation(self, kind: Kind, session: str) -> Operation:
        over_at = self._shared.sessions.get(session, float("inf"))
        return Operation(kind, session, monotonic(), 0, "unknown", over_at=over_at)

    def _value(self) -> str:
        self._sent += 1
        return f"{self._name}-{self._sent}"

    async def _settle(
        self, operation: Operation, method: str, path: str, body: object, headers: dict[str, str]
    ) -> None:
        """Send until the outcome is known, where a key makes that harmless, and record the operation."""
        certain = True
        for attempt in range(20 if "idempotency-key" in headers else 1):
            operation.repeats = attempt
            self._shared.attempts += 1
            reply = None
            with suppress(LostError):
                reply = await self._wire.send(random.choice(self._shared.ports), method, path, body, headers)
            if reply is not None and reply.status < 500:
                self._note(operation, reply)
                break
            certain &= reply is not None and reply.body.get("outcome") == "not_applied"
            await asyncio.sleep(0.05 * (attempt + 1))
        else:
            operation.outcome = "refused" if certain else "unknown"
        if operation.repeats and operation.outcome in ("gone", "conflict") and not certain:
            # An attempt before this one may have landed.
            operation.outcome = "unknown"
        operation.end = monotonic()
        self._shared.operations.append(operation)

    def _note(self, operation: Operation, reply: Reply) -> None:
        """Write down what the reply shows."""
        outcomes = {409: "conflict", 410: "gone", 404: "refused"}
        assert reply.status in (200, 201, 204, 304, 404, 409, 410), reply
        operation.outcome = outcomes.get(reply.status, "ok")  # type: ignore[assignment]
        session = reply.body.get("session", reply.body)
        if "etag" in reply.headers:
            operation.version = int(reply.headers["etag"].strip('"'))
        if "id" in session:
            assert operation.version == session["version"], reply
            operation.session = session["id"]
            operation.status, operation.answers = session["status"], session["answers"]
        if operation.kind == "start":
            over_at = datetime.fromisoformat(session["expires_at"]).timestamp()
            operation.over_at = over_at - time() + monotonic()
        if operation.version is not None:
            seen = self._seen.get(operation.session, 0)
            self._seen[operation.session] = max(seen, operation.version)
        if reply.status == 410 or operation.status == "completed":
            self._shared.sessions.pop(operation.session, None)
