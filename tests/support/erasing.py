"""Erases sessions, and looks for what is left of a learner."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg import sql
from redis import Redis

from tests.support.service import Headers, Service

TABLES = """
    select format('%I.%I', n.nspname, c.relname)
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm', 'f')
      and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
"""


def erase(service: Service, session_id: object, headers: Headers | None = None) -> httpx.Response:
    """Erase a session."""
    return service.client.delete(f"/api/sessions/{session_id}", headers=headers)


def erase_user(service: Service, user_id: object, headers: Headers | None = None) -> httpx.Response:
    """Erase the sessions of a user."""
    return service.client.delete("/api/sessions", params={"user_id": str(user_id)}, headers=headers)


def new_user() -> str:
    """Return the id of a user who has no session."""
    return f"user-{uuid4()}"


def found_in_tables(database: psycopg.Connection, words: Iterable[str]) -> list[tuple[str, str]]:
    """Return the tables, of all schemas, whose content as COPY writes it has one of the words."""
    found = []
    for (table,) in database.execute(TABLES).fetchall():
        command = sql.SQL("copy (select * from {}) to stdout").format(sql.SQL(table))
        with database.cursor().copy(command) as copied:
            content = b"".join(bytes(part) for part in copied).decode()
        found += [(str(table), word) for word in words if word in content]
    return found


def found_in_redis(cache: Redis, words: Iterable[str]) -> list[tuple[str, str]]:
    """Return the keys whose name or value has one of the words."""
    keys: Any = cache.keys("*")
    contents: dict[bytes, Any] = {
        key: cache.get(key) if cache.type(key) == b"string" else cache.dump(key) for key in keys
    }
    return [
        (key.decode(), word)
        for key, content in contents.items()
        for word in words
        if word.encode() in key + bytes(content or b"")
    ]
