"""Tests of /metrics with --workers: one page sums all workers, and no count falls when a worker ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from attrs import frozen

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.server.test_metrics import Page
from tests.support.service import await_serving, free_port, validated_client
from tests.support.waiting import LIMIT, eventually

COUNT = 3
REQUESTS = "request_duration_seconds_count"


@frozen
class Workers:
    """A supervisor with its workers, and its page."""

    process: subprocess.Popen[bytes]
    url: str
    page: Page

    def pids(self) -> set[int]:
        """Return the ids of the workers."""
        return {worker.pid for worker in psutil.Process(self.process.pid).children()}

    def lists(self) -> float:
        """Return the number of lists that the page shows."""
        return self.page.value(REQUESTS, operation="listSessions", status="200")

    def list_sessions(self, count: int) -> None:
        """Request lists, each on a connection of its own, so that every worker may get some."""
        for _ in range(count):
            with validated_client(self.url) as client:
                assert client.get("/api/sessions").status_code == 200


@contextmanager
def _running(urls: Urls, server: str) -> Iterator[Workers]:
    port, admin = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"PORT": str(port), "ADMIN_PORT": str(admin), "SERVER": server}
    process = subprocess.Popen(
        [sys.executable, "-m", "session_service", "--workers", str(COUNT)],
        cwd=ROOT,
        env={**os.environ, **urls, **settings},
        stdout=subprocess.DEVNULL,
    )
    try:
        await_serving(url, process)
        workers = Workers(process, url, Page(admin))
        eventually(lambda: len(workers.pids()) == COUNT)
        eventually(lambda: workers.page.value("info", version="2.1.0") == 1)
        yield workers
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_counts_survive_the_renewal_of_all_workers(migrated: Urls, server: str) -> None:
    """After a rolling restart the page still counts the requests of the workers that have ended."""
    with _running(migrated, server) as workers:
        workers.list_sessions(12)
        eventually(lambda: workers.lists() == 12, lambda: str(workers.lists()))
        old = workers.pids()
        workers.list_sessions(3)
        workers.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(workers.pids()) == COUNT and not workers.pids() & old)
        eventually(lambda: workers.lists() == 15, lambda: str(workers.lists()))
        workers.list_sessions(5)
        eventually(lambda: workers.lists() == 20, lambda: str(workers.lists()))


def test_counts_of_a_killed_worker_do_not_fall(migrated: Urls) -> None:
    """After a worker is killed the page shows at least the counts that it has shown before."""
    with _running(migrated, "hypercorn") as workers:
        workers.list_sessions(12)
        eventually(lambda: workers.lists() == 12)
        old = workers.pids()
        os.kill(min(old), signal.SIGKILL)
        eventually(lambda: len(workers.pids()) == COUNT and workers.pids() != old)
        assert workers.lists() == 12


def test_a_frozen_worker_delays_the_page_only_a_little(migrated: Urls) -> None:
    """While a worker does not respond, the page has its metrics of the scrape before."""
    with _running(migrated, "hypercorn") as workers:
        workers.list_sessions(12)
        eventually(lambda: workers.lists() == 12)
        frozen = psutil.Process(min(workers.pids()))
        frozen.suspend()
        try:
            assert workers.lists() == 12
            assert workers.page.value("journal_bytes") > 0
        finally:
            frozen.resume()
