"""Tests of the wheel: installed into an empty environment, its command works with two settings."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.reaper import ROOT
from session_service.api import contract
from session_service.command import COMMANDS
from tests.conftest import Urls
from tests.support.service import Service, await_serving, free_port
from tests.support.waiting import LIMIT, eventually


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `session-service` of the wheel, in an environment with the locked packages alone."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [ROOT / "bin" / "wheel", folder / "dist"], capture_output=True, text=True, check=True
    )
    uv = ROOT / ".venv" / "bin" / "uv"
    python = folder / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", ROOT / ".venv/bin/python", folder / "venv"], check=True)
    install: list[str | Path] = [uv, "pip", "install", "-q", "--python", python]
    lock = ROOT / "requirements" / "service.lock"
    subprocess.run([*install, "--only-binary", ":all:", "--require-hashes", "-r", lock], check=True)
    subprocess.run([*install, "--offline", "--no-deps", built.stdout.strip()], check=True)
    subprocess.run([uv, "pip", "check", "-q", "--python", python], check=True)
    return python.with_name("session-service")


@pytest.fixture
def urls(fresh_database: Urls) -> Urls:
    """The two settings, for an empty database whose owner the service is."""
    return {
        "DATABASE_URL": fresh_database["MIGRATION_DATABASE_URL"],
        "REDIS_URL": fresh_database["REDIS_URL"],
    }


def test_the_installed_command_serves(command: Path, urls: Urls, tmp_path: Path) -> None:
    """From an empty folder, and with two settings, it migrates, serves an attempt, and exports it."""
    assert _output(command, tmp_path, urls, "migrate").startswith("applied: ")
    with _serving(command, tmp_path, urls) as service:
        session = service.start()
        assert service.save(session["id"], 3, "Paris").status_code == 200
        assert service.complete(session["id"]).json()["status"] == "completed"
        assert service.client.get("/version").json()["version"] == contract.version()
        assert service.client.get("/openapi.yaml").text == contract.FILE.read_text()
        assert [service.client.get(path).status_code for path in ("/docs", "/monitor")] == [200, 200]
        assert str(session["id"]) in _output(command, tmp_path, urls, "export", "--format", "ndjson")
    refused = _run(command, tmp_path, urls, "erase", "--user", "ada")
    assert refused.stderr.startswith("session-service: ERASE_DATABASE_URL must be set")
    status = _run(command, tmp_path, urls, "webhooks", "--status")
    assert status.stderr.endswith("session-service: no process sends webhooks\n")


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_installed_workers_ignore_the_current_folder(
    command: Path, urls: Urls, tmp_path: Path, server: str
) -> None:
    """Workers run the installed package, also in a folder with one of the same name, and after SIGHUP."""
    _output(command, tmp_path, urls, "migrate")
    (tmp_path / "session_service").mkdir()
    (tmp_path / "session_service" / "__init__.py").write_text("raise SystemExit('another package')")
    with _serving(command, tmp_path, urls | {"SERVER": server}, "serve", "--workers", "2") as service:
        started = "Running on http"
        eventually(lambda: service.log.read_text().count(started) == 2, service.log.read_text)
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: service.log.read_text().count(started) == 4, service.log.read_text)
        service.start()
        assert "another package" not in service.log.read_text()


def test_the_installed_command_prints_its_version(command: Path, tmp_path: Path) -> None:
    """--version prints the version without any setting; a word that is no command is an error."""
    assert _output(command, tmp_path, {}, "--version") == f"session-service {contract.version()}\n"
    unknown = _run(command, tmp_path, {}, "migrat")
    assert (unknown.returncode, "migrat" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(command: Path, tmp_path: Path, name: str) -> None:
    """--help of each command prints how it is called, and does nothing else; that of the service names it."""
    if name != "serve":
        assert re.search(rf"\b{name}\b", _output(command, tmp_path, {}, "--help"))
    called = "session-service" if name == "serve" else f"session-service {name}"
    assert _output(command, tmp_path, {}, name, "--help").startswith(f"usage: {called} [-h]")


def _run(command: Path, folder: Path, env: Urls, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def _output(command: Path, folder: Path, env: Urls, *arguments: str) -> str:
    ended = _run(command, folder, env, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@contextmanager
def _serving(command: Path, folder: Path, env: Urls, *arguments: str) -> Iterator[Service]:
    """Run the command, which serves until the end of the block; SIGTERM must end it with exit status 0."""
    port, log = free_port(), folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [command, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **env, "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            await_serving(url, process, log)
            service = Service(process, url, log)
            with service.client:
                yield service
            process.terminate()
            assert process.wait(LIMIT) == 0, log.read_text()
        finally:
            process.kill()
