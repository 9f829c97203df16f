"""Tests of bin/serve: its data, its workers, and the end of its servers."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from tests.conftest import Urls
from tests.support.service import await_serving, copy_repository, free_port, validated_client
from tests.support.waiting import LIMIT, await_ends, eventually


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A copy of the checkout with the same virtual environment, without data."""
    copy_repository(tmp_path)
    yield tmp_path
    program = "from dev import reaper; print(reaper.default_base())"
    command = [".venv/bin/python", "-c", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    shutil.rmtree(run.stdout.strip(), ignore_errors=True)


def test_serve_keeps_its_data_and_stops_its_servers(clone: Path) -> None:
    """bin/serve keeps its data across restarts; Ctrl-C stops the service and its servers."""
    with _serving(clone) as (client, process):
        assert client.get("/health").json()["status"] == "healthy"
        session = client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7}).json()
        family = _family(process)
        assert len(family) > 3
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LIMIT) == 0
        await_ends(family)
    with _serving(clone) as (client, _):
        assert client.get(f"/api/sessions/{session['id']}").json() == session


def test_serve_with_a_given_database(clone: Path, fresh_database: Urls) -> None:
    """bin/serve migrates a given database as its owner; workers do not have the owner's URL."""
    urls = {name: fresh_database[name] for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL")}
    with _serving(clone, "--workers", "2", **urls) as (client, process):
        client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7})
        # One of them may serve before the other is started.
        eventually(lambda: len(_workers(process)) == 2)
        assert all("MIGRATION_DATABASE_URL" not in worker.environ() for worker in _workers(process))
    with psycopg.connect(urls["DATABASE_URL"]) as service:
        assert service.execute("select user_id from quiz_sessions").fetchall() == [("ada",)]


def test_servers_of_a_killed_serve_stop(clone: Path) -> None:
    """The servers of a killed bin/serve stop, and the next start recovers."""
    with _serving(clone) as (client, process):
        session = client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7}).json()
        family = _family(process)
        process.kill()
        await_ends(family)
    with _serving(clone) as (client, _):
        assert client.get(f"/api/sessions/{session['id']}").json() == session


def test_serve_recovers_from_a_killed_reaper(clone: Path) -> None:
    """After its reaper is killed bin/serve starts again once the old servers have stopped."""
    with _serving(clone) as (_, process):
        family = _family(process)
        postgres = [member for member in family if member.name() == "postgres"]
        (reaper_process,) = [member for member in family if "dev.reaper" in member.cmdline()]
        reaper_process.kill()
        process.kill()
        process.wait()
        rejected = subprocess.run(
            ["bin/serve"], cwd=clone, capture_output=True, text=True, check=False, env=_env(free_port())
        )
        assert "another bin/serve is using" in rejected.stderr
        for member in family:
            if member.is_running():
                member.kill()
        await_ends(postgres)
    with _serving(clone) as (client, _):
        assert client.get("/health").json()["status"] == "healthy"


@contextmanager
def _serving(
    clone: Path, *arguments: str, **settings: str
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        ["bin/serve", *arguments],
        cwd=clone,
        env=_env(port) | settings,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_serving(url, process)
        with validated_client(url) as client:
            yield client, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(LIMIT)


def _env(port: int) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return env | {"PORT": str(port)}


def _workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [member for member in _family(process) if "--worker" in member.cmdline()]


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]
