"""Races: saves, batches, sequencers and instances beside an erasing transaction."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from httpx import Response
from redis import Redis

from session_service.storage.session_cache import ERASED, SessionCache
from tests.conftest import Urls
from tests.erasing.conftest import GATE
from tests.support.caches import encoded_session, session_cache
from tests.support.erasing import erase, erase_user, new_user
from tests.support.inspection import waiting_for_locks
from tests.support.orders import order_quiz
from tests.support.service import Service, running
from tests.support.waiting import eventually

TOMBSTONE = b"s1 9999999999 0 "
LINES = "select type, version from session_events where session_id = %s order by version"
# What a save does that is not committed yet.
SAVE = [
    "select from quiz_sessions where id = %(id)s for update",
    "set local session_service.journal = 'written'",
    "update quiz_sessions set version = 2 where id = %(id)s",
    """
    insert into session_events (session_id, version, type, at, actor, data)
    values (%(id)s, 2, 'session.saved', now(), '{"type": "anonymous"}', '{}')
    """,
]
# What a sequencer does that has not committed yet: an event gets a position while the feed is locked.
PLACE = [
    "select from event_feeds for update",
    "update event_feeds set newest = newest + 1",
    """
    insert into event_positions (position, session_id, version, type, quiz_id, bytes, placed_at)
    select newest, %(id)s, 1, 'session.started', '7', 300, now()
    from event_feeds
    """,
]


def test_the_tombstone_is_there_before_and_after_the_commit(
    gated: tuple[Service, psycopg.Connection], cache: Redis
) -> None:
    """The cache has the tombstone before another transaction can see that the session is gone, and after."""
    service, database = gated
    session_id = service.start()["id"]
    key = f"session:{session_id}"
    with ThreadPoolExecutor(1) as client:
        database.execute("select pg_advisory_lock(%s)", [GATE])
        erased = client.submit(erase, service, session_id)
        eventually(lambda: cache.get(key) == TOMBSTONE)
        assert service.read(session_id).status_code == 200
        assert cache.get(key) == TOMBSTONE
        cache.delete(key)
        database.execute("select pg_advisory_unlock(%s)", [GATE])
        assert erased.result().status_code == 204
    assert cache.get(key) == TOMBSTONE


def test_a_tombstone_outlives_every_entry_of_its_session(migrated: Urls, cache: Redis) -> None:
    """No version replaces the tombstone, no raise either; written again, it guards for its whole time."""
    session_id = uuid4()

    async def bury(sessions: SessionCache) -> None:
        await sessions.raise_versions({session_id: ERASED})
        cache.pexpire(f"session:{session_id}", 20_000)
        until = await sessions.now() + 30_000
        await sessions.put_if_newer([(encoded_session(session_id, 2**31 - 1), until)])
        await sessions.raise_versions({session_id: 2**31 - 1})
        assert await sessions.get(session_id) is None
        assert int(cache.pttl(f"session:{session_id}")) <= 20_000
        await sessions.raise_versions({session_id: ERASED})

    asyncio.run(_with_cache(migrated, bury))
    assert cache.get(f"session:{session_id}") == TOMBSTONE
    assert int(cache.pttl(f"session:{session_id}")) > 20_000


async def _with_cache(urls: Urls, use: object) -> None:
    async with session_cache(urls["REDIS_URL"]) as cache:
        await use(cache)  # type: ignore[operator]


def test_a_save_that_waits_for_erasing_is_404(
    gated: tuple[Service, psycopg.Connection],
) -> None:
    """A save that finds the row locked by erasing waits, and is 404; the row does not come back."""
    service, database = gated
    session_id = service.start()["id"]
    with ThreadPoolExecutor(2) as clients:
        database.execute("select pg_advisory_lock(%s)", [GATE])
        erased = clients.submit(erase, service, session_id)
        eventually(lambda: _waiting(database, "session_eraser"))
        saved = clients.submit(service.save, session_id, 1, "late")
        # Not the sequencer, which may wait for the feed.
        eventually(lambda: _waiting(database, "session_service", "quiz_sessions"))
        database.execute("select pg_advisory_unlock(%s)", [GATE])
        assert [erased.result().status_code, saved.result().status_code] == [204, 404]
    assert database.execute("select from quiz_sessions").fetchall() == []
    assert database.execute(LINES, [session_id]).fetchall() == [("session.erased", 2)]


@pytest.mark.parametrize(
    ("work", "version"),
    [(SAVE, 3), (PLACE, 2)],
    ids=["a save", "a position"],
)
def test_what_was_committed_while_erasing_waited_is_erased(
    service: Service,
    migrated: Urls,
    database: psycopg.Connection,
    work: list[str],
    version: int,
) -> None:
    """The line of a save, or the position of an event, is erased also if it came while erasing waited."""
    session_id = service.start()["id"]
    with (
        psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder,
        ThreadPoolExecutor(1) as client,
    ):
        holder.execute(work[0], {"id": session_id})
        erased = client.submit(erase, service, session_id)
        eventually(lambda: waiting_for_locks(migrated["MIGRATION_DATABASE_URL"]) >= 1)
        for statement in work[1:]:
            holder.execute(statement, {"id": session_id})
        holder.commit()
        assert erased.result().status_code == 204
    assert database.execute(LINES, [session_id]).fetchall() == [("session.erased", version)]
    query = "select from event_positions where session_id = %s and type <> 'session.erased'"
    assert database.execute(query, [session_id]).fetchall() == []


def test_an_instance_that_is_killed_before_the_commit_erases_nothing(
    gated: tuple[Service, psycopg.Connection], migrated_database: tuple[Urls, psycopg.Connection]
) -> None:
    """A session whose erasing instance is killed before the commit is whole, and can be erased by another."""
    service, database = gated
    session = service.start()
    with ThreadPoolExecutor(1) as client:
        database.execute("select pg_advisory_lock(%s)", [GATE])
        lost = client.submit(erase, service, session["id"])
        (pid,) = eventually(lambda: _waiting(database, "session_eraser"))
        service.process.kill()
        assert lost.exception() is not None
        database.execute("select pg_terminate_backend(%s)", [pid])
        database.execute("select pg_advisory_unlock(%s)", [GATE])
    with running(migrated_database[0]) as other:
        assert other.read(session["id"]).json() == session
        assert erase(other, session["id"]).status_code == 204


def test_erasing_beside_batches_ends_without_a_deadlock(migrated: Urls, patient_repository: Path) -> None:
    """Users are erased by two instances while all their sessions are saved and get orders: none is left.

    Each request is done, or refused because the session is gone.
    """
    quiz = f"quiz-{uuid4()}"
    users = [new_user() for _ in range(3)]
    with (
        running(migrated, patient_repository) as service,
        running(migrated, patient_repository) as other,
        ThreadPoolExecutor(12) as clients,
    ):
        ids = [
            UUID(str(service.start(user_id=user, quiz_id=quiz)["id"])) for user in users for _ in range(20)
        ]

        def save() -> list[Future[Response]]:
            return [clients.submit(one.save, each, 1, "x") for each in ids for one in (service, other)]

        saves = save()
        orders = [clients.submit(order_quiz, service, "pause", {"quiz_id": quiz}) for _ in range(3)]
        erasing = [clients.submit(erase_user, one, user) for user in users for one in (service, other)]
        saves += save()
        assert {one.result().status_code for one in saves} <= {200, 404, 423}
        assert {one.result().status_code for one in (*orders, *erasing)} == {200}
        for user in users:
            erase_user(service, user)
        assert {service.read(session_id).status_code for session_id in ids} == {404}


def _waiting(database: psycopg.Connection, role: str, part: str = "") -> list[int]:
    """Return the processes of the role's statements that wait for a lock, and have this part."""
    query = """
        select pid from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and usename = %s
          and (%s = '' or strpos(query, %s) > 0)
    """
    return [pid for (pid,) in database.execute(query, [role, part, part])]
