"""Sessions end without anyone calling, in time, and nobody waits for it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg

from session_service.sessions.sweeper import BATCH_SIZE
from session_service.storage import queries, statements
from tests.conftest import Urls, migrate
from tests.support.service import Service, running
from tests.support.waiting import eventually

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
    """Within 15 s of its end, several rounds of the sweeper, a session is stored as expired, once."""
    session_id = service.start(time_limit_seconds=1)["id"]
    _await_expired(database, session_id)
    late = "select updated_at - expires_at < interval '15 s' from quiz_sessions where id = %s"
    assert database.execute(late, [session_id]).fetchone() == (True,)
    assert service.read(session_id).json()["session"]["version"] == 2


def test_only_what_is_over_is_expired_and_once(service: Service, database: psycopg.Connection) -> None:
    """A running session goes on, a completed one is not expired, and an expired one not again."""
    running_session = service.start()
    session_id = service.start(time_limit_seconds=3)["id"]
    completed = service.complete(session_id).json()
    expired_id = service.start(time_limit_seconds=1)["id"]
    _await_expired(database, expired_id)
    # Another round goes over all of them, once the time of the completed one would be over, too.
    _await_expired(database, service.start(time_limit_seconds=3)["id"])
    assert service.read(session_id).json() == completed
    row = database.execute("select status, version from quiz_sessions where id = %s", [expired_id]).fetchone()
    assert row == ("expired", 2)
    assert service.read(running_session["id"], {"cache-control": "no-cache"}).json() == running_session


def test_several_sweepers_share_a_backlog(fresh_database: Urls) -> None:
    """Each session of a backlog is expired once, however many instances sweep; no save waits for them."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        database.execute(PLANT, [20 * BATCH_SIZE])
        with running(fresh_database) as one, running(fresh_database) as two:
            session_id = one.start()["id"]

            def is_swept() -> bool:
                assert two.save(session_id, 1, "x").status_code == 200
                return database.execute(RUNNING).fetchone() == (0,)

            eventually(is_swept)
        rows = database.execute(
            "select version, count(*) from quiz_sessions where user_id = 'swept' group by 1"
        )
        assert rows.fetchall() == [(2, 20 * BATCH_SIZE)]


def test_a_row_that_is_held_is_left_to_the_next_round(fresh_database: Urls) -> None:
    """The sweeper does not wait for a row that somebody else has locked."""
    migrate(fresh_database)
    url = fresh_database["DATABASE_URL"]
    with ThreadPoolExecutor(1) as sweeper, psycopg.connect(url) as holder:
        holder.execute(PLANT, [3])
        holder.commit()
        holder.execute("select from quiz_sessions order by id limit 1 for update")
        assert sweeper.submit(asyncio.run, _sweep(url)).result() == 2
        holder.commit()
        assert sweeper.submit(asyncio.run, _sweep(url)).result() == 1


def _await_expired(database: psycopg.Connection, session_id: object) -> None:
    """Wait until the session is stored as expired, with one change."""
    query = "select status, version from quiz_sessions where id = %s"
    eventually(lambda: database.execute(query, [session_id]).fetchone() == ("expired", 2))


async def _sweep(url: str) -> int:
    async with statements.pool(url, 1, queries.configure) as pool:
        return await queries.expire_sessions(pool, count=BATCH_SIZE)
