"""The grading service in docs/events.md: it misses no session, and grades none twice."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from dev.reaper import ROOT
from session_service.webhooks.sender import Reply
from tests.conftest import Urls
from tests.support.service import free_port, running
from tests.support.waiting import eventually
from tests.support.webhooks import SECRET, Events, deliveries, local, make_due, new_secret, post, sending

PAGE = (ROOT / "docs" / "events.md").read_text()


@contextmanager
def grading(folder: Path, url: str, port: int) -> Iterator[None]:
    """Run the service of the page until the end of the block, then kill it."""
    (program,) = re.findall(r"^```python\n(import .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(program.splitlines()) <= 40
    env = {**os.environ, "SESSIONS": url, "SECRET": SECRET, "PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, env=env, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.kill()


def grades(folder: Path) -> dict[str, int]:
    """Return the points of each session."""
    with closing(sqlite3.connect(folder / "grades.db")) as connection:
        try:
            return dict(connection.execute("select session, points from grades"))
        except sqlite3.OperationalError:
            # The service has not made its table yet.
            return {}


def test_a_grading_service_misses_nothing(
    urls: Urls, owner: psycopg.Connection, events: Events, tmp_path: Path
) -> None:
    """Completed and expired sessions are graded once, through a kill; an erased one is left out."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with running(urls) as service, sending(urls, {"grading": local(url)}):

        def start(count: int, **fields: object) -> str:
            session_id = str(service.start(**fields)["id"])
            service.save_many(session_id, {str(number): "x" for number in range(1, count + 1)})
            return session_id

        with grading(tmp_path, service.url, port):
            first = start(3)
            service.complete(first)
            eventually(lambda: grades(tmp_path) == {first: 3})
        completed, expired = start(2), start(1, time_limit_seconds=1)
        service.complete(completed)
        erased = events.start()
        events.add(erased, "session.completed")
        owner.execute("delete from quiz_sessions where id = %s", [erased.split("_")[0]])
        eventually(lambda: service.read(expired).status_code == 410)
        with grading(tmp_path, service.url, port):

            def all_are_graded() -> bool:
                make_due(owner)
                found = {first: 3, completed: 2, expired: 1}
                return grades(tmp_path) == found and deliveries(owner) == []

            eventually(all_are_graded, lambda: grades(tmp_path))
            assert post(tmp_path, url, secrets=[new_secret()]) == [Reply(401, 0)]
