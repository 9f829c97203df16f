"""Tests of the connection budget: a warning at the start if PostgreSQL lets in too few connections."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

from dev.reaper import ROOT
from session_service.settings import Settings
from session_service.storage import session_settings, statements
from session_service.storage.connection_budget import find_shortage
from tests.conftest import Urls, migrate
from tests.support.pgbouncer import pgbouncer
from tests.support.service import folder, free_port, running
from tests.support.waiting import LIMIT, eventually

WARNING = r"PostgreSQL lets in (\d+) connections \(([^)]+)\).* may open (\d+) \(2 x (\d+) processes x (\d+)\)"


def shortage(urls: Urls, processes: int, **settings: str) -> tuple[str, ...]:
    """Return the numbers and the name of the limit in the warning; nothing without a warning."""

    async def run() -> str:
        given = Settings.read({**urls, **settings})
        async with statements.pool(given.database_url, 1, session_settings.configure) as pool:
            return await find_shortage(pool, given, processes)

    text = asyncio.run(run())
    found = re.match(WARNING, text)
    assert bool(found) == bool(text)
    return found.groups() if found else ()


@contextmanager
def role(urls: Urls, limit: int) -> Iterator[Urls]:
    """Create a role that may open so many connections; yield the URLs with it, and drop it at the end."""
    name = f"limited_{uuid4().hex}"
    with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
        operator.execute(f"create role {name} login connection limit {limit}")
        yield urls | {"DATABASE_URL": urls["DATABASE_URL"].replace("session_service@", f"{name}@")}
        operator.execute(f"drop role {name}")


def test_a_server_with_too_few_connections(migrated: Urls) -> None:
    """max_connections less the reserved ones must do for twice the processes, with erasing and health."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as operator:
        rows = operator.execute(
            "select name, setting from pg_settings where name like '%_connections' and vartype = 'integer'"
        )
        settings = {name: int(value) for name, value in rows}
    reserved = settings["superuser_reserved_connections"] + settings.get("reserved_connections", 0)
    free = settings["max_connections"] - reserved
    fits = free // 2 // 7
    assert shortage(migrated, fits, DATABASE_POOL_SIZE="4") == ()
    name = "max_connections less the reserved ones"
    needed = str(2 * (fits + 1) * 7)
    assert shortage(migrated, fits + 1, DATABASE_POOL_SIZE="4") == (
        str(free),
        name,
        needed,
        str(fits + 1),
        "7",
    )


def test_a_database_with_too_few_connections(fresh_database: Urls) -> None:
    """The limit of the database counts the connections of both roles."""
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
        operator.execute(f"alter database {operator.info.dbname} connection limit 26")
    assert shortage(fresh_database, 1) == ()
    assert shortage(fresh_database, 1, DATABASE_POOL_SIZE="11")[:3] == (
        "26",
        "the limit of the database",
        "28",
    )


def test_a_role_with_too_few_connections(migrated: Urls) -> None:
    """The limit of the role counts its own connections; -1 is no limit."""
    with role(migrated, 22) as urls:
        assert shortage(urls, 1) == ()
        assert shortage(urls, 1, DATABASE_POOL_SIZE="11")[:3] == ("22", "the limit of the role", "24")
    with role(migrated, -1) as urls:
        assert shortage(urls, 1) == ()


@pytest.mark.parametrize("workers", [1, 2])
def test_one_warning_at_the_start(migrated: Urls, workers: int) -> None:
    """A start, with workers too, logs the warning once, and one that has enough connections logs none."""
    size = str(100 // workers)
    assert len(_warnings(migrated, workers, DATABASE_POOL_SIZE=size)) == 1
    assert _warnings(migrated, 1) == []


def _warnings(urls: Urls, workers: int, **settings: str) -> list[str]:
    """Start the service with its workers, wait until all of them serve, and return the lines in its log."""
    with folder() as base:
        log = base / "log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [sys.executable, "-m", "session_service", "--workers", str(workers)],
                cwd=ROOT,
                env={**os.environ, **urls, "PORT": str(free_port()), **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            eventually(lambda: log.read_text().count("Running on ") == workers, log.read_text)
            process.terminate()
            assert process.wait(LIMIT) == 0
        return [line for line in log.read_text().splitlines() if re.search(WARNING, line)]


@pytest.mark.needs("pgbouncer")
def test_no_warning_behind_a_pooler(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """Behind PgBouncer the limits of PostgreSQL are not those of the service: there is no warning."""
    urls, _ = migrated_database
    assert shortage(urls, 64)
    with folder() as base, pgbouncer(base, urls, "session") as pooler:
        # Through the pooler the role gets its settings.
        migrate(pooler.urls)
        assert shortage(pooler.urls, 64) == ()
        with running(pooler.urls, DATABASE_POOL_SIZE="100") as service:
            assert re.search(WARNING, service.log.read_text()) is None
