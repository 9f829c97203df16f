"""A service process with its servers, as the tests start, ask and end it."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg

from dev.reaper import ROOT
from tests.support import conformance
from tests.support.waiting import LIMIT, eventually

Headers = dict[str, str]
HOUSE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "openapi.yaml",
    "pyproject.toml",
    "README.md",
    "bin",
    "contract",
    "dev",
    "docs",
    "requirements",
    "session_service",
    "sql",
    "tests",
)


class Service:
    """A running service: every reply that its client receives is held against the contract."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.client = judged(url)

    def start(self, **fields: object) -> dict[str, object]:
        """Start a session of a new user, or as the fields say, and return it."""
        body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, **fields}
        reply = self.client.post("/api/sessions/start", json=body)
        assert reply.status_code == 201, reply.text
        started: dict[str, object] = reply.json()
        return started

    def save(
        self,
        session_id: object,
        question_id: int,
        answer: object,
        headers: Headers | None = None,
        **fields: object,
    ) -> httpx.Response:
        """Save one answer."""
        body = {"question_id": question_id, "answer": answer, **fields}
        return self.client.put(f"/api/sessions/{session_id}/progress", json=body, headers=headers)

    def save_many(
        self, session_id: object, answers: dict[str, Any], headers: Headers | None = None, **fields: object
    ) -> httpx.Response:
        """Save many answers in one step."""
        body = {"answers": answers, **fields}
        return self.client.patch(f"/api/sessions/{session_id}/progress", json=body, headers=headers)

    def read(self, session_id: object, headers: Headers | None = None) -> httpx.Response:
        """Read a session."""
        return self.client.get(f"/api/sessions/{session_id}", headers=headers)

    def complete(
        self, session_id: object, headers: Headers | None = None, **fields: object
    ) -> httpx.Response:
        """Complete a session, with a body if there are fields for one."""
        path = f"/api/sessions/{session_id}/complete"
        return self.client.post(path, json=fields or None, headers=headers)


@contextmanager
def running(env: Mapping[str, str], house: Path = ROOT, /, **settings: str) -> Iterator[Service]:
    """Run a service process with the settings; it has to obey SIGTERM with exit status 0."""
    port = settings.get("PORT") or str(free_port())
    url = f"http://127.0.0.1:{port}"
    log = Path(tempfile.mkdtemp(prefix="session-service-test-")) / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "session_service"],
            cwd=house,
            env={**os.environ, **env, "PORT": port, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        await_reply(url, process, log)
        service = Service(process, url, log)
        with service.client:
            yield service
        if process.poll() is None:
            process.terminate()
            assert process.wait(LIMIT) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(log.parent)


def copy_house(folder: Path) -> Path:
    """Copy everything that serving and testing need, to be run or damaged there, with this environment."""
    for name in HOUSE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(".venv", "node_modules"))
        else:
            shutil.copy(source, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def free_port() -> int:
    """Return a port that is not in use.

    It is below those that Linux gives to outgoing connections: none takes it until a service listens on it.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder that the user PostgreSQL runs as may enter, and remove it."""
    path = Path(tempfile.mkdtemp(prefix="session-service-test-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def standstill(url: str) -> Iterator[None]:
    """Let no statement in the database come back, and no connection begin, before the end of the block."""
    query = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    with psycopg.connect(url) as database:
        backends = [psutil.Process(pid) for (pid,) in database.execute(query).fetchall()]
    # With the server itself, which would begin new ones.
    members = [*backends, *backends[0].parents()[:1]]
    for member in members:
        member.suspend()
    try:
        yield
    finally:
        for member in members:
            member.resume()


def judged(url: str) -> httpx.Client:
    """Return a client whose every reply is held against the contract."""
    return httpx.Client(base_url=url, timeout=LIMIT, event_hooks={"response": [conformance.check]})


def judged_behind_proxy(url: str, prefix: str = "") -> httpx.Client:
    """Return a client whose every reply is held against the contract as it was before the proxy changed it.

    A proxy may add its name, make an entity tag weak and compress; it serves the contract's paths under a
    prefix.
    """

    def check(reply: httpx.Response) -> None:
        content = reply.read()
        headers = httpx.Headers(
            [(name, value.removeprefix("W/")) for name, value in reply.headers.multi_items()]
        )
        for name in ("server", "content-encoding", "transfer-encoding"):
            headers.pop(name, None)
        path = reply.request.url.path.removeprefix(prefix)
        request = httpx.Request(reply.request.method, reply.request.url.copy_with(path=path))
        conformance.check(
            httpx.Response(reply.status_code, headers=headers, content=content, request=request)
        )

    return httpx.Client(base_url=url, timeout=LIMIT, event_hooks={"response": [check]})


def await_end(session: Mapping[str, object]) -> None:
    """Wait until the time of a session is over, by the clock that it shares with the database."""
    end = datetime.fromisoformat(str(session["expires_at"])).timestamp()
    time.sleep(max(0.0, end - time.time()) + 0.05)


def await_reply(url: str, process: subprocess.Popen[Any], log: Path | None = None) -> None:
    """Wait until the process serves at the URL; fail with its log if it ends before."""

    def shown() -> str:
        return log.read_text()[-2000:] if log else url

    def serves() -> bool:
        try:
            client.get("/health")
        except httpx.TransportError:
            assert process.poll() is None, shown()
            return False
        return True

    with judged(url) as client:
        eventually(serves, shown)
