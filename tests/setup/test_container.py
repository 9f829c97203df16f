"""The container's own files: its health check asks the service, on whatever port it has."""

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
    """Run the command of Dockerfile's HEALTHCHECK, with this Python, as in a container on the port."""
    found = re.search(
        r"^HEALTHCHECK(?:.*\\\n)* +CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert found is not None
    _, *arguments = json.loads(found[1])
    env = {**os.environ, "PORT": str(port)}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, check=False).returncode


@pytest.mark.parametrize("root_path", ["", "/quiz"])
def test_the_health_check_asks_the_port_that_is_set(migrated: Urls, root_path: str) -> None:
    """A service on another port is alive, and a port that nothing listens on is not."""
    with running(migrated, ROOT_PATH=root_path) as service:
        assert _check(int(service.url.rsplit(":", 1)[1])) == 0
    assert _check(free_port()) != 0


def test_a_database_that_is_away_is_no_reason_to_restart(cut_off_service: Service) -> None:
    """The check asks whether the process is alive, not whether its stores are."""
    eventually(lambda: cut_off_service.client.get("/health").status_code == 503)
    assert _check(int(cut_off_service.url.rsplit(":", 1)[1])) == 0
