"""Service processes for the tests: start, requests, stop."""

import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
REPOSITORY = (
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

# Python renames `*.pyc.*` to `*.pyc` once it is written, maybe while the folder is copied.
NOT_COPIED = shutil.ignore_patterns(".venv", "node_modules", "*.pyc.*")

# For clients without TLS: loading the authorities of certifi takes a tenth of a second of CPU time for each.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

MAX_RESERVATIONS = 100  # ports of a process that are reserved; services listen on earlier ones by now
_reservations: deque[socket.socket] = deque()

# The timeouts of the service, by file, and that of Redis in ticks of 10 ms.
TIMEOUTS = {
    "session_service/api/application.py": r"(?<=^REQUEST_TIMEOUT = )[\d.]+",
    "session_service/server/connections.py": r"(?<=^READ_HEADER_TIMEOUT = )[\d.]+",
    "session_service/storage/connection.py": r"(?<=^RESPONSE_TIMEOUT = )[\d.]+",
    "session_service/storage/pool.py": r"(?<=^ACQUIRE_TIMEOUT = )[\d.]+",
    "session_service/storage/redis.py": r"(?<=^TIMEOUT_TICKS = )\d+",
    "session_service/traffic/batching.py": r"(?<=^QUEUE_TIMEOUT = )[\d.]+",
    "sql/configure.sql": r"(?<=_timeout', ')\d+(?=s')",
}


class Service:
    """A running service, with a client that validates every response against the contract."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log
        self.client = validated_client(url)

    def start(self, **fields: object) -> dict[str, object]:
        """Start a session of a new user, or with these fields, and return it."""
        body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, **fields}
        response = self.client.post("/api/sessions/start", json=body)
        assert response.status_code == 201, response.text
        started: dict[str, object] = response.json()
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
        """Save many answers in one request."""
        body = {"answers": answers, **fields}
        return self.client.patch(f"/api/sessions/{session_id}/progress", json=body, headers=headers)

    def read(self, session_id: object, headers: Headers | None = None) -> httpx.Response:
        """Read a session."""
        return self.client.get(f"/api/sessions/{session_id}", headers=headers)

    def complete(
        self, session_id: object, headers: Headers | None = None, **fields: object
    ) -> httpx.Response:
        """Complete a session, with a body if there are fields."""
        path = f"/api/sessions/{session_id}/complete"
        return self.client.post(path, json=fields or None, headers=headers)


@contextmanager
def running(env: Mapping[str, str], directory: Path = ROOT, /, **settings: str) -> Iterator[Service]:
    """Run a service process with the settings; SIGTERM must end it with exit status 0."""
    port = settings.get("PORT") or str(free_port())
    url = f"http://127.0.0.1:{port}"
    log = Path(tempfile.mkdtemp(prefix="session-service-test-")) / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "session_service"],
            cwd=directory,
            env={**os.environ, **env, "PORT": port, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        await_serving(url, process, log)
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


def failed_start(env: Mapping[str, str], module: str = "session_service") -> str:
    """Run the module, which must end with exit status 1, and return its output."""
    ended = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, "PORT": str(free_port()), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout
    return ended.stdout


def copy_repository(folder: Path) -> Path:
    """Copy the files that serving and testing need into the folder, and link the virtual environment."""
    for name in REPOSITORY:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=NOT_COPIED)
        else:
            shutil.copy(source, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def copy_with_long_timeouts(folder: Path) -> Path:
    """Copy the repository like `copy_repository`, with timeouts that a busy machine does not reach either."""
    copy_repository(folder)
    for name, value in TIMEOUTS.items():
        if name == "sql/configure.sql" and "POOLER" in os.environ:
            # The timeouts of the role, which the instances of all tests have in common.
            continue
        file = folder / name
        text, count = re.subn(value, "12000", file.read_text(), flags=re.MULTILINE)
        assert count, name
        file.write_text(text)
    return folder


def free_port() -> int:
    """Return a port that is not in use, and that no other test gets before a service listens on it.

    It is below the ports of outgoing connections, so that none of these takes it either. An abstract Unix
    socket with its number reserves it among the processes of all test runs.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0session-service-test-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        if len(_reservations) > MAX_RESERVATIONS:
            _reservations.popleft().close()
        return port


@contextmanager
def folder() -> Iterator[Path]:
    """Make a temporary folder that the user of PostgreSQL may enter, and remove it."""
    path = Path(tempfile.mkdtemp(prefix="session-service-test-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def frozen_database(url: str) -> Iterator[None]:
    """Freeze the database until the end of the block: no statement returns and no connection is accepted."""
    every = "select pid from pg_stat_activity"
    others = f"{every} where datname = current_database() and pid <> pg_backend_pid()"
    with ExitStack() as frozen, psycopg.connect(url, autocommit=True) as database:
        (postmaster,) = psutil.Process(database.info.backend_pid).parents()[:1]
        _freeze(postmaster, frozen)

        def all_are_listed() -> bool:
            # A backend that has just been forked is not. One that has ended stays a zombie.
            living = [child for child in postmaster.children() if child.status() != psutil.STATUS_ZOMBIE]
            return {child.pid for child in living} <= {pid for (pid,) in database.execute(every)}

        eventually(all_are_listed)
        for (pid,) in database.execute(others).fetchall():
            _freeze(psutil.Process(pid), frozen)
        yield


def _freeze(process: psutil.Process, frozen: ExitStack) -> None:
    process.suspend()
    frozen.callback(process.resume)


def validated_client(url: str) -> httpx.Client:
    """Return a client that validates every response against the contract."""
    return httpx.Client(
        base_url=url, timeout=LIMIT, event_hooks={"response": [conformance.check]}, verify=NO_AUTHORITIES
    )


def admin_page(port: int) -> str:
    """Return the metrics that a process publishes on its admin port."""
    return plain_text(f"http://127.0.0.1:{port}/metrics")


def plain_text(url: str) -> str:
    """Return a page that the contract does not describe; raise OSError if it is not served yet."""
    try:
        response = httpx.get(url, timeout=LIMIT, verify=NO_AUTHORITIES)
    except httpx.TransportError as error:
        raise OSError from error
    if response.status_code == 503:
        raise OSError(response.text)
    assert response.status_code == 200, response.text
    return response.text


def validated_client_behind_proxy(url: str, prefix: str = "") -> httpx.Client:
    """Return a client that validates every response, without the changes of a reverse proxy.

    A proxy may add its name, make an entity tag weak, compress, and serve the paths under a prefix.
    """

    def check(response: httpx.Response) -> None:
        content = response.read()
        headers = httpx.Headers(
            [(name, value.removeprefix("W/")) for name, value in response.headers.multi_items()]
        )
        for name in ("server", "content-encoding", "transfer-encoding"):
            headers.pop(name, None)
        path = response.request.url.path.removeprefix(prefix)
        request = httpx.Request(response.request.method, response.request.url.copy_with(path=path))
        conformance.check(
            httpx.Response(response.status_code, headers=headers, content=content, request=request)
        )

    return httpx.Client(base_url=url, timeout=LIMIT, event_hooks={"response": [check]}, verify=NO_AUTHORITIES)


def await_expiry(session: Mapping[str, object]) -> None:
    """Wait until the time limit of a session, by the clock of the database, which runs on this machine."""
    end = datetime.fromisoformat(str(session["expires_at"])).timestamp()
    time.sleep(max(0.0, end - time.time()) + 0.05)


def await_serving(url: str, process: subprocess.Popen[Any], log: Path | None = None) -> None:
    """Wait until the process serves at the URL; fail with its log if it ends first."""

    def shown() -> str:
        return log.read_text()[-2000:] if log else url

    def serves() -> bool:
        try:
            client.get("/health")
        except httpx.TransportError:
            assert process.poll() is None, shown()
            return False
        return True

    with validated_client(url) as client:
        eventually(serves, shown)
