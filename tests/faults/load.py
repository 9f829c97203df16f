"""Clients that save one answer after the other, whatever happens, and remember what they were told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import psycopg
from attrs import define, field, frozen

from tests.history.client import LostError, Reply, Wire

CLIENTS = 8
PAUSE = 0.02  # seconds between a client's requests
DEADLINE = 5.0  # seconds in which each request has its reply
BACK = 2.0  # seconds in which everybody is served again once the cause is gone
SLACK = 1.0  # for what a busy machine adds to both


@frozen
class Told:
    """What a client was told: `status` 0 if there was no reply."""

    client: int
    begin: float
    end: float
    status: int
    outcome: str


@define
class Load:
    """Clients, each with a session of its own; every reply is held against the contract."""

    port: int
    size: int
    told: list[Told] = field(factory=list)
    acknowledged: dict[str, set[int]] = field(factory=dict)
    over: bool = False

    async def work(self, client: int) -> None:
        """Be a client until the load is over."""
        wire = Wire()
        body = {"user_id": f"user-{client}", "quiz_id": 7}
        session = (await wire.send(self.port, "POST", "/api/sessions/start", body)).body["id"]
        saved = self.acknowledged.setdefault(session, set())
        question = 0
        while not self.over:
            question += 1
            begin = monotonic()
            reply = await self._save(wire, session, question)
            outcome = reply.body.get("outcome", "")
            self.told.append(Told(client, begin, monotonic(), reply.status, outcome))
            if reply.status == 200:
                saved.add(question)
            await asyncio.sleep(PAUSE)
        wire.close()

    def failures(self, since: float = 0.0) -> list[Told]:
        """Return what was told without success to those who asked since a moment."""
        return [told for told in self.told if told.status != 200 and told.begin >= since]

    async def suffer(self, count: int = CLIENTS) -> None:
        """Wait until so many requests have failed."""
        end = monotonic() + 4 * DEADLINE
        while len(self.failures()) < count:
            assert monotonic() < end, self.told[-CLIENTS:]
            await asyncio.sleep(0.05)

    async def recover(self, since: float) -> None:
        """See everybody served within 2 s of a moment, and from then on; and that nobody waited too long."""
        end = monotonic() + 4 * DEADLINE
        while len(first := self._first_successes(since)) < CLIENTS:
            assert monotonic() < end, self.told[-CLIENTS:]
            await asyncio.sleep(0.05)
        back = max(first.values())
        await asyncio.sleep(0.3)
        assert back - since < BACK + SLACK
        assert self.failures(back) == []
        assert {told.status for told in self.told} <= {200, 503}
        assert max(told.end - told.begin for told in self.told) < DEADLINE + SLACK

    def lost(self, url: str) -> list[tuple[str, int]]:
        """Return the answers that were acknowledged and are not in the database."""
        with psycopg.connect(url) as database:
            rows = database.execute("select id::text, answers from quiz_sessions").fetchall()
        stored: dict[str, dict[str, str]] = dict(rows)
        return [
            (session, question)
            for session, questions in self.acknowledged.items()
            for question in questions
            if str(question) not in stored[session]
        ]

    def _first_successes(self, since: float) -> dict[int, float]:
        good = [told for told in self.told if told.status == 200 and told.begin >= since]
        return {told.client: told.end for told in reversed(good)}

    async def _save(self, wire: Wire, session: str, question: int) -> Reply:
        body = {"question_id": question, "answer": "x" * self.size}
        try:
            return await wire.send(self.port, "PUT", f"/api/sessions/{session}/progress", body)
        except LostError:
            return Reply(0, {}, {})


@asynccontextmanager
async def load(url: str, size: int = 10) -> AsyncIterator[Load]:
    """Let clients work at the service, from a moment on at which each has saved."""
    one = Load(int(url.rpartition(":")[2]), size)
    clients = [asyncio.create_task(one.work(client)) for client in range(CLIENTS)]
    try:
        await one.recover(monotonic())
        yield one
    finally:
        one.over = True
        await asyncio.gather(*clients)
