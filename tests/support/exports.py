"""Exports: requests, their rows, sessions to export, and clients that stop reading."""

import csv
import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.raw_http import connected
from tests.support.service import Headers, Service

PATH = "/api/sessions/export"

# A cell may have more than the default of 128 KiB.
csv.field_size_limit(2**30)

# Sessions of a quiz with some answers, of which the first has so many bytes.
_SESSIONS = """
insert into quiz_sessions (
  id, user_id, quiz_id, current_question, status, started_at, expires_at, closes_at, last_saved_at,
  created_at, updated_at, answers
)
select
  gen_random_uuid(), 'user-' || n, %(quiz)s, '1', 'in_progress', at, at + day, at + day, at, at, at,
  (
    select
      jsonb_object_agg(
        question::text,
        case question when 1 then repeat('x', %(bytes)s) else 'Antwort ' || n end
      )
    from generate_series(1, %(answers)s) as question
  )
from generate_series(1, %(count)s) as n
cross join lateral (
  select
    interval '1 day' as day,
    date_trunc('milliseconds', clock_timestamp() - interval '1 hour') + n / 20 * interval '1 ms' as at
) as times
"""


def fill(database: psycopg.Connection, quiz: str, count: int, *, answers: int = 1, size: int = 1) -> None:
    """Store so many sessions of the quiz, some of which were started in the same millisecond."""
    database.execute(_SESSIONS, {"quiz": quiz, "count": count, "answers": answers, "bytes": size})
    database.execute("analyze quiz_sessions")


def lines(service: Service, headers: Headers | None = None, **query: Any) -> list[dict[str, Any]]:
    """Return the sessions of an export as lines of JSON."""
    response = service.client.get(PATH, params={"format": "ndjson", **query}, headers=headers)
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def table(service: Service, **query: Any) -> list[list[str]]:
    """Return the rows of an export as CSV, with that of the names of the columns."""
    response = service.client.get(PATH, params=query)
    assert response.status_code == 200, response.text
    return parse(response.text)


def records(service: Service, **query: Any) -> list[dict[str, str]]:
    """Return the rows of an export as CSV, each with the names of its columns."""
    header, *rows = table(service, **query)
    return [dict(zip(header, row, strict=True)) for row in rows]


def parse(text: str) -> list[list[str]]:
    """Return the rows of CSV with a byte order mark."""
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))


@contextmanager
def stalled(service: Service, query: str, version: str = "1.1") -> Iterator[socket.socket]:
    """Request an export, and read only its first byte."""
    with connected(service.url) as connection:
        connection.sendall(f"GET {PATH}?{query} HTTP/{version}\r\nhost: x\r\n\r\n".encode())
        assert connection.recv(1) == b"H"
        yield connection


def rest(connection: socket.socket) -> bytes:
    """Return all that comes until the end of the connection."""
    received = b""
    while more := connection.recv(65536):
        received += more
    return received
