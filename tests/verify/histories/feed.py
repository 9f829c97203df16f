"""Readers of the feed and writers with late commits, as a part of a history, and the check of the readers."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from time import monotonic
from urllib.parse import urlencode

import psycopg
from attrs import frozen

from tests.support.feed import start_statement
from tests.support.keep_alive import KeepAliveClient, LostError
from tests.support.waiting import LIMIT
from tests.verify.histories.cluster import Services
from tests.verify.histories.record import ENDED, Operation

Line = tuple[str, int, str]
"""The session, the version and the type of an event."""

ENDS = ("session.completed", "session.expired")
SLOW_WRITERS = 3


class FeedReader:
    """Follows the feed like a service that grades: with the cursor of the last page that has arrived."""

    def __init__(self, ports: list[int], after: str, types: tuple[str, ...] = ()) -> None:
        self.events: list[Operation] = []
        self.lines: list[Line] = []
        self.violations: list[str] = []
        self._ports = ports
        self._after = after
        self._types = types
        self._connection = KeepAliveClient()

    async def run(self, until: Callable[[], bool]) -> None:
        """Read until the condition holds."""
        try:
            while not until():
                await self._read()
        finally:
            self._connection.close()

    async def _read(self) -> None:
        begin = monotonic()
        query = {"after": self._after, "limit": random.choice([1, 3, 100]), "wait": random.choice([0, 1, 4])}
        path = "/api/events?" + urlencode([*query.items(), *(("types", name) for name in self._types)])
        reply = None
        with suppress(LostError):
            reply = await self._connection.send(random.choice(self._ports), "GET", path)
        if reply is None or reply.status >= 500:
            await asyncio.sleep(0.05)
            return
        if reply.status != 200:
            self.violations.append(f"the feed refused a cursor: {reply.body}")
            return
        self._after = reply.body["next"]
        for event in reply.body["items"]:
            session, version, kind = event["session_id"], event["version"], event["type"]
            self.lines.append((session, version, kind))
            status = kind.removeprefix("session.")
            shown = Operation("event", session, begin, monotonic(), "ok", version)
            shown.status = status if status in ENDED else None
            self.events.append(shown)


@frozen
class FeedHistory:
    """The feed in a history: two readers, one of them with a filter, and writers with late commits."""

    _cluster: Services
    _begun: datetime
    _all: FeedReader
    _ends: FeedReader

    @classmethod
    async def begin(cls, cluster: Services, ports: list[int]) -> "FeedHistory":
        """Return the history from now on."""
        connection = KeepAliveClient()
        reply = await connection.send(cluster.instances[0].port, "GET", "/api/events?limit=1")
        connection.close()
        with psycopg.connect(cluster.owner_url) as database:
            (now,) = database.execute("select clock_timestamp()").fetchone() or ()
        everything, ends = (FeedReader(ports, reply.body["newest"], types) for types in ((), ENDS))
        return cls(cluster, now, everything, ends)

    async def run(self, until: Callable[[], bool]) -> None:
        """Read and write until the condition holds."""
        writers = (self._write_slowly(until) for _ in range(SLOW_WRITERS))
        await asyncio.gather(self._all.run(until), self._ends.run(until), *writers)

    async def finish(self) -> set[Line]:
        """Let the readers read everything that is in the journal by now, and return it."""
        lines, erased = self._journal(), self._erased()
        end = monotonic() + LIMIT
        await asyncio.gather(
            self._all.run(lambda: lines | erased <= {*self._all.lines} or monotonic() > end),
            self._ends.run(lambda: _ends(lines) <= {*self._ends.lines} or monotonic() > end),
        )
        return lines

    def observations(self, sessions: Iterable[str]) -> list[Operation]:
        """Return each event of these sessions as an operation that has shown a version."""
        known = {*sessions}
        return [event for event in [*self._all.events, *self._ends.events] if event.session in known]

    def violations(self, required: set[Line], operations: Iterable[Operation]) -> list[str]:
        """Return the violations of the feed's guarantees; the readers must have seen the required lines."""
        # Sessions have ended since.
        journal = self._journal()
        own = {session for session, _, _ in journal}
        seen, ends = ([line for line in one.lines if line[0] in own] for one in (self._all, self._ends))
        shown = [line for line in seen if line[2] in ENDS]
        return [
            *self._all.violations,
            *self._ends.violations,
            *check_feed(seen, required, journal, operations),
            # The reader that has finished first may lack the newest ends.
            *([] if shown[: len(ends)] == ends[: len(shown)] else ["two readers saw two orders"]),
        ]

    def violations_of_erasing(self, operations: Iterable[Operation]) -> list[str]:
        """Return the violations in what the reader of everything saw of erased sessions."""
        return check_erased(self._all.lines, operations)

    async def _write_slowly(self, until: Callable[[], bool]) -> None:
        """Start sessions, each in a transaction that stays open for a while, and that may be rolled back."""
        while not until():
            with suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(self._cluster.url) as database:
                    await database.execute(*start_statement(seconds=2))
                    await asyncio.sleep(random.uniform(0, 0.5))
                    if random.random() < 0.2:
                        await database.rollback()
            await asyncio.sleep(0.05)

    def _erased(self) -> set[Line]:
        """Return the lines that say that a session was erased in this history."""
        query = """
            select session_id::text, version, type
            from session_events
            where type = 'session.erased' and at >= %s
        """
        with psycopg.connect(self._cluster.owner_url) as database:
            rows: list[Line] = database.execute(query, [self._begun]).fetchall()
        return {*rows}

    def _journal(self) -> set[Line]:
        """Return the lines but saves of all sessions that were started in this history."""
        query = """
            select session_id::text, version, type
            from session_events
            where type <> 'session.saved'
              and session_id in (select id from quiz_sessions where created_at >= %s)
        """
        with psycopg.connect(self._cluster.owner_url) as database:
            rows: list[Line] = database.execute(query, [self._begun]).fetchall()
        return {*rows}


