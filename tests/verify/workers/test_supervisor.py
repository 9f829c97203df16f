"""Tests the supervisor: restarts, rolling restarts and graceful shutdown of workers on one socket."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
from attrs import define

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.inspection import INSIDE, listens, reports
from tests.support.service import await_serving, copy_repository, free_port, validated_client
from tests.support.waiting import LIMIT, await_ends, eventually
from tests.verify.workers.load import Load

COUNT = 3
SERVERS = ("hypercorn", "uvicorn")


@define
class Group:
    """A supervisor with its workers."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def workers(self) -> list[psutil.Process]:
        """Return the current workers."""
        return psutil.Process(self.process.pid).children()

    def running_in(self, function: str) -> int:
        """Return the number of tasks of the workers that run the function."""
        found = reports(self.log, [worker.pid for worker in self.workers()])
        return sum(places.get(function, 0) for _, places in found)

    def has_replaced(self, old: list[psutil.Process]) -> bool:
        """Return whether all workers run, and none of the old ones."""
        now = self.workers()
        return len(now) == COUNT and not {worker.pid for worker in now} & {worker.pid for worker in old}


@pytest.fixture(params=SERVERS)
def group(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Group]:
    """Three workers on Hypercorn, then on uvicorn."""
    with _running(migrated, SERVER=request.param) as group:
        yield group


def test_a_killed_worker_is_replaced(group: Group) -> None:
    """After a worker is killed the others serve, it is replaced, and only its own requests fail."""
    with Load(group.url).running() as load:
        victim = group.workers()[0]
        victim.kill()
        victim.wait()
        eventually(lambda: len(group.workers()) == COUNT)
        eventually(lambda: group.log.read_text().count("Running on ") == COUNT + 1)
    assert load.refused == 0
    # Each of the six clients has one request in flight.
    assert len(load.failures) + load.reset <= 6, load
    eventually(lambda: f"worker {victim.pid} ended with -9" in group.log.read_text())


def test_a_worker_is_replaced_once_a_process_can_start(group: Group) -> None:
    """While no process can be started the other workers serve; the failed one is replaced later."""
    supervisor = psutil.Process(group.process.pid)
    limit = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    with Load(group.url).running() as load:
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (supervisor.num_fds() - 1, limit[1]))
        group.workers()[0].kill()
        eventually(lambda: "a worker could not be started yet" in group.log.read_text())
        assert len(group.workers()) == COUNT - 1
        before = load.responses
        supervisor.rlimit(psutil.RLIMIT_NOFILE, limit)
        eventually(lambda: len(group.workers()) == COUNT)
        assert load.responses > before


def test_rolling_restart_on_sighup(group: Group) -> None:
    """Rolling restart: on SIGHUP under load all workers are replaced, and no connection fails."""
    with Load(group.url).running() as load:
        for _ in range(3):
            old = group.workers()
            group.process.send_signal(signal.SIGHUP)
            eventually(partial(group.has_replaced, old), group.log.read_text)
    assert (load.failures, load.refused, load.reset) == ([], 0, 0)


def test_graceful_shutdown_of_all_workers(group: Group, database: psycopg.Connection) -> None:
    """Graceful shutdown: on SIGTERM under load all workers complete their requests; the exit status is 0."""
    with validated_client(group.url) as client:
        body = {"user_id": f"user-{uuid4()}", "quiz_id": 7}
        path = f"/api/sessions/{client.post('/api/sessions/start', json=body).json()['id']}"
    with ExitStack() as stack, Load(group.url).running() as load, ThreadPoolExecutor(9) as clients:
        workers = group.workers()
        savers = [stack.enter_context(validated_client(group.url)) for _ in range(9)]
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [path[-36:]])
            saved = [clients.submit(_save, asker, path, number) for number, asker in enumerate(savers)]
            eventually(lambda: group.running_in("SessionStore.write") == 9)
            group.process.terminate()
            eventually(lambda: not listens(group.url))
            assert not any(response.done() for response in saved)
        assert [response.result() for response in saved] == [200] * 9
        assert group.process.wait(LIMIT) == 0
    assert load.failures == []
    # Connections that were never accepted are reset: at most one per client.
    assert load.reset <= 6
    assert psutil.wait_procs(workers, timeout=0)[1] == []


