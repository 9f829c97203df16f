"""Tests of Java's default HttpClient, which offers an h2c upgrade on each new connection."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Urls
from tests.support.service import running

PROGRAM = Path(__file__).parent / "DefaultHttpClient.java"


@pytest.mark.needs("javac")
@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_java_http_client_with_h2c_upgrade(server: str, migrated: Urls) -> None:
    """Java's HttpClient starts a session, saves by PUT and PATCH, completes and reads; no answer is lost."""
    with running(migrated, SERVER=server) as service:
        run = subprocess.run(
            ["java", PROGRAM, service.url], capture_output=True, text=True, timeout=300, check=False
        )
    assert run.returncode == 0, run.stderr
    *statuses, session = run.stdout.splitlines()
    assert statuses == [
        "POST HTTP_1_1 201",
        "PUT HTTP_1_1 200",
        "PATCH HTTP_1_1 200",
        "POST HTTP_1_1 200",
        "GET HTTP_1_1 200",
    ]
    assert json.loads(session)["answers"] == {"1": "by PUT", "2": "by PATCH", "3": "at the end"}
