"""Each mutation is detected by its test."""

import json
import os
import re
import signal
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dev import servers
from dev.servers import Database
from tests.support.service import copy_repository, folder
from tests.verify.mutations import MUTATIONS
from tests.verify.mutations.mutation import Mutation

# Without the plugins of the installed packages, which take longer to import than most of the tests need.
# tests/conftest.py has a hook of xdist.
_PYTEST = (".venv/bin/python", "-m", "pytest", "--disable-plugin-autoload", "-p", "xdist.plugin")


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Database]:
    """A PostgreSQL for the mutation runs of this process, one after the other."""
    with folder() as base, servers.postgres(base, servers.postgres_homes()[0], base) as server:
        yield server


@pytest.mark.filterwarnings("default:survived one run")
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_detected(mutation: Mutation, tmp_path: Path, shared_postgres: Database) -> None:
    """A copy of the service with the mutation fails the test that is named beside it.

    A mutation that changes only the order of events can survive a run: it gets a second one, and a warning.
    """
    mutation.apply(copy_repository(tmp_path))
    status, output = _run(mutation.test, tmp_path, shared_postgres)
    if status == 0:
        warnings.warn(f"survived one run: {mutation.test} depends on timing", stacklevel=1)
        status, output = _run(mutation.test, tmp_path, shared_postgres)
    assert status == 1, output
    assert re.search(r"^1 failed", output, re.MULTILINE), output


def _run(test: str, copy: Path, postgres: Database) -> tuple[int, str]:
    """Run the test in the copy, on an empty PostgreSQL and Redis; return its exit status and output."""
    _empty(postgres)
    with folder() as base, servers.redis(base, base) as redis:
        urls = {
            "DATABASE_URL": postgres.url,
            "MIGRATION_DATABASE_URL": postgres.owner_url,
            "REDIS_URL": redis.url,
        }
        # A process group of its own, so that no process of this run disturbs the next one.
        with subprocess.Popen(
            [*_PYTEST, "-x", "-p", "no:cacheprovider", test],
            cwd=copy,
            env=os.environ | {"TEST_SERVERS": json.dumps(urls), "TEST_LIMIT": "20"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as run:
            try:
                output, _ = run.communicate(timeout=600)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
    return run.returncode, output


def _empty(postgres: Database) -> None:
    """Bring PostgreSQL back to its first state: no other database, role or setting."""
    url = postgres.owner_url.replace("/postgres?", "/template1?")
    with psycopg.connect(url, autocommit=True) as owner:
        for query, statement in (
            ("select datname from pg_database where not datistemplate", "drop database {} with (force)"),
            ("select rolname from pg_roles where oid >= 16384", "drop role {}"),
        ):
            for (name,) in owner.execute(query).fetchall():
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))
        owner.execute("create database postgres template template0 strategy file_copy")
        owner.execute("alter system reset all")
        owner.execute("select pg_reload_conf()")