def test_workers_end_with_a_killed_supervisor(group: Group) -> None:
    """No worker outlives a supervisor that is killed."""
    workers = group.workers()
    group.process.kill()
    await_ends(workers)


def test_a_failed_rolling_restart_keeps_the_old_workers(migrated: Urls, tmp_path: Path) -> None:
    """Rolling restart: if a new version does not start, the old workers continue."""
    checkout = copy_repository(tmp_path)
    with _running(migrated, checkout) as group:
        workers = group.workers()
        (checkout / "openapi.yaml").write_text("broken")
        group.process.send_signal(signal.SIGHUP)
        eventually(lambda: "a new worker did not start" in group.log.read_text())
        assert group.workers() == workers
        await_serving(group.url, group.process)


@pytest.mark.parametrize("server", SERVERS)
def test_a_failed_first_worker_ends_the_supervisor(server: str, fresh_database: Urls) -> None:
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


def test_repeated_failures_end_the_supervisor(migrated: Urls, tmp_path: Path) -> None:
    """After five failed starts in a row the supervisor gives up."""
    checkout = copy_repository(tmp_path)
    with _running(migrated, checkout) as group:
        # Such a start fails at once, on a busy machine too.
        (checkout / "session_service/__main__.py").write_text("raise SystemExit(1)")
        workers = group.workers()
        workers[0].kill()
        assert group.process.wait(LIMIT) == 1
        await_ends(workers)
        log = group.log.read_text()
    assert log.splitlines()[-1].startswith("session-service: gave up: 5 workers in a row ended within 10 s")
    # The killed worker, and on a slow machine a start that takes longer than 10 s, are not among the five.
    assert log.count(" ended with ") >= 5


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_the_number_of_workers_is_limited(count: str) -> None:
    """There are 1 to 64 workers."""
    command = [sys.executable, "-m", "session_service", "--workers", count]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--workers" in ended.stderr


def test_serve_with_workers_stops_everything(tmp_path: Path) -> None:
    """Workers share the private servers of bin/serve, and all end with it, even if it is killed."""
    checkout = copy_repository(tmp_path)
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    try:
        for end in (signal.SIGINT, signal.SIGKILL):
            port = free_port()
            process = subprocess.Popen(
                ["bin/serve", "--workers", "2"],
                cwd=checkout,
                env=env | {"PORT": str(port)},
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            await_serving(f"http://127.0.0.1:{port}", process)
            family = psutil.Process(process.pid).children(recursive=True)
            assert sum("--worker" in member.cmdline() for member in family) == 2
            process.send_signal(end)
            assert process.wait(LIMIT) == (0 if end == signal.SIGINT else -end)
            await_ends(family)
    finally:
        _remove_data(checkout)


def _save(client: httpx.Client, path: str, number: int) -> int:
    """Save an answer over a new connection."""
    return client.put(f"{path}/progress", json={"question_id": number, "answer": "in flight"}).status_code


def _remove_data(checkout: Path) -> None:
    program = "from dev import reaper; print(reaper.default_base())"
    base = subprocess.check_output([".venv/bin/python", "-c", program], cwd=checkout, text=True)
    shutil.rmtree(base.strip(), ignore_errors=True)


@contextmanager
def _running(env: Urls, checkout: Path = ROOT, **settings: str) -> Iterator[Group]:
    """Run a supervisor, and wait until all its workers serve."""
    port = free_port()
    log = Path(tempfile.mkdtemp(prefix="session-service-test-")) / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "session_service", "--workers", str(COUNT)],
            cwd=checkout,
            env={**os.environ, **env, "PORT": str(port), "PYTHONPATH": INSIDE, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    group = Group(process, f"http://127.0.0.1:{port}", log)
    try:
        await_serving(group.url, process, log)
        eventually(lambda: group.log.read_text().count("Running on ") == COUNT)
        yield group
    finally:
        workers = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        psutil.wait_procs(workers, timeout=LIMIT)
        shutil.rmtree(log.parent)
