"""Fixtures: servers and services that the tests share."""

import asyncio
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from dev import reaper
from dev.reaper import ROOT
from session_service.server import connections
from session_service.storage import migrations
from tests.support import burner, issuer
from tests.support.pgbouncer import pgbouncer
from tests.support.service import Service, copy_repository, copy_with_long_timeouts, folder, running
from tests.support.waiting import eventually

Urls = dict[str, str]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--busy`: spinning processes compete with the tests for the processors."""
    parser.addoption("--busy", action="store_true", help="load every processor while the tests run")


def pytest_configure(config: pytest.Config) -> None:
    """Raise the limit on open files: the default of 1,024 is too low for the overload tests."""
    connections.max_connections()
    if config.getoption("--busy") and not hasattr(config, "workerinput"):
        load = ExitStack()
        load.enter_context(burner.cpu_load())
        config.add_cleanup(load.close)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run two tests per processor with `-n auto`: half of their time is waiting."""
    del config
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a tool that is missing on this machine."""
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
    if tool.startswith("/"):
        return Path(tool).exists()
    return shutil.which(tool) is not None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the recorded properties of tests, and list the skipped tests."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}:\n{value}")
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"NOT RUN: {report.nodeid}: {report.longrepr[2]}")


def migrate(urls: Urls) -> None:
    """Migrate as the owner of the tables, with rights for the role of the service and that of erasing."""
    owner, service, erases = (
        urls.get(name) for name in ("MIGRATION_DATABASE_URL", "DATABASE_URL", "ERASE_DATABASE_URL")
    )
    assert owner is not None
    asyncio.run(migrations.migrate(owner, service_url=service or "", erase_url=erases))


def _erasing(urls: Urls) -> Urls:
    """Return the URLs with that of the role which erases."""
    return {**urls, "ERASE_DATABASE_URL": urls["DATABASE_URL"].replace("session_service@", "session_eraser@")}


def _named(urls: Urls, database: str) -> Urls:
    return {name: url.replace("/postgres?", f"/{database}?") for name, url in urls.items()}


@pytest.fixture(scope="session")
def servers() -> Iterator[Urls]:
    """PostgreSQL and Redis for the whole run: those of TEST_SERVERS, which must be empty, or private ones."""
    if given := os.environ.get("TEST_SERVERS"):
        yield json.loads(given)
        return
    with folder() as base, reaper.servers(base) as urls:
        # Tests replace the URL of the database by that of another one.
        del urls["ERASE_DATABASE_URL"]
        yield urls


@pytest.fixture(scope="session")
def migrated(servers: Urls) -> Iterator[Urls]:
    """The URLs of the servers, with a migrated database, and that of the role which erases.

    With POOLER=transaction or POOLER=session they lead through PgBouncer.
    """
    urls = _erasing(servers)
    migrate(urls)
    if mode := os.environ.get("POOLER"):
        with folder() as base, pgbouncer(base, urls, mode) as pooler:
            migrate(pooler.urls)
            yield pooler.urls
    else:
        yield urls


@pytest.fixture(scope="session")
def patient_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with long timeouts, for tests of anything but a timeout."""
    return copy_with_long_timeouts(tmp_path_factory.mktemp("patient"))


@pytest.fixture(scope="session")
def service(migrated: Urls) -> Iterator[Service]:
    """A running service; tests that break something start their own."""
    with running(migrated) as service:
        yield service


@pytest.fixture(scope="session")
def patient_shared_service(migrated: Urls, patient_repository: Path) -> Iterator[Service]:
    """A running service with long timeouts: on a busy machine, too, it writes each session to the cache."""
    with running(migrated, patient_repository) as service:
        yield service


@pytest.fixture(scope="session")
def service_with_tokens(migrated: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that requires tokens."""
    with running(
        migrated, **issuer.token_settings(tmp_path_factory.mktemp("issuer") / "keys.json")
    ) as service:
        yield service


@pytest.fixture(scope="session")
def service_with_rate_limit(migrated: Urls) -> Iterator[Service]:
    """A service with a rate limit of sixty requests a minute for each principal."""
    with running(migrated, RATE_LIMIT="60") as service:
        yield service


@pytest.fixture
def database(migrated: Urls) -> Iterator[psycopg.Connection]:
    """A connection to the database of the service, as the owner of the tables."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def limits_removed(database: psycopg.Connection) -> Iterator[None]:
    """Delete the sessions with a limit of attempts after a test: other tests have the same users."""
    yield
    database.execute("delete from quiz_sessions where max_attempts is not null")


@pytest.fixture
def cache(migrated: Urls) -> Iterator[Redis]:
    """A connection to the Redis of the service."""
    with Redis.from_url(migrated["REDIS_URL"]) as connection:
        yield connection


@contextmanager
def empty_database(migrated: Urls) -> Iterator[Urls]:
    """Create an empty database in the shared PostgreSQL, and drop it at the end."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"create database {name} template template0 strategy file_copy")
        yield _named(migrated, name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def fresh_database(migrated: Urls) -> Iterator[Urls]:
    """URLs with an empty database for one test."""
    with empty_database(migrated) as urls:
        yield urls


@pytest.fixture
def migrated_database(fresh_database: Urls) -> Iterator[tuple[Urls, psycopg.Connection]]:
    """A migrated database of the test, with a connection of its owner."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
        yield fresh_database, operator
        operator.execute(f"alter role session_service in database {operator.info.dbname} reset all")


@pytest.fixture(scope="session")
def service_without_table(servers: Urls) -> Iterator[Service]:
    """A service whose table was renamed while it ran: every statement fails unexpectedly."""
    with psycopg.connect(servers["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("create database broken template template0 strategy file_copy")
    urls = _named(_erasing(servers), "broken")
    migrate(urls)
    with running(urls, CACHE_SECONDS="1") as service:
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
            connection.execute("alter table quiz_sessions rename to renamed")
        # The result of a health check is cached for a second.
        eventually(lambda: service.client.get("/health").status_code != 200)
        yield service


@pytest.fixture(scope="session")
def service_with_health_bug(migrated: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a bug in its health checks."""
    repository = copy_repository(tmp_path_factory.mktemp("defective"))
    file = repository / "session_service" / "api" / "health.py"
    text, call = file.read_text(), "self._postgres.run()"
    assert call in text
    file.write_text(text.replace(call, "self._absent.run()"))
    with running(migrated, repository) as service:
        yield service


@pytest.fixture(scope="session")
def service_without_postgresql(servers: Urls) -> Iterator[Service]:
    """A service whose PostgreSQL has stopped; its Redis runs."""
    with folder() as base:
        with reaper.servers(base) as urls:
            migrate(urls)
            starting = running(urls | {"REDIS_URL": servers["REDIS_URL"]})
            service = starting.__enter__()
        yield service
        starting.__exit__(None, None, None)
