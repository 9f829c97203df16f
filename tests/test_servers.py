"""The servers that the service runs on: what a head may be, how a service ends, the contract on uvicorn."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import psycopg
import pytest

from session_service.keeper import ROOT
from tests.conftest import Urls
from tests.service import Service, free_port, running

SERVERS = ("hypercorn", "uvicorn")
HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"
END = b"connection: close\r\n\r\n"

# llhttp, below uvicorn, refuses what these send before the service sees it: a method that it does not know, a
# header with a control character in it.
REFUSED = ["-k", "not BREW", "--deselect", "tests/test_edge.py::test_an_unfit_request_id_is_replaced[given4]"]


@pytest.fixture(scope="module", params=SERVERS)
def either(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service on the one server, then on the other."""
    with running(migrated, SERVER=request.param) as service:
        yield service


def test_a_common_head_is_served(either: Service) -> None:
    """A head of 12 KiB is served, whole or in pieces, and the reply carries a date and no server's name."""
    pieces = [HEAD[:20], HEAD[20:], b"x: " + b"x" * 12_000 + b"\r\n", END]
    for sent in ([b"".join(pieces)], pieces):
        reply = _exchange(either, *sent).lower()
        assert reply.startswith(b"http/1.1 200 ")
        assert b"\r\ndate: " in reply
        assert b"\r\nserver: " not in reply


def test_a_head_over_64_kib_is_refused(either: Service) -> None:
    """Neither one long header nor many short ones get past 64 KiB, in one piece or in several."""
    long, many = b"x: " + b"x" * 80_000 + b"\r\n", b"x: " + b"x" * 1000 + b"\r\n"
    sendings = [
        sending
        for headers in (long, many * 80)
        for sending in ([HEAD + headers + END], [HEAD + headers], [HEAD, headers, END], [HEAD, headers])
    ]
    started = time.monotonic()
    with ThreadPoolExecutor(len(sendings)) as clients:
        for reply in clients.map(lambda sending: _exchange(either, *sending), sendings):
            assert not reply or reply.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert time.monotonic() - started < 7


def test_a_slow_head_is_cut_off(either: Service) -> None:
    """A connection whose head does not end within 5 s is closed, however steadily its bytes come."""
    served = HEAD + b"\r\n"
    sendings = [
        (b"", b""),
        (b"G", b""),
        (b"\r\n", b"\r\n"),
        (HEAD, b"x"),
        (served, b"\r\n"),
        (served + HEAD, b"x"),
    ]
    with ThreadPoolExecutor(len(sendings)) as clients:
        for seconds in clients.map(lambda sending: _trickle(either, *sending), sendings):
            assert seconds < 7


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"no colon\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_a_malformed_head_is_refused(either: Service, head: bytes) -> None:
    """What is no request gets a bare 400 and the end of its connection."""
    reply = _exchange(either, head)
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert reply.endswith(b"\r\n\r\n")
    assert b"connection: close\r\n" in reply


@pytest.mark.parametrize(
    "target", [b"//health", b"*", b"http://x", b"http://x/health", b"/nowhere?\"'<>", b"/%00%ff"]
)
def test_a_strange_target_reaches_the_service(either: Service, target: bytes) -> None:
    """A target that is no path of the contract's gets the contract's own reply."""
    reply = _exchange(either, HEAD.replace(b"/health", target) + END)
    assert reply.startswith(b"HTTP/1.1 404 ")
    assert b'"ROUTE_NOT_FOUND"' in reply


def test_pipelined_requests_are_answered_in_order(either: Service) -> None:
    """Requests that are sent at once get their replies one after the other."""
    heads = [HEAD + b"x-request-id: r%d\r\n" % number for number in range(5)]
    reply = _exchange(either, b"".join(head + b"\r\n" for head in heads[:-1]) + heads[-1] + END)
    at = [reply.index(b"x-request-id: r%d\r\n" % number) for number in range(5)]
    assert at == sorted(at)


@pytest.mark.parametrize("server", SERVERS)
def test_the_end_waits_for_replies(server: str, migrated: Urls, database: psycopg.Connection) -> None:
    """A reply in flight when the service is told to end arrives whole and as the last of its connection."""
    with running(migrated, SERVER=server) as service, ThreadPoolExecutor(1) as clients:
        session = service.start()
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
            waiting = clients.submit(service.save, session["id"], 1, "in flight")
            time.sleep(0.3)
            service.process.terminate()
            time.sleep(1)
            assert not waiting.done()
            with pytest.raises(ConnectionRefusedError):
                _connected(service)
        assert waiting.result().json()["answers"] == {"1": "in flight"}
        assert waiting.result().headers["connection"] == "close"
        assert service.process.wait(timeout=5) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_a_start_that_fails(server: str, fresh_database: Urls) -> None:
    """On either server a service that cannot start says why in a line and exits with 1."""
    ended = subprocess.run(
        [sys.executable, "-m", "session_service"],
        cwd=ROOT,
        env={**os.environ, **fresh_database, "PORT": str(free_port()), "SERVER": server},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert "cannot start: the database lacks migrations" in ended.stdout.splitlines()[0]
    assert "Traceback" not in ended.stdout + ended.stderr


def test_the_contract_holds_on_uvicorn() -> None:
    """All tests of the operations, of requests and of the edge, and a fuzzed run, pass on it, too."""
    fuzzed = "tests/test_contract.py::test_a_repeatable_run_finds_nothing"
    files = ["tests/operations", "tests/test_requests.py", "tests/test_edge.py", fuzzed]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *files, *REFUSED],
        cwd=ROOT,
        env={**os.environ, "SERVER": "uvicorn"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout.splitlines()[-1]


def _exchange(service: Service, *pieces: bytes) -> bytes:
    """Send the pieces, one after the other; return all that comes back until the connection ends."""
    received = b""
    with _connected(service) as connection, suppress(ConnectionError):
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.05)
        while data := connection.recv(65536):
            received += data
    return received


def _connected(service: Service) -> socket.socket:
    url = urlsplit(service.url)
    return socket.create_connection((url.hostname or "", url.port or 0), timeout=10)


def _trickle(service: Service, start: bytes, more: bytes) -> float:
    """Send a start, then more of it twice a second until the connection ends; return how long that took."""
    started = time.monotonic()
    with _connected(service) as connection, suppress(ConnectionError):
        connection.sendall(start)
        connection.settimeout(0.5)
        while _goes_on(connection) and time.monotonic() - started < 10:
            connection.sendall(more)
    return time.monotonic() - started


def _goes_on(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(65536))
    except TimeoutError:
        return True
