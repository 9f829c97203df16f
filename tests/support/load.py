"""Clients that save one answer after the other, whatever happens, and remember what they were told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import psycopg
from attrs import define, field, frozen

from tests.support.waiting import eventually_async
from tests.verify.histories.client import LostError, Reply, Wire

CLIENTS = 8
PAUSE = 0.02  # seconds between a client's requests
# Requests of a client in the 2 s in which it is served again once the cause is gone: with the pauses alone
# so many take longer, on a machine however busy.
BACK = 100


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
        await eventually_async(lambda: len(self.failures()) >= count, lambda: self.told[-CLIENTS:])

    async def recover(self, since: float) -> None:
        """See each client served soon after a moment, and all from then on; each request had its reply."""
        await eventually_async(
            lambda: len(self._first_successes(since)) == CLIENTS, lambda: self.told[-CLIENTS:]
        )
        back = max(self._first_successes(since).values())
        served = len(self.told)
        await eventually_async(lambda: len(self.told) >= served + CLIENTS)
        refused = Counter(told.client for told in self.failures(since))
        assert max(refused.values(), default=0) < BACK
        assert self.failures(back) == []
        assert {told.status for told in self.told} <= {200, 503}

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
