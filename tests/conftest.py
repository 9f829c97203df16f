"""The servers and services that the tests share."""

import asyncio
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from dev import reaper
from dev.reaper import ROOT
from session_service.server import connections
from session_service.storage import migrations
from tests.support import burner, issuer
from tests.support.service import Service, copy_house, folder, running
from tests.support.waiting import eventually

Urls = dict[str, str]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--busy`, with which the tests share the processors with processes that only spin."""
    parser.addoption("--busy", action="store_true", help="load every processor while the tests run")


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests open as many files as the system allows: an ordinary user's 1 024 are no crowd."""
    connections.max_connections()
    if config.getoption("--busy") and not hasattr(config, "workerinput"):
        load = ExitStack()
        load.enter_context(burner.burning())
        config.add_cleanup(load.close)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run two tests per processor with `-n auto`: half of their time is waiting."""
    del config
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a tool that this machine does not have."""
    for item in items:
        for mark in item.iter_markers("needs"):
            if not _is_there(mark.args[0]):
                item.add_marker(pytest.mark.skip(reason=f"needs {mark.args[0]}"))


@functools.cache
def _is_there(tool: str) -> bool:
    if tool == "node":
        return subprocess.run([ROOT / "bin" / "lib" / "has-node"], check=False).returncode == 0
    if tool == "mount":
        return (
            subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode
            == 0
        )
    return shutil.which(tool) is not None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have to tell, and list what could not run here."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}:\n{value}")
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"NOT RUN: {report.nodeid}: {report.longrepr[2]}")


def migrate(urls: Urls) -> None:
    """Migrate as the tables' owner, so that the service's role can work."""
    asyncio.run(migrations.migrate(urls["MIGRATION_DATABASE_URL"], service_url=urls["DATABASE_URL"]))


def _named(urls: Urls, database: str) -> Urls:
    return {name: url.replace("/postgres?", f"/{database}?") for name, url in urls.items()}


@pytest.fixture(scope="session")
def servers() -> Iterator[Urls]:
    """A PostgreSQL and a Redis that stay up for the whole run."""
    with folder() as base, reaper.servers(base) as urls:
        yield urls


@pytest.fixture(scope="session")
def migrated(servers: Urls) -> Urls:
    """The servers, with the schema in the database."""
    migrate(servers)
    return servers


@pytest.fixture(scope="session")
def service(migrated: Urls) -> Iterator[Service]:
    """A service in good order; tests that break things start their own."""
    with running(migrated) as service:
        yield service


@pytest.fixture(scope="session")
def guarded(migrated: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for tokens."""
    with running(migrated, **issuer.guarded(tmp_path_factory.mktemp("issuer") / "keys.json")) as service:
        yield service


@pytest.fixture(scope="session")
def limited(migrated: Urls) -> Iterator[Service]:
    """A service that lets each caller ask sixty times a minute."""
    with running(migrated, RATE_LIMIT="60") as service:
        yield service


@pytest.fixture
def database(migrated: Urls) -> Iterator[psycopg.Connection]:
    """A connection of the operator's to the service's database."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def cache(migrated: Urls) -> Iterator[Redis]:
    """A connection to the service's Redis."""
    with Redis.from_url(migrated["REDIS_URL"]) as connection:
        yield connection


@contextmanager
def fresh(migrated: Urls) -> Iterator[Urls]:
    """Make an empty database beside the shared Redis, where the service's role is, and drop it."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"create database {name} template template0 strategy file_copy")
        yield _named(migrated, name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def fresh_database(migrated: Urls) -> Iterator[Urls]:
    """An empty database of the test's own."""
    with fresh(migrated) as urls:
        yield urls


@pytest.fixture(scope="session")
def broken_service(servers: Urls) -> Iterator[Service]:
    """A service whose table was taken away while it ran: whatever needs it is a bug to the service."""
    with psycopg.connect(servers["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("create database broken template template0 strategy file_copy")
    urls = _named(servers, "broken")
    migrate(urls)
    with running(urls, CACHE_SECONDS="1") as service:
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            connection.execute("alter table quiz_sessions rename to taken_away")
        # For a second it says what it found when it last looked.
        eventually(lambda: service.client.get("/health").status_code != 200)
        yield service


@pytest.fixture(scope="session")
def defective_service(migrated: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose health checks have a bug."""
    house = copy_house(tmp_path_factory.mktemp("defective"))
    file = house / "session_service" / "api" / "health.py"
    text, call = file.read_text(), "self._postgres.run()"
    assert call in text
    file.write_text(text.replace(call, "self._absent.run()"))
    with running(migrated, house) as service:
        yield service


@pytest.fixture(scope="session")
def cut_off_service(servers: Urls) -> Iterator[Service]:
    """A service whose PostgreSQL has stopped, with a Redis that has not."""
    with folder() as base:
        with reaper.servers(base) as urls:
            migrate(urls)
            starting = running(urls | {"REDIS_URL": servers["REDIS_URL"]})
            service = starting.__enter__()
        yield service
        starting.__exit__(None, None, None)
