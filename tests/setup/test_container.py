"""Tests of the container's health check."""

import json
import os
import re
import subprocess
import sys

import pytest

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.service import Service, free_port, running
from tests.support.waiting import eventually


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
