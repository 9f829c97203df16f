"""Tests of connections on both servers: header limits and timeouts, pipelining, failed starts."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpx
import pytest

from session_service.server.hypercorn.task_group import ReceiveQueue
from tests.conftest import Urls
from tests.support.raw_http import HEALTH, connected, exchange, parse_responses
from tests.support.service import Service, failed_start, running
from tests.support.waiting import LIMIT

SERVERS = ("hypercorn", "uvicorn")
HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"
END = b"connection: close\r\n\r\n"


@pytest.fixture(scope="module", params=SERVERS)
def either(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service on Hypercorn, then on uvicorn."""
    with running(migrated, SERVER=request.param) as service:
        yield service


def test_large_headers_are_accepted(either: Service) -> None:
    """Headers of 12 KiB are accepted, whole or in pieces; the response has a Date and no Server."""
    pieces = [HEAD[:20], HEAD[20:], b"x: " + b"x" * 12_000 + b"\r\n", END]
    for sent in ([b"".join(pieces)], pieces):
        (response,) = exchange(either.url, *sent, targets=(HEALTH,))
        assert response.status_code == 200
        assert "date" in response.headers
        assert "server" not in response.headers


def test_responses_have_a_current_date(either: Service) -> None:
    """The Date of a response is less than two seconds old."""
    for _ in range(2):
        before = time.time()
        (response,) = exchange(either.url, HEAD + END, targets=(HEALTH,))
        date = parsedate_to_datetime(response.headers["date"]).timestamp()
        assert before - 2 < date <= time.time()
        time.sleep(2)


def test_header_limits(either: Service) -> None:
    """Headers have at most 16 KiB and 100 lines; one byte or line more is 431, complete or not."""
    room = 16 * 1024 - len(HEAD + b"x: \r\n" + END)
    fits = (b"x: %s\r\n" % (b"x" * room), b"x: x\r\n" * 98)
    too_large = (b"x: %s\r\n" % (b"x" * (room + 1)), b"x: x\r\n" * 99, b"x: %s\r\n" % (b"x" * 1000) * 80)
    unterminated = (b"x: " + b"x" * 80_000, b"x: %s\r\n" % (b"x" * 1000) * 80)
    cases = [(200, [HEAD + lines + END]) for lines in fits] + [(200, [HEAD, lines, END]) for lines in fits]
    cases += [(431, [HEAD + lines + END]) for lines in too_large] + [
        (431, [HEAD, lines, END]) for lines in too_large
    ]
    cases += [(431, [HEAD + lines]) for lines in unterminated] + [
        (431, [HEAD, lines]) for lines in unterminated
    ]
    for status, sent in cases:
        received = exchange(either.url, *sent, targets=(HEALTH,))
        assert [response.status_code for response in received] == [status]


def test_slowloris_headers_time_out(either: Service) -> None:
    """Slowloris: headers that take longer than 5 s are 408; without a byte the connection is closed."""
    served = HEAD + b"\r\n"
    cases: dict[tuple[bytes, bytes], list[int]] = {
        (b"", b""): [],
        (b"G", b""): [408],
        (b"\r\n", b"\r\n"): [],
        (HEAD, b"x"): [408],
        (served + HEAD, b"x"): [200, 408],
    }
    with ThreadPoolExecutor(len(cases)) as clients:
        received = clients.map(lambda sent: _trickle(either.url, *sent), cases)
        for statuses, responses in zip(cases.values(), received, strict=True):
            assert [response.status_code for response in responses] == statuses


def test_pipelined_responses_are_in_order(either: Service) -> None:
    """Pipelined requests get their responses in order."""
    heads = [HEAD + b"x-request-id: r%d\r\n" % number for number in range(5)]
    sent = b"".join(head + b"\r\n" for head in heads[:-1]) + heads[-1] + END
    received = exchange(either.url, sent, targets=(HEALTH,))
    assert [response.headers["x-request-id"] for response in received] == [
        f"r{number}" for number in range(5)
    ]


def test_a_disconnect_is_delivered_to_a_full_queue() -> None:
    """A disconnect is delivered although the application no longer reads the full receive queue."""

    async def fill() -> list[str]:
        queue = ReceiveQueue()
        pieces = [asyncio.create_task(queue.put({"type": "http.request"})) for _ in range(20)]
        await asyncio.sleep(0)
        assert not all(piece.done() for piece in pieces)
        async with asyncio.timeout(LIMIT):
            await queue.put({"type": "http.disconnect"})
            await asyncio.gather(*pieces)
        return [(await queue.get())["type"] for _ in range(22)]

    assert asyncio.run(fill()) == ["http.request"] * 20 + ["http.disconnect"] * 2


@pytest.mark.parametrize("server", SERVERS)
def test_a_failed_start_exits_with_its_reason(server: str, fresh_database: Urls) -> None:
    """A failed start logs one line with the reason, without a traceback, and exits with status 1."""
    output = failed_start({**fresh_database, "SERVER": server})
    assert "cannot start: the database lacks migrations" in output.splitlines()[0]
    assert "Traceback" not in output


def _trickle(url: str, start: bytes, more: bytes) -> list[httpx.Response]:
    """Send a start, then more of it twice a second; return the responses when the connection ends."""
    received = b""
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
                received += data
    return parse_responses(received, HEALTH)
