"""The servers and services that the tests share."""

import asyncio
import functools
import shutil
import subprocess
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from session_service import keeper, migrations
from session_service.keeper import ROOT
from tests.service import Service, folder, running

Urls = dict[str, str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a tool that this machine does not have."""
    for item in items:
        for mark in item.iter_markers("needs"):
            if not _is_there(mark.args[0]):
                item.add_marker(pytest.mark.skip(reason=f"needs {mark.args[0]}"))


@functools.cache
def _is_there(tool: str) -> bool:
    if tool == "node":
        return subprocess.run([ROOT / "bin" / "has-node"], check=False).returncode == 0
    return shutil.which(tool) is not None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have to tell, and list what could not run here."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}:\n{value}")
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"NOT RUN: {report.nodeid}: {report.longrepr[2]}")


@pytest.fixture(scope="session")
def servers() -> Iterator[Urls]:
    """A PostgreSQL and a Redis that stay up for the whole run."""
    with folder() as base, keeper.servers(base) as urls:
        yield urls


@pytest.fixture(scope="session")
def migrated(servers: Urls) -> Urls:
    """The servers, with the schema in the database."""
    asyncio.run(migrations.migrate(servers["DATABASE_URL"]))
    return servers


@pytest.fixture(scope="session")
def service(migrated: Urls) -> Iterator[Service]:
    """A service in good order; tests that break things start their own."""
    with running(migrated) as service:
        yield service


@pytest.fixture
def database(migrated: Urls) -> Iterator[psycopg.Connection]:
    """A connection of the operator's to the service's database."""
    with psycopg.connect(migrated["DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def cache(migrated: Urls) -> Iterator[Redis]:
    """A connection to the service's Redis."""
    with Redis.from_url(migrated["REDIS_URL"]) as connection:
        yield connection


@pytest.fixture
def fresh_database(servers: Urls) -> Iterator[Urls]:
    """An empty database of the test's own, beside the shared Redis."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(servers["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"create database {name} template template0 strategy file_copy")
        yield servers | {"DATABASE_URL": servers["DATABASE_URL"].replace("/postgres?", f"/{name}?")}
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def broken_service(servers: Urls) -> Iterator[Service]:
    """A service whose table was taken away while it ran: whatever needs it is a bug to the service."""
    with psycopg.connect(servers["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("create database broken template template0 strategy file_copy")
    urls = servers | {"DATABASE_URL": servers["DATABASE_URL"].replace("/postgres?", "/broken?")}
    asyncio.run(migrations.migrate(urls["DATABASE_URL"]))
    with running(urls, CACHE_SECONDS="1") as service:
        with psycopg.connect(urls["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("alter table quiz_sessions rename to taken_away")
        yield service


@pytest.fixture(scope="session")
def cut_off_service(servers: Urls) -> Iterator[Service]:
    """A service whose PostgreSQL has stopped, with a Redis that has not."""
    with folder() as base:
        with keeper.servers(base) as urls:
            asyncio.run(migrations.migrate(urls["DATABASE_URL"]))
            starting = running(urls | {"REDIS_URL": servers["REDIS_URL"]})
            service = starting.__enter__()
        yield service
        starting.__exit__(None, None, None)
