"""Tests of the log: a slow reader delays no request, and dropped lines are counted."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from attrs import field, frozen

from dev import servers
from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.service import Service, await_serving, folder, free_port
from tests.support.waiting import LIMIT

LONG = "/nowhere/" + 3900 * "x"
PIPE = 40  # number of such lines that fill a pipe
LINES = 1200  # number of such lines that also fill the service's buffer

FULL_AT_THE_STOP = f"""
import sys
from threading import Timer
from session_service.server.logging import NonBlockingStdout

log = NonBlockingStdout()
log.start()
for line in [{LONG!r}] * {LINES} + ["short"] * {LINES}:
    log.write(line + chr(10))
# The reader begins when the stop has begun.
Timer(0.05, print, ["full"], dict(file=sys.stderr, flush=True)).start()
log.stop()
# The stop waits for a second only, which a busy machine can need to read it all.
log._writer.join()
"""


@frozen
class Reader:
    """A reader of the log that waits until the test starts it."""

    descriptor: int
    _chunks: list[bytes] = field(factory=list)

    def read(self) -> None:
        """Read to the end."""
        while chunk := os.read(self.descriptor, 65536):
            self._chunks.append(chunk)

    def lines(self) -> list[str]:
        """Return what was read."""
        return b"".join(self._chunks).decode().splitlines()


def _dropped(log: str) -> int:
    """Return the number of lines that the log says were dropped."""
    return sum(int(count) for count in re.findall(r"^\S+ (\d+) lines were lost", log, re.MULTILINE))


@contextmanager
def _unread(urls: Urls, **settings: str) -> Iterator[tuple[Service, Reader]]:
    """Run a service with a log that is not read before the end."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    descriptor, writer = os.pipe()
    reader = Reader(descriptor)
    process = subprocess.Popen(
        [sys.executable, "-m", "session_service"],
        cwd=ROOT,
        env={**os.environ, **urls, "PORT": str(port), **settings},
        stdout=writer,
        text=True,
    )
    os.close(writer)
    try:
        await_serving(url, process)
        service = Service(process, url, Path(os.devnull))
        with service.client:
            yield service, reader
        reading = Thread(target=reader.read)
        reading.start()
        process.terminate()
        assert process.wait(LIMIT) == 0
        reading.join(LIMIT)
    finally:
        process.kill()
        process.wait()
        os.close(descriptor)


def test_dropped_log_lines_are_counted(migrated: Urls) -> None:
    """A reader that continues after a pause gets the buffered lines, and the number of dropped ones."""
    with _unread(migrated) as (service, reader), ThreadPoolExecutor(8) as clients:
        assert {response.status_code for response in clients.map(service.client.get, [LONG] * LINES)} == {404}
    lines = reader.lines()
    written = sum(LONG in line for line in lines)
    dropped = _dropped("\n".join(lines))
    assert written > PIPE
    assert dropped > 0
    assert written + dropped == LINES


def test_dropped_log_lines_are_counted_at_the_stop() -> None:
    """A service that stops with a full buffer still logs the number of dropped lines."""
    with subprocess.Popen(
        [sys.executable, "-c", FULL_AT_THE_STOP], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"full\n"
        lines = process.stdout.read().splitlines()
    written = sum(line in {LONG.encode(), b"short"} for line in lines)
    assert written + _dropped(b"\n".join(lines).decode()) == 2 * LINES


def test_warnings_delay_no_request(migrated: Urls) -> None:
    """With a full pipe, a service that logs a warning continues, and writes the warning later."""
    with folder() as base, servers.redis(base, base) as redis:
        with _unread(migrated, REDIS_URL=redis.url) as (service, reader):
            session_id = service.start()["id"]
            assert {service.client.get(LONG).status_code for _ in range(PIPE)} == {404}
            redis.process.kill()
            redis.process.wait()
            assert service.save(session_id, 1, "x").status_code == 200
            assert service.read(session_id).json()["version"] == 2
        assert [line for line in reader.lines() if "circuit breaker open" in line]
