"""Tests of responses on the connection: one write each, no second validation, write timeouts."""

import asyncio
import re
from collections.abc import Iterable
from socket import socket
from typing import Any, cast
from unittest.mock import Mock

import pytest
from attrs import define, field
from h11._util import validate
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from session_service.api.responses import Response
from session_service.server import connections
from session_service.server.connections import CLOSE
from session_service.server.hypercorn.connection import Connection
from session_service.server.hypercorn.task_group import TaskGroup
from session_service.server.uvicorn.protocol import Settings, StrictHttpToolsProtocol

SERVERS = ("hypercorn", "uvicorn")
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
POST = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"
ETAG = (b"etag", b'"1"')


@define(slots=False)
class RecordingTransport(asyncio.Transport):
    """A transport that records each write and whether it was closed or aborted."""

    writes: list[bytes] = field(factory=list)
    state: str = "open"
    unsent: int = 0
    connection: Mock = field(factory=lambda: Mock(spec=socket, **{"fileno.return_value": -1}))

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        if self.state == "open":
            self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def write_eof(self) -> None:
        """Ignore: nothing is written after this."""

    def pause_reading(self) -> None:
        """Ignore: nothing is read."""

    def resume_reading(self) -> None:
        """Ignore: nothing is read."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.connection if name == "socket" else default


@define
class App:
    """An application with one response to every request, once it is released."""

    response: Response
    released: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await receive()
        await self.released.wait()
        await self.response.send(send, "an-id")
        if self.response.hold_connection:
            await asyncio.Event().wait()

    def reject(self, status: int) -> tuple[Response, str]:
        """Return an early error response."""
        return Response(status, [], b"rejected"), "an-id"

    def begin_shutdown(self) -> None:
        """Do nothing."""


def _uvicorn(app: App, transport: RecordingTransport) -> StrictHttpToolsProtocol:
    config = Settings(cast("Any", app), ws="none", log_config=None)
    config.max_connections = 1
    protocol = StrictHttpToolsProtocol(config, ServerState(), {})
    protocol.connection_made(transport)
    return protocol


async def _turns() -> None:
    """Run the event loop until every task waits for input."""
    for _ in range(50):
        await asyncio.sleep(0)


async def _exchange(server: str, response: Response, *pieces: bytes) -> tuple[list[bytes], str]:
    """Serve the pieces on a connection; return its writes and its final state."""
    app, transport = App(response), RecordingTransport()
    app.released.set()
    group, reader, loop = TaskGroup(app), asyncio.StreamReader(), asyncio.get_running_loop()
    if server == "uvicorn":
        feed = _uvicorn(app, transport).data_received
    else:
        writer = asyncio.StreamWriter(transport, asyncio.StreamReaderProtocol(reader), reader, loop)
        group.spawn(Connection(group, reader, writer).run())
        feed = reader.feed_data
    for piece in pieces:
        feed(piece)
        await _turns()
    for task in asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}:
        task.cancel()
    state = transport.state
    await _turns()
    transport.close()
    return transport.writes, state


FULL = Response(200, [ETAG], b"body")
CASES: dict[str, tuple[Response, list[bytes], int, list[bytes]]] = {
    "get": (FULL, [GET], 200, [b"body"]),
    "head": (FULL, [HEAD], 200, [b""]),
    "empty": (Response(200, [], b""), [GET], 200, [b""]),
    "304": (Response(304, [ETAG]), [GET], 304, [b""]),
    "204": (Response(204, []), [GET], 204, [b""]),
    "keep-alive": (FULL, [GET, HEAD, GET], 200, [b"body", b"", b"body"]),
    "pipelined": (FULL, [GET + GET + GET], 200, [b"body"] * 3),
    "held": (Response(503, [], b"body", hold_connection=1.0), [GET], 503, [b"body"]),
    "large": (Response(200, [], b"x" * 300_000), [GET], 200, [b"x" * 300_000]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("server", SERVERS)
def test_a_response_is_one_write(server: str, case: tuple[Response, list[bytes], int, list[bytes]]) -> None:
    """Each response is one write of headers and body, in order, and the connection stays open."""
    response, pieces, status, bodies = case
    writes, state = asyncio.run(_exchange(server, response, *pieces))
    heads, written = zip(*(one.split(b"\r\n\r\n", 1) for one in writes), strict=True)
    assert list(written) == bodies
    for head in heads:
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"x-request-id: an-id\r\n" in head + b"\r\n"
        assert (b"content-length: " in head) == (response.body is not None)
        assert b"transfer-encoding" not in head.lower()
        assert b"connection" not in head.lower()
    assert state == "open"


@pytest.mark.parametrize(
    ("headers", "request_"),
    [
        ([CLOSE], GET),
        ([], GET.replace(b"1.1", b"1.0")),
        ([], GET[:-2] + b"connection: close\r\n\r\n"),
    ],
    ids=["response", "version", "request"],
)
@pytest.mark.parametrize("server", SERVERS)
def test_the_last_response_closes_the_connection(
    server: str, headers: list[tuple[bytes, bytes]], request_: bytes
) -> None:
    """With `Connection: close` in the request or the response, or HTTP/1.0, the connection is closed."""
    writes, state = asyncio.run(_exchange(server, Response(408, headers, b"body"), request_))
    (written,) = writes
    assert written.lower().count(b"\r\nconnection: close\r\n") == 1
    assert written.endswith(b"\r\n\r\nbody")
    assert state == "closed"


@pytest.mark.parametrize("server", SERVERS)
def test_the_interim_response_is_a_separate_write(server: str) -> None:
    """Expect: 100-continue gets 100 before the body is sent, and the response after it."""
    writes, _ = asyncio.run(_exchange(server, FULL, POST, b"x"))
    interim, response = writes
    assert interim.startswith(b"HTTP/1.1 100 ")
    assert response.startswith(b"HTTP/1.1 200 ")


def test_hypercorn_does_not_validate_response_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Hypercorn, h11 does not validate response headers again."""
    validated: list[bytes] = []

    def recorded(regex: re.Pattern[bytes], data: bytes, *rest: Any) -> dict[str, bytes]:
        validated.append(data)
        return validate(regex, data, *rest)

    monkeypatch.setattr("h11._headers.validate", recorded)
    asyncio.run(_exchange("hypercorn", FULL, GET))
    assert validated == [b"4"], "only the length of the body"


