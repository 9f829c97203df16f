"""Ages sessions: moves their times into the past, as if they had been started earlier."""

from typing import Any

import psycopg
from redis import Redis

_MOVE = """
    update quiz_sessions
    set
      started_at = started_at - shift, expires_at = expires_at - shift, closes_at = closes_at - shift,
      paused_at = paused_at - shift
    from (select %s * interval '1 second') as moved (shift)
    where id = %s
"""


def age(database: psycopg.Connection, cache: Redis | None, session_id: object, seconds: int) -> None:
    """Move the start and the ends of the session by so many seconds; remove its entry from the cache."""
    database.execute(_MOVE, [seconds, session_id])
    if cache:
        cache.delete(f"session:{session_id}")


def stored(database: psycopg.Connection, session_id: object, *columns: str) -> tuple[Any, ...]:
    """Return the values of the columns in the session's row."""
    query = f"select {', '.join(columns)} from quiz_sessions where id = %s"  # noqa: S608 - names in the tests
    (row,) = database.execute(query, [session_id]).fetchall()
    return tuple(row)
