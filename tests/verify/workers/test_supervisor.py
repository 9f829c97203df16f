"""Tests the supervisor: restarts, rolling restarts and graceful shutdown of workers on one socket."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
from attrs import define, field

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.inspection import INSIDE, listens, reports
from tests.support.service import await_reply, copy_house, free_port, judged
from tests.support.waiting import LIMIT, await_ends, eventually

COUNT = 3
SERVERS = ("hypercorn", "uvicorn")


@define
class Group:
    """A supervisor, and the address of its workers."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def workers(self) -> list[psutil.Process]:
        """Return the current workers."""
        return psutil.Process(self.process.pid).children()

    def running_in(self, function: str) -> int:
        """Return how many tasks of the workers are in the function."""
        told = reports(self.log, [worker.pid for worker in self.workers()])
        return sum(places.get(function, 0) for _, places in told)

    def renewed(self, old: list[psutil.Process]) -> bool:
        """Return whether all workers run, and none of the old ones."""
        now = self.workers()
        return len(now) == COUNT and not {worker.pid for worker in now} & {worker.pid for worker in old}


@define
class Load:
    """Clients that send requests without a pause, half of them with a new connection for each."""

    url: str
    requests: int = 0
    replies: int = 0
    failures: list[str] = field(factory=list)
    refused: int = 0
    reset: int = 0  # new connections that ended before a reply began
    _over: threading.Event = field(factory=threading.Event)
    _lock: threading.Lock = field(factory=threading.Lock)

    @contextmanager
    def running(self, clients: int = 6) -> Iterator["Load"]:
        """Send requests until the block ends."""
        threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            self._await_more()
            yield self
            self._await_more()
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _await_more(self) -> None:
        """Wait until the clients have completed many more requests, successful or not."""
        before = self.requests
        eventually(lambda: self.requests > before + 100)

    def _ask(self, keeps: bool) -> None:  # noqa: FBT001 - which of the two kinds of client
        url = urlsplit(self.url)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=LIMIT)
        while not self._over.is_set():
            is_new = connection.sock is None
            with self._lock:
                self.requests += 1
            try:
                self._ask_once(connection)
            except (OSError, http.client.HTTPException) as error:
                self._note(error, is_new=is_new)
                connection.close()
                time.sleep(0.02)
            if not keeps:
                connection.close()
        connection.close()

    def _note(self, error: Exception, *, is_new: bool) -> None:
        with self._lock:
            if isinstance(error, ConnectionRefusedError):
                self.refused += 1
            elif isinstance(error, ConnectionResetError) and is_new:
                self.reset += 1
            else:
                self.failures.append(repr(error))

    def _ask_once(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/health")
        reply = connection.getresponse()
        body = reply.read()
        with self._lock:
            self.replies += 1
            if reply.status != 200 or not body.endswith(b"}"):
                self.failures.append(f"{reply.status} {body!r}")


@pytest.fixture(params=SERVERS)
def group(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Group]:
    """Three workers on the one server, then on the other."""
    with _running(migrated, SERVER=request.param) as group:
        yield group


def test_a_worker_that_dies_is_replaced(group: Group) -> None:
    """After a worker is killed the others serve, it is replaced, and only its own requests fail."""
    with Load(group.url).running() as load:
        victim = group.workers()[0]
        victim.kill()
        victim.wait()
        eventually(lambda: len(group.workers()) == COUNT)
        eventually(lambda: group.log.read_text().count("Running on ") == COUNT + 1)
    assert load.refused == 0
    # Each of the six clients has one request at a time.
    assert len(load.failures) + load.reset <= 6, load
    eventually(lambda: f"worker {victim.pid} ended with -9" in group.log.read_text())


def test_a_worker_that_cannot_be_replaced_yet_is_replaced_later(group: Group) -> None:
    """While no process can be started the other workers serve; the failed one is replaced later."""
    supervisor = psutil.Process(group.process.pid)
    limit = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    with Load(group.url).running() as load:
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (supervisor.num_fds() - 1, limit[1]))
        group.workers()[0].kill()
        eventually(lambda: "a worker could not be started yet" in group.log.read_text())
        assert len(group.workers()) == COUNT - 1
        before = load.replies
        supervisor.rlimit(psutil.RLIMIT_NOFILE, limit)
        eventually(lambda: len(group.workers()) == COUNT)
        assert load.replies > before


def test_sighup_renews_every_worker_and_no_request_fails(group: Group) -> None:
    """Under load all workers are replaced, and no connection is refused or reset."""
    with Load(group.url).running() as load:
        for _ in range(3):
            old = group.workers()
            group.process.send_signal(signal.SIGHUP)
            eventually(partial(group.renewed, old), group.log.read_text)
    assert (load.failures, load.refused, load.reset) == ([], 0, 0)