def test_uvicorn_does_not_validate_response_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On uvicorn, response headers are not validated again."""
    monkeypatch.setattr(httptools_impl, "HEADER_RE", None)
    monkeypatch.setattr(httptools_impl, "HEADER_VALUE_RE", None)
    writes, _ = asyncio.run(_exchange("uvicorn", FULL, GET))
    assert writes[0].startswith(b"HTTP/1.1 200 ")


class _WrongLength(Response):
    """A response whose last Content-Length is that in its own headers."""

    def encoded_headers(self, request_id: str) -> list[tuple[bytes, bytes]]:
        return [*super().encoded_headers(request_id), *self.headers]


@pytest.mark.parametrize("length", [b"3", b"5"])
def test_a_body_with_a_wrong_content_length_is_not_sent(length: bytes) -> None:
    """A body that differs from Content-Length ends the connection before a byte of it is sent."""
    response = _WrongLength(200, [(b"content-length", length)], b"body")
    writes, state = asyncio.run(_exchange("uvicorn", response, GET))
    assert writes == []
    assert state == "closed"


def test_no_response_is_written_to_a_lost_connection() -> None:
    """Of pipelined requests the first, too, is disconnected: its response is not written."""

    async def run() -> list[bytes]:
        app, transport = App(FULL), RecordingTransport()
        protocol = _uvicorn(app, transport)
        protocol.data_received(GET + GET)
        await _turns()
        protocol.connection_lost(None)
        app.released.set()
        await _turns()
        return transport.writes

    assert asyncio.run(run()) == []


async def _state_after(*, pause: bool = False, resume: bool = False, idle: bool = False) -> str:
    """Return the state of a connection with unsent data after more than a tick of its write timeout."""
    transport = RecordingTransport(unsent=1)
    protocol = _uvicorn(App(FULL), transport)
    if pause:
        protocol.pause_writing()
    if resume:
        protocol.resume_writing()
    if idle:
        protocol.timeout_keep_alive_handler()
    await asyncio.sleep(1.2)
    return transport.state


@pytest.fixture
def _one_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_WRITE_TIMEOUT", 1)


@pytest.mark.usefixtures("_one_tick")
def test_write_timeout_while_writing_is_paused() -> None:
    """A client that does not read is cut off while the transport has too much unsent data."""
    assert asyncio.run(_state_after(pause=True)) == "aborted"


@pytest.mark.usefixtures("_one_tick")
def test_no_write_timeout_after_writing_resumes() -> None:
    """A client that has read enough is not cut off."""
    assert asyncio.run(_state_after(pause=True, resume=True)) == "open"


@pytest.mark.usefixtures("_one_tick")
def test_write_timeout_after_the_keep_alive_timeout() -> None:
    """An idle connection that is closed with unsent data does not stay for longer."""
    assert asyncio.run(_state_after(idle=True)) == "aborted"
