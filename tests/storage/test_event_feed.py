"""The feed of events: positions in the order of commits, each once, whatever is slow or killed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from session_service.storage import statements
from session_service.storage.event_rows import PlaceInput
from session_service.storage.sql_files import FOLDER
from tests.conftest import Urls, migrate
from tests.support.feed import PATH, await_events, follow, newest, of_sessions, page, start_statement
from tests.support.service import running
from tests.support.waiting import eventually

NOT_SERVED = "the feed of events was not served"
WAITING = (
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%place_events%'"
)


@pytest.fixture
def urls(fresh_database: Urls) -> Urls:
    """A migrated database of its own."""
    migrate(fresh_database)
    return fresh_database


@pytest.fixture
def owner(urls: Urls) -> Iterator[psycopg.Connection]:
    """A connection as the owner of the tables."""
    with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        yield connection


def start(connection: psycopg.Connection) -> str:
    """Start a session with the service's own statement, in the connection's transaction; return its id."""
    session_id = uuid4()
    connection.execute(*start_statement(session_id=session_id))
    return str(session_id)


@contextmanager
def feed_locked(urls: Urls) -> Iterator[None]:
    """Hold the lock of the feed, so that every instance waits while it gives positions."""
    with psycopg.connect(urls["MIGRATION_DATABASE_URL"]) as other:
        other.execute("select from event_feeds for update")
        yield


def positions(owner: psycopg.Connection) -> list[int]:
    """Return all positions in the feed."""
    return [number for (number,) in owner.execute("select position from event_positions order by position")]


def test_an_event_that_is_committed_late_comes_late(urls: Urls, owner: psycopg.Connection) -> None:
    """A reader that has seen all events also gets one that was written earlier and is committed later."""
    with running(urls) as service, psycopg.connect(urls["DATABASE_URL"]) as slow:
        late = start(slow)
        early = service.start()["id"]
        await_events(service, None, [early], 1)
        seen, end = follow(service, None)
        assert of_sessions(seen, late, early) == [(1, 1, "session.started")]
        slow.commit()
        more = await_events(service, end, [late], 1)
        assert of_sessions(more, late, early) == [(0, 1, "session.started")]
        assert of_sessions(follow(service, None)[0], late, early) == of_sessions([*seen, *more], late, early)
        assert positions(owner) == [1, 2]


def test_positions_that_another_instance_has_given_are_not_given_again(
    urls: Urls, owner: psycopg.Connection
) -> None:
    """An instance that waits for another one to commit positions places the other events behind them."""
    with running(urls) as service, psycopg.connect(urls["DATABASE_URL"]) as other:
        with feed_locked(urls):
            ids: list[object] = [start(owner) for _ in range(5)]
            eventually(lambda: owner.execute(WAITING).fetchone() == (1,))
        eventually(lambda: len(positions(owner)) == 5)
        ids += [start(other) for _ in range(3)]
        other.commit()
        arrivals = _place(other, 2)
        # The service lists all three before the other one has committed the positions of two.
        eventually(lambda: owner.execute(WAITING).fetchone() == (1,))
        assert arrivals == 2
        other.commit()
        events = await_events(service, None, ids, 8)
        assert len(of_sessions(events, *ids)) == 8
        assert positions(owner) == [*range(1, 9)]
        assert NOT_SERVED not in service.log.read_text()


def _place(connection: psycopg.Connection, count: int) -> int:
    """Place events as an instance does, in the connection's transaction; return their number."""
    query = "select arrival from unplaced_events order by arrival limit %s"
    records = [PlaceInput(arrival) for (arrival,) in connection.execute(query, [count])]
    text = (FOLDER / "place_events.sql").read_bytes()
    return len(connection.execute(text, {"events": statements.encode_records(records)}).fetchall())


def test_an_instance_that_is_killed_while_it_gives_positions_loses_none(
    urls: Urls, owner: psycopg.Connection
) -> None:
    """After SIGKILL in the middle of the placing, another instance places what is left, and nothing twice."""
    with running(urls) as survivor:
        ids: list[object] = []
        for _ in range(2):
            with running(urls) as victim:
                with feed_locked(urls):
                    ids += [victim.start()["id"] for _ in range(4)]
                    eventually(lambda: owner.execute(WAITING).fetchone() != (0,))
                    victim.process.kill()
                    victim.process.wait()
                ids.append(survivor.start()["id"])
        events = await_events(survivor, None, ids, 10)
        assert len(of_sessions(events, *ids)) == 10
        assert of_sessions(follow(survivor, None)[0], *ids) == of_sessions(events, *ids)
        assert positions(owner) == [*range(1, 11)]


