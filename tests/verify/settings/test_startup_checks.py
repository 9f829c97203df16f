"""Startup checks: the service does not start on a database that could lose or hide data."""

import time

import psycopg
import pytest

from tests.conftest import Urls
from tests.support.database_settings import ROLE, with_options
from tests.support.service import failed_start


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("module", ["session_service", "session_service.storage.migrations"])
def test_a_database_in_another_encoding_is_rejected(migrated: Urls, encoding: str, module: str) -> None:
    """The service and the migrations do not start on a database that is not in UTF-8."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
        name = f"test_{encoding.lower()}"
        operator.execute(
            f"create database {name} template template0 encoding '{encoding}' "
            "locale_provider libc lc_collate 'C' lc_ctype 'C' strategy file_copy"
        )
        urls = {key: url.replace("/postgres?", f"/{name}?") for key, url in migrated.items()}
        try:
            line = _start_error(urls, module)
            with psycopg.connect(urls["MIGRATION_DATABASE_URL"]) as owner:
                tables = owner.execute("select from pg_tables where schemaname = 'public'").fetchall()
        finally:
            operator.execute(f"drop database {name} with (force)")
    assert line.endswith(f"PostgreSQL must have server_encoding UTF8, not {encoding}")
    assert tables == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_replication_role", "replica"),
        ("zero_damaged_pages", "on"),
        ("ignore_checksum_failure", "on"),
    ],
)
def test_settings_that_lose_data_are_rejected(
    migrated_database: tuple[Urls, psycopg.Connection], name: str, value: str
) -> None:
    """A superuser's setting that silently loses data stops the start by its name."""
    urls, operator = migrated_database
    operator.execute(f"alter role {ROLE} in database {operator.info.dbname} set {name} = {value}")
    assert f"PostgreSQL must have {name} " in _start_error(urls, "session_service")


@pytest.mark.parametrize("module", ["session_service", "session_service.storage.migrations"])
def test_a_search_path_without_a_schema_is_rejected(fresh_database: Urls, module: str) -> None:
    """The service and the migrations do not start without an existing schema in the search_path."""
    line = _start_error(with_options(fresh_database, "-csearch_path=nowhere"), module)
    assert line.endswith("PostgreSQL must have search_path a schema that exists, not nowhere")


@pytest.mark.parametrize("table", ["quiz_sessions", "quiz_orders", "session_events", "unplaced_events"])
def test_row_level_security_is_rejected(
    migrated_database: tuple[Urls, psycopg.Connection], table: str
) -> None:
    """Row-level security for the role of the service stops the start: it could hide sessions and lines."""
    urls, operator = migrated_database
    operator.execute(f"alter table {table} enable row level security")
    assert "row-level security policy" in _start_error(urls, "session_service")


@pytest.mark.parametrize("module", ["session_service", "session_service.storage.migrations"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGDATESTYLE", "secret"),
        ("PGTZ", "secret"),
        ("PGGEQO", "secret"),
        ("PGOPTIONS", "-c secret"),
        ("PGOPTIONS", "-c secret=1"),
        ("PGOPTIONS", "--secret"),
        ("PGOPTIONS", "-c 1secret=x"),
        ("PGOPTIONS", "-c port=1"),
        ("PGOPTIONS", "-c work_mem=0"),
        ("PGOPTIONS", "-c work_mem=secret"),
        ("PGOPTIONS", "-c log_statement=secret"),
        ("PGOPTIONS", "-c statement_timeout=secret"),
        ("PGOPTIONS", "secret"),
    ],
)
def test_variables_that_the_server_rejects(migrated: Urls, module: str, name: str, value: str) -> None:
    """A variable of libpq with a value that the server rejects stops the start by its name at once."""
    _check_rejected({**migrated, name: value}, module, f"{name} has a value that PostgreSQL rejects")


@pytest.mark.parametrize("module", ["session_service", "session_service.storage.migrations"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("options", "-c%20secret"), ("options", "-cTimeZone%3Dsecret"), ("replication", "secret")],
)
def test_options_that_the_server_rejects(migrated: Urls, module: str, name: str, value: str) -> None:
    """An option of the URL with a value that the server rejects stops the start by its name at once."""
    urls = {key: f"{url}&{name}={value}" for key, url in migrated.items() if key != "REDIS_URL"}
    variable = "DATABASE_URL" if module == "session_service" else "MIGRATION_DATABASE_URL"
    expected = f'{variable} has a value that PostgreSQL rejects for the option "{name}"'
    _check_rejected({**migrated, **urls}, module, expected)


def _check_rejected(urls: Urls, module: str, expected: str) -> None:
    started = time.monotonic()
    line = _start_error(urls, module)
    assert line.endswith(expected)
    # A start that waits for PostgreSQL takes 30 s.
    assert time.monotonic() - started < 20


def _start_error(urls: Urls, module: str) -> str:
    """Return the line with which a failed start ends."""
    (line,) = [line for line in failed_start(urls, module).splitlines() if line]
    assert line.startswith("session-service: ")
    return line
