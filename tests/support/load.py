"""Load on a service: clients that save answers continuously and record each result."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import psycopg
from attrs import define, field, frozen

from tests.support.keep_alive import KeepAliveClient, LostError, Reply
from tests.support.waiting import eventually_async

CLIENTS = 8
PAUSE = 0.02  # seconds between a client's requests
# Failures of a client that are tolerated during a recovery, which takes at most 2 s: with the pauses alone,
# as many requests take 2 s, and longer on a busy machine.
MAX_FAILURES = 100


@frozen
class SaveResult:
    """The result of a request; `status` is 0 if there was no response."""

    client: int
    begin: float
    end: float
    status: int
    outcome: str


@define
class Load:
    """Clients, each with its own session; all responses are validated against the contract."""

    port: int
    size: int
    results: list[SaveResult] = field(factory=list)
    acknowledged: dict[str, set[int]] = field(factory=dict)
    over: bool = False

    async def work(self, number: int) -> None:
        """Save answers as one client until the load is over."""
        client = KeepAliveClient()
        body = {"user_id": f"user-{number}", "quiz_id": 7}
        session = (await client.send(self.port, "POST", "/api/sessions/start", body)).body["id"]
        saved = self.acknowledged.setdefault(session, set())
        question = 0
        while not self.over:
            question += 1
            begin = monotonic()
            response = await self._save(client, session, question)
            outcome = response.body.get("outcome", "")
            self.results.append(SaveResult(number, begin, monotonic(), response.status, outcome))
            if response.status == 200:
                saved.add(question)
            await asyncio.sleep(PAUSE)
        client.close()

    def failures(self, since: float = 0.0) -> list[SaveResult]:
        """Return the failures of requests that began at the time or later."""
        return [result for result in self.results if result.status != 200 and result.begin >= since]

    async def await_failures(self, count: int = CLIENTS) -> None:
        """Wait until this number of requests have failed."""
        await eventually_async(lambda: len(self.failures()) >= count, lambda: self.results[-CLIENTS:])

    async def await_recovery(self, since: float) -> None:
        """Wait until each client has succeeded after the time; fail if one recovers late or fails again.

        Each request must have had a response.
        """
        await eventually_async(
            lambda: len(self._first_successes(since)) == CLIENTS, lambda: self.results[-CLIENTS:]
        )
        recovered = max(self._first_successes(since).values())
        served = len(self.results)
        await eventually_async(lambda: len(self.results) >= served + CLIENTS)
        failed = Counter(result.client for result in self.failures(since))
        assert max(failed.values(), default=0) < MAX_FAILURES
        assert self.failures(recovered) == []
        assert {result.status for result in self.results} <= {200, 503}

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
        good = [result for result in self.results if result.status == 200 and result.begin >= since]
        return {result.client: result.end for result in reversed(good)}

    async def _save(self, client: KeepAliveClient, session: str, question: int) -> Reply:
        body = {"question_id": question, "answer": "x" * self.size}
        try:
            return await client.send(self.port, "PUT", f"/api/sessions/{session}/progress", body)
        except LostError:
            return Reply(0, {}, {})


@asynccontextmanager
async def load(url: str, size: int = 10) -> AsyncIterator[Load]:
    """Run clients until the end of the block; it starts when each of them has saved an answer."""
    clients = Load(int(url.rpartition(":")[2]), size)
    tasks = [asyncio.create_task(clients.work(number)) for number in range(CLIENTS)]
    try:
        await clients.await_recovery(monotonic())
        yield clients
    finally:
        clients.over = True
        await asyncio.gather(*tasks)
