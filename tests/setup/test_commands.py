"""bin/serve, bin/smoke and bin/migrate, as a newcomer runs them."""

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

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, await_reply, copy_house, free_port, judged
from tests.support.validating_proxy import judging
from tests.support.waiting import LIMIT, await_ends


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A copy of the checkout, with the same environment and no data yet."""
    copy_house(tmp_path)
    yield tmp_path
    asked = "from dev import reaper; print(reaper.default_base())"
    command = [".venv/bin/python", "-c", asked]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    shutil.rmtree(told.stdout.strip(), ignore_errors=True)


def test_serve_finds_its_data_again_and_leaves_nothing_behind(clone: Path) -> None:
    """Ctrl-C ends the service and its servers; started again it has the sessions of before."""
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


def test_serve_works_on_a_database_that_is_given(clone: Path, fresh_database: Urls) -> None:
    """It is migrated as its owner and served from as the other role; no worker is told of the owner."""
    urls = {name: fresh_database[name] for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL")}
    with _serving(clone, "--workers", "2", **urls) as (client, process):
        client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7})
        workers = [member for member in _family(process) if "--worker" in member.cmdline()]
        assert len(workers) == 2
        assert all("MIGRATION_DATABASE_URL" not in worker.environ() for worker in workers)
    with psycopg.connect(urls["DATABASE_URL"]) as service:
        assert service.execute("select user_id from quiz_sessions").fetchall() == [("ada",)]


def test_servers_end_with_a_serve_that_is_killed(clone: Path) -> None:
    """However bin/serve dies, its servers do not outlive it, and the next start recovers."""
    with _serving(clone) as (client, process):
        session = client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7}).json()
        family = _family(process)
        process.kill()
        await_ends(family)
    with _serving(clone) as (client, _):
        assert client.get(f"/api/sessions/{session['id']}").json() == session


def test_serve_recovers_from_a_keeper_that_is_killed(clone: Path) -> None:
    """Servers that lost their keeper hold their data until they end; their stale pid file holds nothing."""
    with _serving(clone) as (_, process):
        family = _family(process)
        postgres = [member for member in family if member.name() == "postgres"]
        (keeper,) = [member for member in family if "dev.reaper" in member.cmdline()]
        keeper.kill()
        process.kill()
        process.wait()
        refused = subprocess.run(
            ["bin/serve"], cwd=clone, capture_output=True, text=True, check=False, env=_env(free_port())
        )
        assert "another bin/serve is using" in refused.stderr
        for member in family:
            if member.is_running():
                member.kill()
        await_ends(postgres)
    with _serving(clone) as (client, _):
        assert client.get("/health").json()["status"] == "healthy"


def test_smoke_tells_each_step_and_the_verdict(service: Service) -> None:
    """Against a service in order every check passes, a line each, and the exit status is 0."""
    with judging(service.url) as judge:
        run = subprocess.run(["bin/smoke", judge.url], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * 7
    assert lines[-1] == f"{judge.url}: all 7 checks passed"


def test_smoke_brings_its_token(guarded: Service) -> None:
    """Where tokens are asked for, all is well with one, and nothing is without."""
    env = os.environ | {
        "TOKEN": bearer("smoke", scope=SERVICE_SCOPE)["authorization"].removeprefix("Bearer ")
    }
    command = ["bin/smoke", guarded.url]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.endswith("6 of 7 checks failed\n")


def test_smoke_fails_where_nothing_serves() -> None:
    """Without a service, or with a broken one, the exit status is not 0."""
    run = subprocess.run(
        ["bin/smoke", f"http://127.0.0.1:{free_port()}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].endswith("7 of 7 checks failed")


def test_smoke_fails_on_a_broken_service(broken_service: Service) -> None:
    """A service whose table is gone fails every check but those that need none."""
    with judging(broken_service.url) as judge:
        run = subprocess.run(["bin/smoke", judge.url], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1].endswith("6 of 7 checks failed")


def test_migrate_tells_what_it_applied(fresh_database: Urls) -> None:
    """The first run names the files, the second has nothing to do."""
    runs = [
        subprocess.run(
            ["bin/migrate"],
            cwd=ROOT,
            env={**os.environ, **fresh_database},
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    ]
    assert runs[0].stdout == "applied: 0001_quiz_sessions, 0002_digest_key\n"
    assert runs[1].stdout == "nothing to apply\n"


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
        await_reply(url, process)
        with judged(url) as client:
            yield client, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(LIMIT)


def _env(port: int) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return env | {"PORT": str(port)}


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]
