"""Processes that send webhooks, and the events that they send."""

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
from attrs import frozen
from psycopg import sql

from dev.reaper import ROOT
from session_service.storage import statements
from session_service.storage.event_rows import PlaceInput
from session_service.storage.sql_files import FOLDER
from session_service.webhooks import endpoints as endpoint_settings
from session_service.webhooks.sender import Reply, Sender, SendError
from tests.support.feed import start_statement
from tests.support.waiting import LIMIT, eventually

T = TypeVar("T")

SENDS = "this process sends webhooks"


def new_secret() -> str:
    """Return a new secret."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


SECRET = new_secret()


def local(url: str, **fields: object) -> dict[str, object]:
    """Return the settings of an endpoint on this machine."""
    return {"url": url, "secrets": [SECRET], "private": True, **fields}


@frozen
class Sending:
    """A process that sends webhooks, and its log."""

    process: subprocess.Popen[str]
    log: Path

    def logged(self, text: str) -> list[str]:
        """Return the lines of the log with the text."""
        return [line for line in self.log.read_text().splitlines() if text in line]

    def await_line(self, text: str) -> str:
        """Wait for a line with the text and return it."""
        return eventually(lambda: self.logged(text), self.log.read_text)[0]

    def kill(self) -> None:
        """Kill the process, as after a crash."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started(urls: Mapping[str, str], endpoints: Mapping[str, object], **settings: str) -> Iterator[Sending]:
    """Run a process for the endpoints; SIGTERM must end it with exit status 0."""
    folder = Path(tempfile.mkdtemp(prefix="session-service-test-"))
    file, log = folder / "webhooks.json", folder / "log"
    file.write_text(json.dumps(endpoints))
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "session_service.webhooks"],
            cwd=ROOT,
            env={**os.environ, **urls, "WEBHOOKS_FILE": str(file), **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    sending = Sending(process, log)
    try:
        yield sending
        if process.poll() is None:
            process.terminate()
            assert process.wait(LIMIT) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


@contextmanager
def sending(urls: Mapping[str, str], endpoints: Mapping[str, object], **settings: str) -> Iterator[Sending]:
    """Run a process as `started` does, which sends events from now on."""
    with started(urls, endpoints, **settings) as process:
        process.await_line(SENDS)
        yield process


def command(urls: Mapping[str, str], *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the state of the endpoints."""
    return subprocess.run(
        [sys.executable, "-m", "session_service.webhooks", *arguments],
        cwd=ROOT,
        env={**os.environ, **urls, **settings},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def bounded(work: Coroutine[Any, Any, T]) -> T:
    """Run the work, which must end."""

    async def run() -> T:
        async with asyncio.timeout(LIMIT):
            return await work

    return asyncio.run(run())


def post(folder: Path, *urls: str, **fields: object) -> list[Reply | str]:
    """Post from this process to an endpoint for each URL; return each reply, or why there is none."""
    file = folder / "webhooks.json"
    file.write_text(json.dumps({f"e{number}": local(url, **fields) for number, url in enumerate(urls)}))

    async def run() -> list[Reply | str]:
        found: list[Reply | str] = []
        for endpoint in endpoint_settings.read(file):
            async with Sender(endpoint) as sender:
                try:
                    found.append(await sender.post("id_1", '{"a": "é"}'.encode()))
                except SendError as error:
                    found.append(str(error))
        return found

    return bounded(run())


class Events:
    """Adds events to the feed of a database, with the statements of the service."""

    def __init__(self, owner: psycopg.Connection) -> None:
        self._owner = owner

    def start(self) -> str:
        """Start a session of the quiz 7; return the id of its message."""
        session_id = uuid4()
        self._owner.execute(*start_statement(session_id=session_id))
        self.place()
        return f"{session_id}_1"

    def add(self, before: str, kind: str = "session.paused") -> str:
        """Add the next event of the session of a message; return the id of its own message."""
        session_id, version = before.split("_")
        key: list[Any] = [session_id, int(version) + 1]
        line = (
            "insert into session_events (session_id, version, type, at, actor, data) "
            """values (%s, %s, %s, now(), '{"type": "system"}', '{}')"""
        )
        self._owner.execute(line, [*key, kind])
        self._owner.execute("insert into unplaced_events (session_id, version) values (%s, %s)", key)
        self.place()
        return f"{session_id}_{key[1]}"

    def place(self) -> None:
        """Give positions to all events without one."""
        query = "select arrival from unplaced_events order by arrival"
        records = [PlaceInput(arrival) for (arrival,) in self._owner.execute(query)]
        text = (FOLDER / "place_events.sql").read_bytes()
        self._owner.execute(text, {"events": statements.encode_records(records)})


def deliveries(owner: psycopg.Connection) -> list[tuple[str, int]]:
    """Return the id of each message that waits, with the number of its failed attempts."""
    query = "select session_id || '_' || version, attempts from webhook_deliveries order by webhook, position"
    return [(str(message), int(attempts)) for message, attempts in owner.execute(query)]


def make_due(owner: psycopg.Connection) -> None:
    """Make all deliveries due, as after the pause before their next attempts."""
    owner.execute("update webhook_deliveries set next_at = least(next_at, now())")


def let_time_pass(owner: psycopg.Connection, hours: int = 1) -> None:
    """Move the failures and the next attempts of all deliveries into the past."""
    query = sql.SQL("update webhook_deliveries set next_at = next_at - {0}, failed_at = failed_at - {0}")
    owner.execute(query.format(timedelta(hours=hours)))
