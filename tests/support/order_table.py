"""Plays the table of docs/orders.md: brings a session into a state, gives an order, and tells its effect."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
from attrs import frozen
from redis import Redis

from tests.support.ageing import age, stored
from tests.support.inspection import waiting_for_locks
from tests.support.orders import AGAIN, given, order
from tests.support.service import Service
from tests.support.waiting import eventually

STATES = [
    "in progress",
    "in its grace",
    "paused",
    "expired, end not stored",
    "expired by the deadline",
    "expired by an order",
    "completed by the learner",
    "completed by the deadline, end not stored",
    "completed by the deadline",
    "completed by an order",
]
ORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "later end": ("deadline", {"extra_seconds": 86_400}),
    "same end": ("deadline", {"extra_seconds": 0}),
    "end in the past": ("deadline", {"expires_at": "2000-01-01T00:00:00Z"}),
    "pause": ("pause", {}),
    "resume": ("resume", {}),
    "reopen": ("reopen", AGAIN),
}
VARIANTS = ["first call", "onto a stale version", "repeated"]


@frozen
class Row:
    """A row of the table: the effect of each variant as `status, change of the version, session's status`."""

    state: str
    order: str
    effects: tuple[str, ...]


@frozen
class Stage:
    """The service, and what brings its sessions into a state."""

    service: Service
    url: str
    database: psycopg.Connection
    cache: Redis

    def play(self, state: str, name: str, variant: str) -> str:
        """Give the order to a session in the state; return the effect of the last call."""
        for _ in range(5):
            effect = self._played(state, name, variant)
            # At the unlock the sweeper may come before the order that waits: then each makes a change.
            if ", +2, " not in effect:
                break
        return effect

    def _played(self, state: str, name: str, variant: str) -> str:
        kind, body = ORDERS[name]
        ending = "complete" if state.startswith("completed by the deadline") else "expire"
        unstored = state.endswith("not stored")
        session_id = self._prepared(state, ending)
        if variant == "onto a stale version":
            body = {**body, "version": 1}

        def call() -> httpx.Response:
            return order(self.service, kind, session_id, body, "the-order")

        before = self._version(session_id)
        response = self._while_overdue(session_id, call) if unstored else call()
        if unstored:
            before = 2
        if variant == "repeated":
            before = self._version(session_id)
            response = call()
        session = response.json().get("session", response.json())
        change = session["version"] - before
        shown = f"+{change}" if change else "="
        assert (session["version"], session["status"]) == stored(
            self.database, session_id, "version", "status"
        )
        return f"{response.status_code}, {shown}, {session['status']}"

    def _prepared(self, state: str, ending: str) -> str:
        if state == "completed by an order":
            ending = "complete"
        started = self.service.start(time_limit_seconds=600, grace_seconds=60, on_expiry=ending)
        session_id = str(started["id"])
        assert self.service.save(session_id, 1, "x").status_code == 200
        match state:
            case "in its grace":
                age(self.database, self.cache, session_id, 630)
            case "paused":
                given(self.service, "pause", session_id)
            case "completed by the learner":
                self.service.complete(session_id)
            case "expired by an order" | "completed by an order":
                given(self.service, "deadline", session_id, extra_seconds=-86_400)
            case "expired by the deadline" | "completed by the deadline":
                age(self.database, self.cache, session_id, 700)
                self.service.read(session_id)
        return session_id

    def _while_overdue(self, session_id: str, call: Callable[[], httpx.Response]) -> httpx.Response:
        """Call while the session is overdue and its row locked, so that the sweeper cannot end it."""
        with psycopg.connect(self.url) as holder, ThreadPoolExecutor(1) as client:
            holder.execute("select from quiz_sessions where id = %s for update", [session_id])
            age(holder, self.cache, session_id, 700)
            sent = client.submit(call)
            eventually(lambda: sent.done() or waiting_for_locks(self.url) > 0)
            assert not sent.done()
            holder.commit()
            return sent.result()

    def _version(self, session_id: str) -> int:
        (version,) = stored(self.database, session_id, "version")
        return int(version)


def rows(text: str) -> Iterator[Row]:
    """Yield the rows of the table in the text."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 + len(VARIANTS) and cells[0] in STATES:
            yield Row(cells[0], cells[1], tuple(cells[2:]))
