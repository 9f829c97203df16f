"""Fixtures: an instance whose erasing waits at its commit."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Urls
from tests.support.service import Service, running

GATE = 4711  # the advisory lock for which each commit of an erasing transaction waits

_WAIT = f"""
    create function wait_at_the_gate() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock({GATE});
      return null;
    end
    $$;
    create constraint trigger wait after delete on quiz_sessions
    deferrable initially deferred
    for each row execute function wait_at_the_gate();
"""


@pytest.fixture
def gated(
    migrated_database: tuple[Urls, psycopg.Connection], patient_repository: Path
) -> Iterator[tuple[Service, psycopg.Connection]]:
    """An instance with long timeouts, and its database, in which GATE keeps erasing from its commit."""
    urls, database = migrated_database
    database.execute(_WAIT)
    with running(urls, patient_repository) as service:
        yield service, database