def test_an_event_is_shown_after_the_cache_was_raised(
    urls: Urls, owner: psycopg.Connection, cache: Redis
) -> None:
    """No read is older than an event of the feed whose writer was killed before it raised the cache."""
    with running(urls, CACHE_SECONDS="600") as service:
        session_id = service.start()["id"]
        eventually(lambda: service.client.get("/health").json()["checks"]["redis"] == "up")
        await_events(service, None, [session_id], 1)
        assert service.read(session_id).json()["version"] == 1
        # The whole of what a killed instance has done.
        with owner.transaction():
            owner.execute("set local session_service.journal = 'written'")
            owner.execute("update quiz_sessions set version = 2 where id = %s", [session_id])
            line = (
                "insert into session_events (session_id, version, type, at, actor, data) "
                """values (%s, 2, 'session.completed', now(), '{"type": "system"}', '{}')"""
            )
            owner.execute(line, [session_id])
            owner.execute("insert into unplaced_events (session_id, version) values (%s, 2)", [session_id])
        events = await_events(service, None, [session_id], 2)
        assert of_sessions(events, session_id)[-1] == (0, 2, "session.completed")
        assert service.read(session_id).json()["version"] == 2
        assert cache.getrange(f"session:{session_id}", 0, 4) == b"s1 2 "


def test_old_positions_are_deleted_and_not_used_again(urls: Urls, owner: psycopg.Connection) -> None:
    """Events older than EVENTS_DAYS leave the feed, oldest first, but not the journal; later ones go on."""
    older = "update event_positions set placed_at = placed_at - interval '2 days' where position <> %s"
    with running(urls) as service:
        ids: list[object] = [service.start()["id"] for _ in range(4)]
        await_events(service, None, ids, 4)
        begin, middle = (page(service, limit=limit)["next"] for limit in (1, 2))
        end = newest(service)
    # The clock has been set back before the last one.
    owner.execute(older, [3])
    with running(urls, EVENTS_DAYS="1") as service:
        eventually(lambda: positions(owner) == [3, 4])
        reply = service.client.get(PATH, params={"after": begin})
        assert (reply.status_code, reply.json()["oldest"]) == (410, middle)
        assert [event["session_id"] for event in page(service, after=middle)["items"]] == ids[2:]
        assert service.client.get(f"/api/sessions/{ids[0]}/events").json()["items"] != []
    owner.execute(older, [0])
    with running(urls, EVENTS_DAYS="1") as service:
        eventually(lambda: positions(owner) == [])
        assert (page(service)["items"], newest(service)) == ([], end)
        session_id = service.start()["id"]
        assert len(await_events(service, end, [session_id], 1)) == 1
        assert positions(owner) == [5]


def test_filters_are_bounded_in_work(urls: Urls, owner: psycopg.Connection) -> None:
    """A page looks at 10 000 events at most: one that a filter leaves empty has the cursor to read on."""
    with running(urls) as service:
        first, last = service.start()["id"], service.start(quiz_id="other")["id"]
        await_events(service, None, [first, last], 2)
        owner.execute("update event_positions set position = 25000 where position = 2")
        owner.execute("update event_feeds set newest = 25000")
        empty = page(service, quiz_id="other")
        assert empty["items"] == []
        assert empty["next"] != empty["newest"]
        events, end = follow(service, None, quiz_id="other")
        assert ([event["session_id"] for event in events], end) == ([last], empty["newest"])


def test_every_statement_that_writes_lines_adds_them_to_the_feed() -> None:
    """A statement that writes to the journal also adds the lines to the events without a position."""
    texts = {path.stem: path.read_text() for path in FOLDER.glob("*.sql")}
    writers = {name for name, text in texts.items() if re.search(r"insert into session_events\b", text)}
    assert len(writers) >= 3
    assert writers == {name for name, text in texts.items() if "insert into unplaced_events" in text}


def test_a_feed_that_fails_is_logged_and_tried_again(urls: Urls, owner: psycopg.Connection) -> None:
    """An instance that cannot place events says so in its log, and places them when it can."""
    with running(urls) as service:
        owner.execute("alter table event_feeds rename to hidden")
        session_id = service.start()["id"]
        eventually(lambda: NOT_SERVED in service.log.read_text())
        owner.execute("alter table hidden rename to event_feeds")
        assert len(await_events(service, None, [session_id], 1)) == 1
