"""Tests connections on both servers: bounds and timeouts of a head, pipelining, graceful shutdown."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpx
import psycopg
import pytest

from dev.reaper import ROOT
from session_service.server.hypercorn.task_group import ReceiveQueue
from tests.conftest import Urls
from tests.support.inspection import listens, waiting_for_locks
from tests.support.raw_http import HEALTH, connected, exchange, replies
from tests.support.service import Service, free_port, running
from tests.support.waiting import LIMIT, eventually

SERVERS = ("hypercorn", "uvicorn")
HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"
END = b"connection: close\r\n\r\n"


@pytest.fixture(scope="module", params=SERVERS)
def either(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service on the one server, then on the other."""
    with running(migrated, SERVER=request.param) as service:
        yield service


def test_a_common_head_is_served(either: Service) -> None:
    """A head of 12 KiB is served, whole or in pieces, and the reply carries a date and no server's name."""
    pieces = [HEAD[:20], HEAD[20:], b"x: " + b"x" * 12_000 + b"\r\n", END]
    for sent in ([b"".join(pieces)], pieces):
        (reply,) = exchange(either.url, *sent, asked=(HEALTH,))
        assert reply.status_code == 200
        assert "date" in reply.headers
        assert "server" not in reply.headers


def test_a_reply_carries_the_time(either: Service) -> None:
    """The date of a reply is that of its second, or of the one before."""
    for _ in range(2):
        before = time.time()
        (reply,) = exchange(either.url, HEAD + END, asked=(HEALTH,))
        date = parsedate_to_datetime(reply.headers["date"]).timestamp()
        assert before - 2 < date <= time.time()
        time.sleep(2)


def test_a_head_has_room_for_16_kib_and_100_lines(either: Service) -> None:
    """With one byte or one line more than that it is 431, in one piece or in several, ended or not."""
    room = 16 * 1024 - len(HEAD + b"x: \r\n" + END)
    fits = (b"x: %s\r\n" % (b"x" * room), b"x: x\r\n" * 98)
    whole = (b"x: %s\r\n" % (b"x" * (room + 1)), b"x: x\r\n" * 99, b"x: %s\r\n" % (b"x" * 1000) * 80)
    endless = (b"x: " + b"x" * 80_000, b"x: %s\r\n" % (b"x" * 1000) * 80)
    sendings = [(200, [HEAD + lines + END]) for lines in fits] + [(200, [HEAD, lines, END]) for lines in fits]
    sendings += [(431, [HEAD + lines + END]) for lines in whole] + [
        (431, [HEAD, lines, END]) for lines in whole
    ]
    sendings += [(431, [HEAD + lines]) for lines in endless] + [(431, [HEAD, lines]) for lines in endless]
    for status, sending in sendings:
        told = exchange(either.url, *sending, asked=(HEALTH,))
        assert [reply.status_code for reply in told] == [status]


def test_a_slow_head_is_cut_off(either: Service) -> None:
    """A head has 5 s, however steadily its bytes come, then it is 408; without a byte the connection ends."""
    served = HEAD + b"\r\n"
    sendings: dict[tuple[bytes, bytes], list[int]] = {
        (b"", b""): [],
        (b"G", b""): [408],
        (b"\r\n", b"\r\n"): [],
        (HEAD, b"x"): [408],
        (served + HEAD, b"x"): [200, 408],
    }
    with ThreadPoolExecutor(len(sendings)) as clients:
        told = clients.map(lambda sending: _trickle(either.url, *sending), sendings)
        for statuses, replies in zip(sendings.values(), told, strict=True):
            assert [reply.status_code for reply in replies] == statuses


@pytest.mark.parametrize(
    "target", [b"//health", b"*", b"http://x", b"ftp://x/health", b"/nowhere?\"'<>", b"/%00%ff"]
)
def test_a_strange_target_reaches_the_service(either: Service, target: bytes) -> None:
    """A target that is no path of the contract's gets the contract's own reply."""
    (reply,) = exchange(either.url, HEAD.replace(b"/health", target) + END, asked=(("GET", "/nowhere"),))
    assert reply.json()["errorCode"] == "ROUTE_NOT_FOUND"


