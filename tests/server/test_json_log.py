"""Tests of LOG_FORMAT=json: every line is one JSON object, and has no user, address or query."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dev import servers
from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.issuer import bearer, token_settings
from tests.support.service import Service, folder, free_port, running
from tests.support.waiting import LIMIT, eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def _lines(service: Service) -> list[dict[str, Any]]:
    """Return the log; each line must be one JSON object with the fields that all lines have."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in service.log.read_text().splitlines()]
    for line in lines:
        assert datetime.fromisoformat(line["time"]).tzinfo
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}
        assert line["logger"]
    return lines


def _requests(service: Service, count: int) -> list[dict[str, Any]]:
    """Return the lines of the first `count` requests after those that waited for the start."""

    def found() -> list[dict[str, Any]]:
        return [line for line in _lines(service) if line.get("operation") != "getHealth" and "status" in line]

    eventually(lambda: len(found()) == count, lambda: str(found()))
    return found()


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_a_request_is_one_object(migrated: Urls, server: str) -> None:
    """A request's line has its ids, operation, status, times in milliseconds and a hash of its caller."""
    with running(migrated, LOG_FORMAT="json", SERVER=server) as service:
        session = service.start(user_id="ada-lovelace")
        service.save(session["id"], 1, "x", {"X-Request-Id": "r-1", "traceparent": PARENT})
        start, save = _requests(service, 2)
    assert (start["operation"], start["status"], start["session_id"]) == ("startSession", 201, session["id"])
    assert "trace_id" not in start
    assert save["request_id"] == "r-1"
    assert save["trace_id"] == TRACE
    assert save["operation"] == "updateProgress"
    assert save["session_id"] == session["id"]
    assert save["duration_ms"] >= save["queue_ms"] >= 0
    assert len(save["caller"]) == 16
    assert save["caller"] == start["caller"]


@pytest.mark.parametrize(
    "header",
    [
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}-more",
        PARENT.upper(),
        '"}',
    ],
)
def test_an_invalid_traceparent_is_ignored(json_service: Service, header: str) -> None:
    """A header that W3C Trace Context calls invalid gives no trace id, and changes nothing else."""
    before = len(json_service.log.read_text().splitlines())
    assert json_service.read("x", {"traceparent": header}).status_code == 400
    eventually(lambda: len(json_service.log.read_text().splitlines()) > before)
    assert "trace_id" not in _lines(json_service)[-1]


def test_a_path_cannot_forge_a_line(json_service: Service) -> None:
    """A path with a line feed and quotes stays within its object."""
    before = len(json_service.log.read_text().splitlines())
    assert json_service.client.get('/api/%0A{"level":"x"}').status_code == 404
    eventually(lambda: len(json_service.log.read_text().splitlines()) > before)
    assert _lines(json_service)[-1]["path"] == "/api/%0A%7B%22level%22:%22x%22%7D"


@pytest.fixture(scope="module")
def json_service(migrated: Urls) -> Iterator[Service]:
    """A service that logs JSON."""
    with running(migrated, LOG_FORMAT="json") as service:
        yield service


def test_warnings_are_objects_too(migrated: Urls) -> None:
    """A record of Python's logging is one object, and so is one with an exception."""
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        running(migrated, LOG_FORMAT="json", REDIS_URL=redis.url) as service,
    ):
        session = service.start()
        redis.process.kill()
        redis.process.wait()
        service.read(session["id"])
        eventually(lambda: "circuit breaker open" in service.log.read_text())
        assert [line["level"] for line in _lines(service) if "circuit" in str(line)] == ["warning"]


@pytest.mark.parametrize("module", [["session_service"], ["session_service", "--workers", "2"]])
def test_a_failed_start_is_one_object(migrated: Urls, module: list[str]) -> None:
    """A wrong setting, or keys that cannot be read at the start, end the process with objects only."""
    keys = {"AUTH": "jwt", "JWT_KEYS": "/nowhere", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a"}
    for wrong in ({"PORT": "x"}, keys):
        ended = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env={**os.environ, **migrated, "LOG_FORMAT": "json", "PORT": str(free_port()), **wrong},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert ended.returncode == 1
        assert [json.loads(line)["level"] for line in ended.stdout.splitlines()][-1] == "critical"


@pytest.mark.parametrize(("wanted", "statuses"), [("errors", [404]), ("none", [])])
@pytest.mark.parametrize("form", ["json", "text"])
def test_requests_can_be_left_out(migrated: Urls, form: str, wanted: str, statuses: list[int]) -> None:
    """LOG_REQUESTS=errors logs only responses that are errors, `none` no request."""
    with running(migrated, LOG_FORMAT=form, LOG_REQUESTS=wanted) as service:
        service.start()
        service.client.get("/nothing")
        service.start()
        service.process.terminate()
        assert service.process.wait(LIMIT) == 0
        log = service.log.read_text()
    if form == "json":
        assert [line["status"] for line in map(json.loads, log.splitlines()) if "status" in line] == statuses
    else:
        assert [int(status) for status in re.findall(r"(\d+) [0-9.]+ms$", log, re.MULTILINE)] == statuses


def test_the_caller_is_a_hash(migrated: Urls, tmp_path: Path) -> None:
    """Lines of one learner have one hash, those of another learner another one, and none has a name."""
    with running(migrated, LOG_FORMAT="json", **token_settings(tmp_path / "keys.json")) as service:
        for name in ("ada-lovelace", "ada-lovelace", "grace-hopper"):
            assert service.client.get("/api/sessions", headers=bearer(name)).status_code == 200
        lines = _requests(service, 3)
        callers = [line["caller"] for line in lines]
        assert callers[0] == callers[1] != callers[2]
        assert not re.search("lovelace|hopper", service.log.read_text())