def check_erased(seen: list[Line], operations: Iterable[Operation]) -> list[str]:
    """Return the violations of erasing: an erased session has one event of it, its last, and no other has."""
    erasing = [one for one in operations if one.kind == "erase"]
    begun = {one.session for one in erasing if one.outcome != "refused"}
    last = {session: kind for session, _, kind in seen}
    shown = Counter(session for session, _, kind in seen if kind == "session.erased")
    done = {one.session for one in erasing if one.outcome == "ok"}
    found = [f"{one}: erased, with {shown[one]} events of it" for one in done if shown[one] != 1]
    found += [f"{one}: an event after it was erased" for one in shown if last[one] != "session.erased"]
    return found + [f"{one}: not erased, and the feed says so" for one in shown.keys() - begun]


def check_feed(
    seen: list[Line], required: set[Line], journal: set[Line], operations: Iterable[Operation]
) -> list[str]:
    """Return the violations in what a reader saw: each line but saves exactly once, versions in order."""
    found = [f"{line} is in the journal and not in the feed" for line in required - {*seen}]
    found += [f"{line} is in the feed and not in the journal" for line in {*seen} - journal]
    versions: dict[str, int] = {}
    for session, version, _ in seen:
        if version <= versions.get(session, 0):
            found.append(f"{session}: the feed has {version} after {versions[session]}")
        versions[session] = version
    places = {(session, version): kind for session, version, kind in seen}
    completed = {session for session, _, kind in seen if kind == "session.completed"}
    for one in operations:
        if one.kind == "start" and one.outcome == "ok" and places.get((one.session, 1)) != "session.started":
            found.append(f"{one.session}: a start is not in the feed")
        if one.kind == "complete" and one.outcome == "ok" and one.session not in completed:
            found.append(f"{one.session}: a completion is not in the feed")
        if one.status in ENDED and places.get((one.session, one.version or 0)) != f"session.{one.status}":
            found.append(f"{one.session}: the end in version {one.version} is not in the feed")
    return found


def _ends(lines: Iterable[Line]) -> set[Line]:
    return {line for line in lines if line[2] in ENDS}
