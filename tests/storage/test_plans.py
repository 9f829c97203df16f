"""Plans: statements read no rows in vain among many old sessions, and HOT updates stay."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from session_service.storage import session_settings, sql_files
from session_service.storage.connection import PostgresConnection
from tests.conftest import Urls
from tests.support.service import running
from tests.support.waiting import eventually

ENDED = 5000
LONG_AGO = datetime.now(UTC) - timedelta(hours=ENDED)
ERASED_ID = UUID(int=7)
RUNNING = 20
FILL = """
    insert into quiz_sessions (
      id, user_id, quiz_id, status, ended_by, started_at, expires_at, closes_at, completed_at,
      last_saved_at, created_at, updated_at
    )
    select
      gen_random_uuid(), 'user-' || n, 'exam',
      case when n <= %(running)s then 'in_progress' else 'completed' end,
      case when n > %(running)s then 'learner' end, t, t + interval '1 hour', t + interval '1 hour',
      case when n > %(running)s then t end, t, t, t
    from generate_series(1, %(running)s + %(ended)s) as n
    cross join lateral (
      select
        date_trunc('milliseconds', now())
          - case when n <= %(running)s then interval '1 minute' else n * interval '1 hour' end as t
    ) as times
"""
# A line by staff, and a position, for each session.
OF_OTHERS = """
    with lines as (
      insert into session_events (session_id, version, type, at, actor, data)
      select id, 2, 'session.started', now(), '{"type": "staff", "subject": "back-end"}', '{}'
      from quiz_sessions
      returning session_id, version
    )
    insert into event_positions (position, session_id, version, type, quiz_id, bytes, placed_at)
    select row_number() over (), session_id, version, 'session.started', 'exam', 300, now()
    from lines
"""
LIST: dict[str, Any] = {
    "owner": None,
    "quizzes": [],
    "user_id": None,
    "quiz_id": "exam",
    "before_ms": None,
    "before_id": None,
    "count": 101,
    "with_answers": False,
}
FIND: dict[str, Any] = {
    "quiz_id": "exam",
    "user_ids": None,
    "except_user": None,
    "began_at": datetime.now(UTC),
    "key": "k",
    "digest": "d",
    "before_at": None,
    "before_id": None,
    "count": 250,
}
PROCTOR: dict[str, Any] = {"owner": "ada", "quizzes": ["exam", "other"], "quiz_id": None}


@pytest.fixture
def old_exam(migrated_database: tuple[Urls, psycopg.Connection]) -> str:
    """The URL of a database with a quiz that has many ended sessions and a few that run."""
    urls, operator = migrated_database
    operator.execute(FILL, {"running": RUNNING, "ended": ENDED})
    operator.execute("vacuum (analyze) quiz_sessions")
    return urls["DATABASE_URL"]


async def _explain(url: str, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of the plan that a connection of the service uses, after they have run."""
    text = sql_files.read(sql_files.FOLDER / f"{name}.sql").text
    async with await PostgresConnection.connect(url, autocommit=True) as connection:
        await session_settings.configure(connection)
        cursor = await connection.execute(f"explain (analyze, format json) {text}", parameters, prepare=False)
        ((plans,),) = await cursor.fetchall()
    return list(_nodes(plans[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _read_rows(nodes: list[dict[str, Any]], table: str = "quiz_sessions") -> int:
    """Return the number of rows of the table that the plan has read."""
    return sum(
        int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in nodes
        if node.get("Relation Name") == table and node["Node Type"] != "Index Only Scan"
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("find_running_sessions", FIND),
        ("find_running_sessions", {**FIND, "before_at": FIND["began_at"], "before_id": f"{0:032}"}),
        ("list_sessions", {**LIST, "status": "in_progress"}),
        ("list_sessions", {**LIST, "status": "paused"}),
        ("list_sessions", {**LIST, **PROCTOR, "status": "in_progress"}),
        ("list_sessions", {**LIST, **PROCTOR, "status": "paused"}),
        ("count_sessions", {"owner": None, "quiz_id": "exam", "user_id": None}),
    ],
)
def test_no_ended_session_of_a_quiz_is_read(old_exam: str, name: str, parameters: dict[str, Any]) -> None:
    """An order for a quiz, lists of running or paused sessions, and counts read no row of an old session."""
    nodes = asyncio.run(_explain(old_exam, name, parameters))
    assert _read_rows(nodes) <= RUNNING, nodes
    assert sum(node.get("Heap Fetches", 0) for node in nodes) == 0


@pytest.fixture
def much_to_erase(migrated_database: tuple[Urls, psycopg.Connection]) -> str:
    """The URL of the role that erases, for a database with many sessions, lines and positions of others."""
    urls, operator = migrated_database
    operator.execute(FILL, {"running": RUNNING, "ended": ENDED})
    operator.execute("update quiz_sessions set id = %s where user_id = 'user-7'", [ERASED_ID])
    operator.execute(OF_OTHERS)
    operator.execute("vacuum (analyze) quiz_sessions, session_events, event_positions")
    return urls["ERASE_DATABASE_URL"]


@pytest.mark.parametrize(
    ("name", "parameters", "indexes"),
    [
        ("lock_user_sessions", {"user_id": "user-7", "count": 250}, {"quiz_sessions_user_newest"}),
        ("lock_ended_sessions", {"before": LONG_AGO, "count": 250}, {"quiz_sessions_ended_by_time"}),
        (
            "erase_sessions",
            {"ids": [ERASED_ID], "actor": "system"},
            {"quiz_sessions_pkey", "session_events_pkey", "event_positions_by_session"},
        ),
        (
            "redact_actor",
            {"user_id": "user-7", "count": 1000},
            {"session_events_by_staff", "session_events_by_acting"},
        ),
    ],
)
def test_erasing_reads_nothing_of_others(
    much_to_erase: str, name: str, parameters: dict[str, Any], indexes: set[str]
) -> None:
    """Erasing some sessions finds them, their lines and their positions by indexes, and reads no others."""
    nodes = asyncio.run(_explain(much_to_erase, name, parameters))
    assert indexes <= {node.get("Index Name") for node in nodes}, nodes
    for table in ("quiz_sessions", "session_events", "event_positions"):
        assert _read_rows(nodes, table) <= RUNNING, nodes


def test_a_save_writes_no_index(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """Saves are heap-only updates: no index has a new entry for them."""
    urls, operator = migrated_database
    query = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'quiz_sessions'"
    with running(urls) as service:
        session_id = service.start()["id"]
        for number in range(1, 6):
            assert service.save(session_id, number, "x").status_code == 200
    eventually(
        lambda: operator.execute(query).fetchone() == (5, 5), lambda: operator.execute(query).fetchone()
    )
