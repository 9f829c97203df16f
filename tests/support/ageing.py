"""Ages sessions: moves their times into the past, as if they had been started earlier."""

from typing import Any

import psycopg
from redis import Redis

from tests.support.service import Service

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


def lock_overdue(service: Service, holder: psycopg.Connection, **fields: Any) -> object:
    """Start a session that is overdue and has a locked row; return its id."""
    while True:
        session_id = service.start(time_limit_seconds=60, **fields)["id"]
        age(holder, None, session_id, 61)
        holder.commit()
        holder.execute("select from quiz_sessions where id = %s for update", [session_id])
        # The sweeper may have come before the lock.
        if stored(holder, session_id, "status") == ("in_progress",):
            return session_id
        holder.rollback()
