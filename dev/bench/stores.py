"""The one PostgreSQL and the one Redis under everything that is measured, and the sessions in them."""

from hashlib import md5
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from redis import Redis

from dev.bench.drive import Sessions
from dev.bench.measure import BenchError, Case

_PACE = 20_000  # replies/s that there are sessions for
_OWN = {"get miss": 1.0, "complete": 1.0, "mix": 1 / 24}
"""Which share of an operation's requests needs a session that no other request has."""

_CHANGING = {"start", "complete", "mix"}
"""Operations that make sessions or end them."""

# The tables of the peers, which have contract 1, lack closes_at.
_HAS_CLOSE = """
select exists (
  select from information_schema.columns
  where table_schema = 'public' and table_name = 'quiz_sessions' and column_name = 'closes_at'
)
"""

_HAS_JOURNAL = "select to_regclass('session_events') is not null"

_FILL = """
insert into quiz_sessions (
  id, user_id, quiz_id, current_question, answers, status, version,
  started_at, expires_at, {ends} last_saved_at, created_at, updated_at
)
select
  overlay(overlay(md5(n::text) placing '4' from 13) placing '8' from 17)::uuid,
  'user-' || n, 7, 0,
  (select jsonb_object_agg(question::text, 'answer 10') from generate_series(1, %(answers)s) as a (question)),
  'in_progress', 1, started, now + interval '1 day', {end} started, started, started
from generate_series(%(first)s::integer, %(last)s::integer - 1) as g (n)
cross join date_trunc('milliseconds', now()) as now
cross join lateral (select now - n * interval '1 millisecond') as s (started)
"""


class Stores:
    """The servers that MIGRATION_DATABASE_URL and REDIS_URL name."""

    def __init__(self, urls: dict[str, str], folder: Path) -> None:
        self.redis_url = urls["REDIS_URL"]
        self._postgres_url = urls["MIGRATION_DATABASE_URL"]
        self._redis: Redis = Redis.from_url(self.redis_url)
        self._ids = folder / "ids"
        self._written = 0
        self._filled: dict[str, tuple[int, int]] = {}

    def database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        with psycopg.connect(self._postgres_url, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return urlsplit(self._postgres_url)._replace(path=f"/{name}").geturl()

    def prepare(self, database: str, case: Case, seconds: int) -> Sessions:
        """Empty Redis, put a case's sessions in the table; return what wrk takes of them."""
        own = range(case.stored, case.stored + int(_OWN.get(case.operation, 0) * _PACE * seconds))
        self._write_ids(own.stop)
        self._redis.flushall()
        if database:
            self._fill(database, own.stop, case.answers)
            if case.operation in _CHANGING:
                del self._filled[database]
        return Sessions(self._ids, own)

    def postmaster(self) -> int | None:
        """Return the process id of PostgreSQL; None if it runs on another machine."""
        with psycopg.connect(self._postgres_url) as connection:
            status = Path(f"/proc/{connection.info.backend_pid}/stat")
            if not status.exists() or "(postgres)" not in status.read_text():
                return None
            return int(status.read_text().rpartition(")")[2].split()[1])

    def looked_up(self) -> tuple[int, int]:
        """Return how often Redis had what it was asked for, and how often not."""
        told = self._redis.info("stats")
        return told["keyspace_hits"], told["keyspace_misses"]

    def saves(self, database: str) -> int:
        """Return how many changes the sessions have had."""
        with psycopg.connect(database) as connection:
            row = connection.execute("select sum(version - 1) from quiz_sessions").fetchone()
        assert row is not None
        return int(row[0])

    def versions(self) -> dict[str, str]:
        """Return the versions of both servers."""
        with psycopg.connect(self._postgres_url) as connection:
            row = connection.execute("show server_version").fetchone()
        assert row is not None
        told = self._redis.info("server")
        return {
            "postgresql": row[0],
            "redis-server": str(told.get("valkey_version") or told["redis_version"]),
        }

    def _fill(self, database: str, rows: int, answers: int) -> None:
        there, held = self._filled.get(database, (0, 0))
        with psycopg.connect(database, autocommit=True) as connection:
            if there > rows or held != answers or database not in self._filled:
                connection.execute("truncate quiz_sessions")
                # The sessions have the ids and the versions of those before.
                if connection.execute(_HAS_JOURNAL).fetchone() == (True,):
                    connection.execute("truncate session_events")
                there = 0
            (closes,) = connection.execute(_HAS_CLOSE).fetchone() or (False,)
            fill = sql.SQL(_FILL).format(
                ends=sql.SQL("closes_at," if closes else ""),
                end=sql.SQL("now + interval '1 day'," if closes else ""),
            )
            connection.execute(fill, {"first": there, "last": rows, "answers": answers})
            # Every run begins with a table in order, and leaves nothing for the autovacuum of the next one.
            connection.execute("vacuum (analyze) quiz_sessions")
        self._filled[database] = (rows, answers)

    def _write_ids(self, count: int) -> None:
        if count > self._written:
            self._ids.write_text("".join(f"{_id(n)}\n" for n in range(count)))
            self._written = count


def check_lookups(case: Case, hits: int, misses: int) -> None:
    """Raise BenchError if the reads of a case were not of the kind that its name says."""
    wrong = {"get hit": misses, "get miss": hits}.get(case.operation, 0)
    if wrong > (hits + misses) / 100:
        raise BenchError(f"Redis had {hits} of the sessions that were read and lacked {misses}")


def _id(n: int) -> str:
    """Return the id of session n, as `_FILL` and save.sql make it: a UUID v4 by its looks."""
    text = md5(str(n).encode(), usedforsecurity=False).hexdigest()
    text = f"{text[:12]}4{text[13:16]}8{text[17:]}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