def test_sigterm_cuts_no_reply_off(group: Group, database: psycopg.Connection) -> None:
    """On SIGTERM under load all workers complete their requests, and the exit status is 0."""
    with judged(group.url) as client:
        body = {"user_id": f"user-{uuid4()}", "quiz_id": 7}
        path = f"/api/sessions/{client.post('/api/sessions/start', json=body).json()['id']}"
    with ExitStack() as stack, Load(group.url).running() as load, ThreadPoolExecutor(9) as clients:
        workers = group.workers()
        askers = [stack.enter_context(judged(group.url)) for _ in range(9)]
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [path[-36:]])
            saved = [clients.submit(_save, asker, path, number) for number, asker in enumerate(askers)]
            eventually(lambda: group.running_in("SessionStore.write") == 9)
            group.process.terminate()
            eventually(lambda: not listens(group.url))
            assert not any(reply.done() for reply in saved)
        assert [reply.result() for reply in saved] == [200] * 9
        assert group.process.wait(LIMIT) == 0
    assert load.failures == []
    # What waits to be accepted at the very end is reset, at most once for each client.
    assert load.reset <= 6
    assert psutil.wait_procs(workers, timeout=0)[1] == []


def test_workers_end_with_a_supervisor_that_is_killed(group: Group) -> None:
    """No worker outlives a supervisor that is killed."""
    workers = group.workers()
    group.process.kill()
    await_ends(workers)


def test_a_renewal_that_fails_leaves_the_workers_of_before(migrated: Urls, tmp_path: Path) -> None:
    """If a new version does not start, the old workers continue."""
    house = copy_house(tmp_path)
    with _running(migrated, house) as group:
        workers = group.workers()
        (house / "openapi.yaml").write_text("broken")
        group.process.send_signal(signal.SIGHUP)
        eventually(lambda: "a new worker did not start" in group.log.read_text())
        assert group.workers() == workers
        await_reply(group.url, group.process)


@pytest.mark.parametrize("server", SERVERS)
def test_workers_that_cannot_start(server: str, fresh_database: Urls) -> None:
    """If the first worker does not start, the reason is logged once, and the exit status is 1."""
    ended = subprocess.run(
        [sys.executable, "-m", "session_service", "--workers", str(COUNT)],
        cwd=ROOT,
        env={**os.environ, **fresh_database, "PORT": str(free_port()), "SERVER": server},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout.count("cannot start: the database lacks migrations") == 1
    assert ended.stderr.splitlines() == ["session-service: gave up: the first worker did not start"]


def test_workers_that_end_again_and_again(migrated: Urls, tmp_path: Path) -> None:
    """After five failed starts in a row the supervisor gives up."""
    house = copy_house(tmp_path)
    with _running(migrated, house) as group:
        (house / "openapi.yaml").write_text("broken")
        workers = group.workers()
        workers[0].kill()
        assert group.process.wait(LIMIT) == 1
        await_ends(workers)
        told = group.log.read_text()
    assert told.splitlines()[-1].startswith("session-service: gave up: 5 workers in a row ended within 10 s")
    assert told.count(" ended with ") == 5


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_a_number_of_workers_out_of_its_range(count: str) -> None:
    """There are 1 to 64 workers."""
    command = [sys.executable, "-m", "session_service", "--workers", count]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--workers" in ended.stderr


def test_serve_with_workers_leaves_nothing_behind(tmp_path: Path) -> None:
    """Workers share the private servers of bin/serve, and all end with it, even if it is killed."""
    house = copy_house(tmp_path)
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    try:
        for end in (signal.SIGINT, signal.SIGKILL):
            port = free_port()
            process = subprocess.Popen(
                ["bin/serve", "--workers", "2"],
                cwd=house,
                env=env | {"PORT": str(port)},
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            await_reply(f"http://127.0.0.1:{port}", process)
            family = psutil.Process(process.pid).children(recursive=True)
            assert sum("--worker" in member.cmdline() for member in family) == 2
            process.send_signal(end)
            assert process.wait(LIMIT) == (0 if end == signal.SIGINT else -end)
            await_ends(family)
    finally:
        _forget(house)


def _save(client: httpx.Client, path: str, number: int) -> int:
    """Save an answer over a new connection."""
    return client.put(f"{path}/progress", json={"question_id": number, "answer": "in flight"}).status_code


def _forget(house: Path) -> None:
    asked = "from dev import reaper; print(reaper.default_base())"
    told = subprocess.check_output([".venv/bin/python", "-c", asked], cwd=house, text=True)
    shutil.rmtree(told.strip(), ignore_errors=True)


@contextmanager
def _running(env: Urls, house: Path = ROOT, **settings: str) -> Iterator[Group]:
    """Run a supervisor, and wait until all its workers serve."""
    port = free_port()
    log = Path(tempfile.mkdtemp(prefix="session-service-test-")) / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "session_service", "--workers", str(COUNT)],
            cwd=house,
            env={**os.environ, **env, "PORT": str(port), "PYTHONPATH": INSIDE, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    group = Group(process, f"http://127.0.0.1:{port}", log)
    try:
        await_reply(group.url, process, log)
        eventually(lambda: group.log.read_text().count("Running on ") == COUNT)
        yield group
    finally:
        workers = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        psutil.wait_procs(workers, timeout=LIMIT)
        shutil.rmtree(log.parent)
