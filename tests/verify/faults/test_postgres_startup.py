"""Tests of the start of a service with a PostgreSQL that is late, unreachable or not durable."""

import asyncio
import os
import subprocess
import sys
from time import monotonic

import pytest

from dev.reaper import ROOT
from session_service.environment import SettingError
from session_service.storage import session_settings, statements
from session_service.storage.startup import await_server
from tests.conftest import Urls
from tests.support.service import await_serving, free_port
from tests.support.waiting import LIMIT
from tests.verify.faults.deployment import Deployment


def test_postgresql_starts_late(deployment: Deployment, servers: Urls) -> None:
    """A service that starts before its PostgreSQL logs that it waits, and serves once PostgreSQL is up."""
    deployment.postgres.stop()
    port = free_port()
    env = {
        **os.environ,
        **servers,
        "ERASE_DATABASE_URL": "",
        "DATABASE_URL": deployment.postgres.url,
        "PORT": str(port),
    }
    command = [sys.executable, "-m", "session_service"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("session-service: waiting for PostgreSQL: connection")
        deployment.postgres.start()
        await_serving(f"http://127.0.0.1:{port}", process)
        process.terminate()
        process.stdout.read()
    assert process.returncode == 0


def test_postgresql_without_fsync(deployment: Deployment, servers: Urls) -> None:
    """A PostgreSQL without fsync, which could lose acknowledged writes, fails the start."""
    deployment.postgres.set("fsync", "off")
    env = {
        **os.environ,
        **servers,
        "ERASE_DATABASE_URL": "",
        "DATABASE_URL": deployment.postgres.url,
        "PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "session_service"]
    ended = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    deployment.postgres.set("fsync", "on")
    assert ended.returncode == 1
    assert "cannot start: PostgreSQL must have fsync on" in ended.stdout


def test_the_wait_for_postgresql_is_limited() -> None:
    """The wait for PostgreSQL at the start is limited, and its end is one line with the reason."""
    begun = monotonic()
    pool = statements.pool("postgresql://nobody@127.0.0.1:1/none", 1, session_settings.configure)
    with pytest.raises(
        SettingError, match=r"PostgreSQL of DATABASE_URL is out of reach: .* refused"
    ) as error:
        asyncio.run(await_server(pool, seconds=0.5))
    assert monotonic() - begun >= 0.5
    assert "\n" not in str(error.value)
