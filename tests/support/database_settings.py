"""Helpers for tests of database settings: compares the responses of a service with its table."""

from datetime import UTC, datetime

import psycopg

from tests.conftest import Urls
from tests.support.service import Service

ROLE = "session_service"
NAME = "Zoë 😀"
NO_CACHE = {"cache-control": "no-cache"}


def check_operations(service: Service, operator: psycopg.Connection) -> None:
    """Start, save, read, list and complete a session; each response must be exactly what is stored."""
    session = service.start(user_id=NAME, time_limit_seconds=1800)
    path = str(session["id"])
    assert session == _stored(operator, path) | {"answers": {}, "status": "in_progress", "version": 1}
    saved = service.save(path, 3, "Größe — \\'1'\\ 😀")
    assert saved.status_code == 200, saved.text
    assert saved.json() == _stored(operator, path)
    assert service.read(path, NO_CACHE).json() == saved.json()
    listed = service.client.get("/api/sessions", params={"user_id": NAME, "limit": "1"}).json()["items"]
    assert [item["id"] for item in listed] == [path]
    assert listed[0]["started_at"] == session["started_at"]
    done = service.complete(path, answers={"4": ["a", "NULL"]})
    assert done.json() == _stored(operator, path)
    assert done.json()["answers"] == {"3": "Größe — \\'1'\\ 😀", "4": ["a", "NULL"]}
    assert done.json()["status"] == "completed"


def close_connections(operator: psycopg.Connection) -> None:
    """Close the connections of the service: a setting of a role applies to new ones."""
    operator.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where usename = 'session_service' and datname = current_database()"
    )


def with_options(urls: Urls, options: str) -> Urls:
    """Return the URLs with libpq options."""
    names = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "ERASE_DATABASE_URL")
    return urls | {name: f"{urls[name]}&options={options.replace('=', '%3D')}" for name in names}


def _stored(operator: psycopg.Connection, session_id: str) -> dict[str, object]:
    """Return the session as it is in the table."""
    with operator.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(
            "select id::text, status, version, user_id, quiz_id::integer, current_question::integer, "
            "answers, annotations, attempt, metadata, started_at, expires_at, closes_at, on_expiry, "
            "late_saves, last_saved_at, completed_at, ended_by, created_at, updated_at, paused_at "
            "from public.quiz_sessions where id = %s",
            [session_id],
        ).fetchone()
    assert row is not None
    return {name: _written(value) for name, value in row.items()}


def _written(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
