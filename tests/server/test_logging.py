"""Tests the log: a slow reader delays no request, and dropped lines are counted."""

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
from tests.support.service import Service, await_reply, folder, free_port
from tests.support.waiting import LIMIT

LONG = "/nowhere/" + 3900 * "x"
PIPE = 40  # lines of that length are more than a pipe holds
ROOM = 1200  # are more than there is room for


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
        await_reply(url, process)
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


def test_what_was_lost_is_counted(migrated: Urls) -> None:
    """A reader that continues after a pause gets the buffered lines, and the number of dropped ones."""
    with _unread(migrated) as (service, reader), ThreadPoolExecutor(8) as clients:
        assert {reply.status_code for reply in clients.map(service.client.get, [LONG] * ROOM)} == {404}
    lines = reader.lines()
    written = sum(LONG in line for line in lines)
    lost = sum(
        int(told) for told in re.findall(r"^\S+ (\d+) lines were lost", "\n".join(lines), re.MULTILINE)
    )
    assert written > PIPE
    assert lost > 0
    assert written + lost == ROOM


def test_nothing_that_is_told_holds_up_a_request(migrated: Urls) -> None:
    """With a full output, a service that logs a warning continues, and writes the warning later."""
    with folder() as base, servers.redis(base, base) as redis:
        with _unread(migrated, REDIS_URL=redis.url) as (service, reader):
            session_id = service.start()["id"]
            assert {service.client.get(LONG).status_code for _ in range(PIPE)} == {404}
            redis.process.kill()
            redis.process.wait()
            assert service.save(session_id, 1, "x").status_code == 200
            assert service.read(session_id).json()["version"] == 2
        assert [line for line in reader.lines() if "redis is not believed" in line]
