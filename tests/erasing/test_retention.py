"""Retention: RETENTION_DAYS erases sessions that have ended long ago, and no others."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import psycopg

from session_service.storage import queries, session_settings, statements
from session_service.storage.erasure_store import ErasureStore
from tests.conftest import Urls
from tests.support.caches import session_cache
from tests.support.feed import await_events
from tests.support.orders import given
from tests.support.service import Service, running
from tests.support.waiting import eventually

DAY = 86_400
# Moves a session into the past, by its times.
OLD = """
    update quiz_sessions
    set
      started_at = started_at - shift, created_at = created_at - shift, updated_at = updated_at - shift,
      expires_at = expires_at - shift, closes_at = closes_at - shift, completed_at = completed_at - shift
    from (select %s * interval '1 second') as moved (shift)
    where id = %s
"""

REOPEN = """
    update quiz_sessions
    set status = 'in_progress', ended_by = null, completed_at = null, version = version + 1
    where id = %s
"""

# PostgreSQL cancels a statement after five seconds, which is too short to delete two rows.
SLOW = """
    create function be_slow() returns trigger language plpgsql as $$
    begin
      perform pg_sleep(2.6);
      return old;
    end
    $$;
    create trigger slow before delete on quiz_sessions for each row execute function be_slow();
"""


def _prepare(service: Service, database: psycopg.Connection) -> tuple[list[str], list[str]]:
    """Return the ids of sessions that ended over two days ago, and of others."""
    old: list[str] = []
    kept: list[str] = []
    for ages in (old, kept):
        completed, expired = (str(service.start(time_limit_seconds=60)["id"]) for _ in range(2))
        service.complete(completed)
        given(service, "deadline", expired, extra_seconds=-DAY)
        ages += [completed, expired]
    endless, paused, reopened = (str(service.start(time_limit_seconds=0)["id"]) for _ in range(3))
    given(service, "pause", paused)
    service.complete(reopened)
    given(service, "reopen", reopened, time_limit_seconds=0)
    for session_id in (*old, endless, paused, reopened):
        database.execute(OLD, [3 * DAY, session_id])
    return old, [*kept, endless, paused, reopened]


def test_old_ended_sessions_are_erased(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """Sessions that ended more than RETENTION_DAYS ago are erased by the instances, one event for each.

    Later ones stay, and so do those that run, are paused, or were reopened, however old they are.
    """
    urls, database = migrated_database
    with running(urls) as service:
        old, kept = _prepare(service, database)
    with running(urls, RETENTION_DAYS="2") as service, running(urls, RETENTION_DAYS="2"):
        query = "select id::text from quiz_sessions"
        eventually(lambda: {row for (row,) in database.execute(query)} == set(kept))
        assert [service.read(session_id).status_code for session_id in old] == [404, 404]
        events = await_events(service, None, old, 2)
        erased = [event for event in events if event["type"] == "session.erased"]
        assert {event["session_id"] for event in erased} == set(old)
        assert [event["actor"] for event in erased] == 2 * [{"type": "system"}]


def test_a_session_that_is_reopened_meanwhile_is_kept(
    migrated_database: tuple[Urls, psycopg.Connection],
) -> None:
    """A session that another transaction is reopening is left out, and not erased after that either."""
    urls, database = migrated_database
    with running(urls) as service:
        session_id = service.start()["id"]
        service.complete(session_id)
    database.execute(OLD, [3 * DAY, session_id])

    async def erase(store: ErasureStore) -> list[int]:
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"]) as holder:
            holder.execute(REOPEN, [session_id])
            first = await store.erase_old(2, 10)
        return [first, await store.erase_old(2, 10)]

    assert asyncio.run(_with_store(urls, erase)) == [0, 0]


def test_one_instance_works_at_a_time(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """While another instance has the turn, an instance erases nothing."""
    urls, database = migrated_database
    with running(urls) as service:
        session_id = service.start()["id"]
        service.complete(session_id)
    database.execute(OLD, [3 * DAY, session_id])

    async def erase(store: ErasureStore) -> list[int]:
        async with statements.transaction(store.pool) as other:
            assert (await queries.take_retention_turn(other)).is_taken
            first = await store.erase_old(2, 10)
        return [first, await store.erase_old(2, 10)]

    assert asyncio.run(_with_store(urls, erase)) == [0, 1]


def test_sessions_that_take_too_long_together_are_erased_one_by_one(
    migrated_database: tuple[Urls, psycopg.Connection],
) -> None:
    """Sessions with more lines than one transaction has the time to delete do not stop erasing for ever."""
    urls, database = migrated_database
    with running(urls) as service:
        for _ in range(2):
            session_id = service.start()["id"]
            service.complete(session_id)
            database.execute(OLD, [3 * DAY, session_id])
    database.execute(SLOW)

    async def erase(store: ErasureStore) -> list[int]:
        return [await store.erase_old(2, 2), await store.erase_old(2, 1)]

    assert asyncio.run(_with_store(urls, erase)) == [1, 1]


async def _with_store(urls: Urls, use: Callable[[ErasureStore], Awaitable[list[int]]]) -> list[int]:
    pool = statements.pool(urls["ERASE_DATABASE_URL"], 2, session_settings.configure)
    async with pool, session_cache(urls["REDIS_URL"]) as cache:
        # As a service does, whose first requests open the connections.
        await cache.raise_versions({uuid4(): 1})
        return await use(ErasureStore(pool, cache))
