"""Tests of the image: its labels, its files, its command and its health check, without a container engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dev.reaper import ROOT
from session_service.api import contract
from tests.conftest import Urls
from tests.support.service import Service, await_serving, free_port, running, validated_client
from tests.support.waiting import LIMIT, eventually

# Runs a command whose root file system is read-only; other ones, maybe that of /tmp, are not.
READ_ONLY = ("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh")
TEXT = (ROOT / "Dockerfile").read_text()
LABEL = re.compile(r'org\.opencontainers\.image\.(\w+)="([^"]*)"')


def _copied() -> list[tuple[str, str]]:
    """Return the source and the destination of each COPY."""
    return re.findall(r"^COPY (\S+) (\S+)$", TEXT, re.MULTILINE)


def test_the_labels_are_those_of_the_package() -> None:
    """The image has the labels of OCI, with the name, description, version and licence of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert dict(LABEL.findall(TEXT)) == {
        "title": project["name"],
        "description": project["description"],
        "version": project["version"],
        "licenses": project["license"],
        "revision": "$REVISION",
    }
    assert project["version"] == contract.version()


def test_the_files_of_the_image_are_in_the_build_context() -> None:
    """Each file that is copied exists, and .dockerignore lets it in."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for source, _ in _copied():
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


@pytest.mark.needs("mount")
def test_the_image_serves_with_its_files_alone(migrated: Urls, tmp_path: Path) -> None:
    """With the copied files, its variables and its command it serves, and it writes no file."""
    for source, destination in _copied():
        target = tmp_path / destination / (Path(source).name if destination.endswith("/") else "")
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(ROOT / source, target) if (ROOT / source).is_dir() else shutil.copy(
            ROOT / source, target
        )
    copied = sorted(tmp_path.rglob("*"))
    (command,) = re.findall(r"^CMD (\[.*\])$", TEXT, re.MULTILINE)
    (line,) = re.findall(r"^ENV (HOST.*)$", TEXT, re.MULTILINE)
    variables = dict(pair.split("=") for pair in line.split()) | {
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
    }
    python, *arguments = json.loads(command)
    assert python == "python"
    url = f"http://127.0.0.1:{variables['PORT']}"
    with subprocess.Popen(
        [*READ_ONLY, sys.executable, *arguments],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **migrated, **variables, "REVISION": "3f7c2a9"},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            await_serving(url, process)
            with validated_client(url) as client:
                assert client.get("/version").json()["revision"] == "3f7c2a9"
                started = client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7})
                assert started.status_code == 201
            process.terminate()
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
    assert sorted(tmp_path.rglob("*")) == copied


def _check(port: int) -> int:
    """Run the command of the Dockerfile's HEALTHCHECK with this Python; return its exit status."""
    found = re.search(
        r"^HEALTHCHECK(?:.*\\\n)* +CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert found is not None
    _, *arguments = json.loads(found[1])
    env = {**os.environ, "PORT": str(port)}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, check=False).returncode


@pytest.mark.parametrize("root_path", ["", "/quiz"])
def test_the_container_health_check_uses_the_port(migrated: Urls, root_path: str) -> None:
    """The container's health check uses PORT and ROOT_PATH, and fails if nothing listens."""
    with running(migrated, ROOT_PATH=root_path) as service:
        assert _check(int(service.url.rsplit(":", 1)[1])) == 0
    assert _check(free_port()) != 0


def test_the_container_health_check_succeeds_without_postgresql(service_without_postgresql: Service) -> None:
    """The container's health check is a liveness check: it succeeds while PostgreSQL is down."""
    eventually(lambda: service_without_postgresql.client.get("/health").status_code == 503)
    assert _check(int(service_without_postgresql.url.rsplit(":", 1)[1])) == 0