def test_pipelined_requests_are_answered_in_order(either: Service) -> None:
    """Requests that are sent at once get their replies one after the other."""
    heads = [HEAD + b"x-request-id: r%d\r\n" % number for number in range(5)]
    sent = b"".join(head + b"\r\n" for head in heads[:-1]) + heads[-1] + END
    told = exchange(either.url, sent, asked=(HEALTH,))
    assert [reply.headers["x-request-id"] for reply in told] == [f"r{number}" for number in range(5)]


def test_the_end_of_a_client_finds_room() -> None:
    """An application that reads no more keeps nobody from telling it that its client is gone."""

    async def fill() -> list[str]:
        inbox = ReceiveQueue()
        pieces = [asyncio.create_task(inbox.put({"type": "http.request"})) for _ in range(20)]
        await asyncio.sleep(0)
        assert not all(piece.done() for piece in pieces)
        async with asyncio.timeout(LIMIT):
            await inbox.put({"type": "http.disconnect"})
            await asyncio.gather(*pieces)
        return [(await inbox.get())["type"] for _ in range(22)]

    assert asyncio.run(fill()) == ["http.request"] * 20 + ["http.disconnect"] * 2


@pytest.mark.parametrize("server", SERVERS)
def test_the_end_waits_for_replies(server: str, migrated: Urls, database: psycopg.Connection) -> None:
    """A reply in flight when the service is told to end arrives whole and as the last of its connection."""
    with running(migrated, SERVER=server) as service, ThreadPoolExecutor(1) as clients:
        session = service.start()
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
            waiting = clients.submit(service.save, session["id"], 1, "in flight")
            eventually(lambda: waiting_for_locks(database.info.dsn))
            service.process.terminate()
            eventually(lambda: not listens(service.url))
            assert not waiting.done()
            with pytest.raises(ConnectionRefusedError):
                exchange(service.url, HEAD + END)
        assert waiting.result().json()["answers"] == {"1": "in flight"}
        assert waiting.result().headers["connection"] == "close"
        assert service.process.wait(LIMIT) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_the_end_waits_for_what_is_on_its_way(server: str, migrated: Urls) -> None:
    """A connection that was idle when the service was told to end has a reply yet, and that is its last."""
    with running(migrated, SERVER=server) as service, connected(service.url) as connection:
        connection.sendall(HEAD + b"\r\n")
        told = connection.recv(65536)
        service.process.terminate()
        eventually(lambda: not listens(service.url))
        connection.sendall(HEAD + b"\r\n")
        while more := connection.recv(65536):
            told += more
        assert [reply.headers.get("connection") for reply in replies(told, HEALTH)] == [None, "close"]
        assert service.process.wait(LIMIT) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_a_start_that_fails(server: str, fresh_database: Urls) -> None:
    """On either server a service that cannot start says why in a line and exits with 1."""
    ended = subprocess.run(
        [sys.executable, "-m", "session_service"],
        cwd=ROOT,
        env={**os.environ, **fresh_database, "PORT": str(free_port()), "SERVER": server},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 1
    assert "cannot start: the database lacks migrations" in ended.stdout.splitlines()[0]
    assert "Traceback" not in ended.stdout + ended.stderr


def _trickle(url: str, start: bytes, more: bytes) -> list[httpx.Response]:
    """Send a start, then more of it twice a second; return the replies when the connection has ended."""
    told = b""
    end = time.monotonic() + LIMIT
    with connected(url) as connection, suppress(ConnectionError):
        connection.sendall(start)
        connection.settimeout(0.5)
        while True:
            try:
                data = connection.recv(65536)
            except TimeoutError:
                assert time.monotonic() < end
                connection.sendall(more)
            else:
                if not data:
                    break
                told += data
    return replies(told, HEALTH)
