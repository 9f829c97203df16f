"""Sessions end without anyone calling, in time, and nobody waits for it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from session_service import queries, sql
from session_service.sessions import SWEEP_BATCH
from tests.conftest import Urls, migrate
from tests.service import Service, running

PLANT = """
    insert into quiz_sessions (
        id, user_id, quiz_id, started_at, expires_at, last_saved_at, created_at, updated_at
    )
    select gen_random_uuid(), 'swept', 7, t, t + interval '1 second', t, t, t
    from generate_series(1, %s) as n, (select now() - interval '1 hour') as clock (t)
"""
RUNNING = (
    "select count(*) from quiz_sessions where status = 'in_progress' and expires_at <= clock_timestamp()"
)


def test_expired_is_stored_without_a_caller(service: Service, database: psycopg.Connection) -> None:
    """Within 15 s of its end a session is stored as expired, as one change."""
    session_id = service.start(time_limit_seconds=1)["id"]
    end = time.monotonic() + 16
    stored = None
    while stored != ("expired", 2):
        assert time.monotonic() < end, stored
        time.sleep(0.2)
        row = database.execute("select status, version from quiz_sessions where id = %s", [session_id])
        stored = row.fetchone()
    assert service.read(session_id).json()["session"]["version"] == 2


def test_only_what_is_over_is_expired_and_once(service: Service, database: psycopg.Connection) -> None:
    """A running session goes on, a completed one is not expired, and an expired one not again."""
    running_session = service.start()
    session_id = service.start(time_limit_seconds=1)["id"]
    completed = service.complete(session_id).json()
    expired_id = service.start(time_limit_seconds=1)["id"]
    time.sleep(5.5)
    assert service.read(session_id).json() == completed
    row = database.execute("select status, version from quiz_sessions where id = %s", [expired_id]).fetchone()
    assert row == ("expired", 2)
    assert service.read(running_session["id"], {"cache-control": "no-cache"}).json() == running_session


def test_several_sweepers_share_a_backlog(fresh_database: Urls) -> None:
    """Each session of a backlog is expired once, however many instances sweep; no save waits for them."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        database.execute(PLANT, [20 * SWEEP_BATCH])
        with running(fresh_database) as one, running(fresh_database) as two:
            session_id = one.start()["id"]
            end = time.monotonic() + 15
            while database.execute(RUNNING).fetchone() != (0,):
                assert time.monotonic() < end
                assert two.save(session_id, 1, "x").status_code == 200
        rows = database.execute(
            "select version, count(*) from quiz_sessions where user_id = 'swept' group by 1"
        )
        assert rows.fetchall() == [(2, 20 * SWEEP_BATCH)]


def test_a_row_that_is_held_is_left_to_the_next_round(fresh_database: Urls) -> None:
    """The sweeper does not wait for a row that somebody else has locked."""
    migrate(fresh_database)
    url = fresh_database["DATABASE_URL"]
    with ThreadPoolExecutor(1) as sweeper, psycopg.connect(url) as holder:
        holder.execute(PLANT, [3])
        holder.commit()
        holder.execute("select from quiz_sessions order by id limit 1 for update")
        assert sweeper.submit(asyncio.run, _sweep(url)).result(timeout=5) == 2
        holder.commit()
        assert sweeper.submit(asyncio.run, _sweep(url)).result(timeout=5) == 1


async def _sweep(url: str) -> int:
    async with sql.pool(url, 1, queries.configure) as pool:
        return await queries.expire_sessions(pool, count=SWEEP_BATCH)
