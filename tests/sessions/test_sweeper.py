"""The sweeper: stores expired sessions as expired, without blocking requests."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg

from session_service.sessions.sweeper import BATCH_SIZE
from session_service.storage import queries, session_settings, statements
from tests.conftest import Urls, migrate
from tests.support.service import Service, running
from tests.support.waiting import eventually

INSERT_EXPIRED = """
    insert into quiz_sessions (
        id, user_id, quiz_id, started_at, expires_at, closes_at, last_saved_at, created_at, updated_at
    )
    select gen_random_uuid(), 'swept', '7', t, t + interval '1 second', t + interval '1 second', t, t, t
    from generate_series(1, %s) as n, (select now() - interval '1 hour') as clock (t)
"""
OVERDUE = "select count(*) from quiz_sessions where status = 'in_progress' and closes_at <= clock_timestamp()"


def test_expiry_is_stored_without_a_request(service: Service, database: psycopg.Connection) -> None:
    """A session is stored as expired within 15 s of its time limit, without a request."""
    session_id = service.start(time_limit_seconds=1)["id"]
    _await_expired(database, session_id)
    late = "select updated_at - expires_at < interval '15 s' from quiz_sessions where id = %s"
    assert database.execute(late, [session_id]).fetchone() == (True,)
    assert service.read(session_id).json()["session"]["version"] == 2


def test_only_running_sessions_are_expired_and_only_once(
    service: Service, database: psycopg.Connection
) -> None:
    """The sweeper expires no completed session, no session before its time limit, and none twice."""
    running_session = service.start()
    session_id = service.start(time_limit_seconds=3)["id"]
    completed = service.complete(session_id).json()
    expired_id = service.start(time_limit_seconds=1)["id"]
    _await_expired(database, expired_id)
    # Another sweep sees all of them, after the time limit of the completed one.
    _await_expired(database, service.start(time_limit_seconds=3)["id"])
    assert service.read(session_id).json() == completed
    row = database.execute("select status, version from quiz_sessions where id = %s", [expired_id]).fetchone()
    assert row == ("expired", 2)
    assert service.read(running_session["id"], {"cache-control": "no-cache"}).json() == running_session


def test_several_sweepers_share_a_backlog(fresh_database: Urls) -> None:
    """Concurrent sweepers expire each session of a backlog once and block no save."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        database.execute(INSERT_EXPIRED, [20 * BATCH_SIZE])
        with running(fresh_database) as one, running(fresh_database) as two:
            session_id = one.start()["id"]

            def is_swept() -> bool:
                assert two.save(session_id, 1, "x").status_code == 200
                return database.execute(OVERDUE).fetchone() == (0,)

            eventually(is_swept)
        rows = database.execute(
            "select version, count(*) from quiz_sessions where user_id = 'swept' group by 1"
        )
        assert rows.fetchall() == [(2, 20 * BATCH_SIZE)]


def test_the_sweeper_skips_locked_rows(fresh_database: Urls) -> None:
    """The sweeper does not wait for a row lock; the next sweep expires the session."""
    migrate(fresh_database)
    url = fresh_database["DATABASE_URL"]
    with ThreadPoolExecutor(1) as sweeper, psycopg.connect(url) as holder:
        holder.execute(INSERT_EXPIRED, [3])
        holder.commit()
        holder.execute("select from quiz_sessions order by id limit 1 for update")
        assert sweeper.submit(asyncio.run, _sweep(url)).result() == 2
        holder.commit()
        assert sweeper.submit(asyncio.run, _sweep(url)).result() == 1


def _await_expired(database: psycopg.Connection, session_id: object) -> None:
    """Wait until the session is stored as expired, with one increment of its version."""
    query = "select status, version from quiz_sessions where id = %s"
    eventually(lambda: database.execute(query, [session_id]).fetchone() == ("expired", 2))


async def _sweep(url: str) -> int:
    async with statements.pool(url, 1, session_settings.configure) as pool:
        return len(await queries.expire_sessions(pool, count=BATCH_SIZE))
