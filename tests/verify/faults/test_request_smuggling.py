"""Tests of request smuggling: a body is never parsed as a request, and one request gets one response."""

import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import product
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Urls
from tests.support.corpus import POST
from tests.support.raw_http import ANY_TARGET, Target, connected, parse_responses
from tests.support.service import Service, running
from tests.support.waiting import eventually

SERVERS = ("hypercorn", "uvicorn")
START: Target = ANY_TARGET
LIVE: Target = ("GET", "/health/live")
PROGRESS = f"/api/sessions/{uuid4()}/progress"
REQUESTS: tuple[Target, ...] = (
    LIVE,
    ("HEAD", "/health/live"),
    START,
    ("PUT", PROGRESS),
    ("PATCH", PROGRESS),
    ("DELETE", "/health/live"),
    ("OPTIONS", "/health/live"),
)
UPGRADES = {
    "none": b"",
    "websocket": b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
    "any": b"connection: keep-alive, upgrade\r\nupgrade: foo/2\r\n",
    "several values": b"connection: upgrade\r\nupgrade: TLS/1.0, h2c\r\n",
    "several headers": b"connection: upgrade\r\nupgrade: h2c\r\n" * 2,
    "a proxy's own option": b"proxy-connection: upgrade\r\nupgrade: h2c\r\n",
    "without a connection option": b"upgrade: websocket\r\n",
    "without a protocol": b"connection: upgrade\r\n",
}
SMUGGLED = b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-request-id: SMUGGLED\r\n\r\n"
# Header fields of each framing, and the body.
FRAMINGS = {
    "none": (b"", b""),
    "empty": (b"content-length: 0\r\n", b""),
    "length": (b"content-length: %d\r\n" % len(SMUGGLED), SMUGGLED),
    "chunked": (b"transfer-encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    "trailers": (
        b"transfer-encoding: chunked\r\ntrailer: x-request-id\r\n",
        b"%x;a=b\r\n%b\r\n0\r\nx-request-id: SMUGGLED\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
    ),
}
CHUNKED_FRAMINGS = {"chunked", "trailers"}


@pytest.fixture(scope="module")
def services(migrated: Urls) -> Iterator[dict[str, Service]]:
    """A service on each server; after the tests no log has a line of a smuggled request."""
    with ExitStack() as stack:
        found = {server: stack.enter_context(running(migrated, SERVER=server)) for server in SERVERS}
        yield found
        for service in found.values():
            assert "SMUGGLED" not in service.log.read_text()


@pytest.fixture(params=SERVERS)
def either(request: pytest.FixtureRequest, services: dict[str, Service]) -> Service:
    """The service on Hypercorn, then on uvicorn."""
    return services[request.param]


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_smuggling_in_a_body(either: Service, upgrade: bytes) -> None:
    """Each method, framing and upgrade gets one response and one log line, and so does the next request."""
    served: list[str] = []
    for (method, path), (framing, (fields, body)) in product(REQUESTS, FRAMINGS.items()):
        own, following = f"own-{uuid4()}", f"following-{uuid4()}"
        first = _request(method, path, fields + upgrade, own) + body
        responses = _exchange(either, [first + _last(following)], (method, path), LIVE)
        ids = [response.headers["x-request-id"] for response in responses]
        assert ids == [own, following], f"{method} {framing}"
        served += ids
    eventually(lambda: _logged(either, served) == Counter(served), lambda: _logged(either, served))


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_smuggling_in_a_body_of_http_1_0(either: Service, upgrade: bytes) -> None:
    """HTTP/1.0 gets one response and ends the connection; Transfer-Encoding is 400 (RFC 9112, 6.1)."""
    for (method, path), (framing, (fields, body)) in product(REQUESTS, FRAMINGS.items()):
        first = _request(method, path, fields + upgrade, "own").replace(b"HTTP/1.1", b"HTTP/1.0") + body
        rejected = framing in CHUNKED_FRAMINGS
        (response,) = _exchange(
            either, [first + _last("SMUGGLED")], ANY_TARGET if rejected else (method, path)
        )
        assert (response.status_code == 400) == rejected or method in {"POST", "PUT", "PATCH"}
        assert response.headers["connection"] == "close", f"{method} {framing}"


def test_smuggling_in_a_body_of_connect(either: Service) -> None:
    """A CONNECT gets one response and ends its connection, whatever follows its headers."""
    for fields, body in FRAMINGS.values():
        sent = _request("CONNECT", "x:80", fields, "own") + body + _last("SMUGGLED")
        (response,) = _exchange(either, [sent], ("GET", "/nowhere"))
        assert (response.status_code, response.headers["connection"]) == (404, "close")


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("split", ["whole", "head and body", "bytes"])
def test_bodies_with_an_upgrade_are_read(either: Service, upgrade: bytes, split: str) -> None:
    """A body with an upgrade is read, in pieces of any size, and so is the next one."""
    user = f"user-{uuid4()}"
    body = b'{"user_id": "%s", "quiz_id": 7}' % user.encode()
    parts = (body[:5], len(body) - 5, body[5:])
    framed = (
        b"content-length: %d\r\n\r\n%b" % (len(body), body),
        b"transfer-encoding: chunked\r\n\r\n5\r\n%b\r\n%x\r\n%b\r\n0\r\na: b\r\n\r\n" % parts,
    )
    for expect, rest in product((b"", b"expect: 100-continue\r\n"), framed):
        sent = (POST + upgrade + expect + rest) * 2 + _last("last")
        responses = _exchange(either, _pieces(sent, split), START, START, LIVE)
        assert [response.status_code for response in responses] == [201, 201, 200]
        assert {response.json()["user_id"] for response in responses[:2]} == {user}


def test_http_1_0_gets_no_interim_response(either: Service) -> None:
    """Expect in HTTP/1.0 is ignored: there is no interim response (RFC 9110, 10.1.1)."""
    fields = b"expect: 100-continue\r\ncontent-length: 2\r\n"
    sent = _request(*START, fields, "own").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert _send(either, [sent, b"{}"]).startswith(b"HTTP/1.1 415 ")


def test_trailers_are_not_headers(either: Service) -> None:
    """A trailer field is ignored (RFC 9110, 6.5.1): a Content-Type there has no effect."""
    body = b'{"user_id": "ada", "quiz_id": 7}'
    head = _request(*START, b"transfer-encoding: chunked\r\n", "own")
    chunks = b"%x\r\n%b\r\n0\r\ncontent-type: application/json\r\n\r\n" % (len(body), body)
    for upgrade, pieces in product((b"", UPGRADES["websocket"]), ([head + chunks], [head, chunks])):
        sent = [piece.replace(b"\r\nhost", b"\r\n" + upgrade + b"host", 1) for piece in pieces]
        responses = _exchange(either, [*sent, _last("last")], START, LIVE)
        assert [response.status_code for response in responses] == [415, 200]


@pytest.mark.parametrize("path", ["/health/live", "/api/sessions/start"])
@pytest.mark.parametrize(
    "trailers",
    [
        b"connection: close\r\n",
        b"proxy-connection: close\r\n",
        b"connection:close , x\r\n",
        b"connection: close\r\nconnection: keep-alive\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
    ],
)
@pytest.mark.parametrize("split", ["whole", "requests"])
def test_trailers_do_not_swallow_the_next_request(
    either: Service, path: str, trailers: bytes, split: str
) -> None:
    """After trailers the next request gets its response, or the connection ends with the response before."""
    own = _request("POST", path, b"transfer-encoding: chunked\r\n", "own") + b"0\r\n" + trailers + b"\r\n"
    pieces = [own + _last("last")] if split == "whole" else [own, _last("last")]
    responses = _exchange(either, pieces, ("POST", path), LIVE)
    if len(responses) == 1:
        assert responses[0].headers["connection"] == "close"
    assert [response.status_code for response in responses[1:]] in ([], [200])


def test_trailers_are_limited(either: Service) -> None:
    """Trailers over 16 KiB or 100 lines are 431, complete or not."""
    head = POST + b"transfer-encoding: chunked\r\n\r\n20\r\n"
    start = head + b'{"user_id": "ada", "quiz_id": 7}\r\n0\r\n'
    for trailers in (b"a: b\r\n" * 110 + b"\r\n", b"a: b\r\n" * 100_000, b"a: " + b"x" * 600_000):
        (response,) = _exchange(either, [start, trailers], START)
        assert response.status_code == 431


def _request(method: str, path: str, fields: bytes, request_id: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nx-request-id: {request_id}\r\n"
    return head.encode() + fields + b"\r\n"


def _last(request_id: str) -> bytes:
    return _request(*LIVE, b"connection: close\r\n", request_id)


def _pieces(sent: bytes, split: str) -> list[bytes]:
    if split == "whole":
        return [sent]
    if split == "bytes":
        return [bytes([byte]) for byte in sent]
    return [piece for piece in re.split(rb"(?<=\r\n\r\n)", sent) if piece]


def _exchange(service: Service, pieces: list[bytes], *targets: Target) -> list[httpx.Response]:
    """Send each piece as a segment; return the responses until the connection ends."""
    return parse_responses(_send(service, pieces), *targets)


def _send(service: Service, pieces: list[bytes]) -> bytes:
    """Send each piece as a segment; return what is received until the connection ends."""
    received = b""
    with connected(service.url) as connection, suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        while more := connection.recv(65536):
            received += more
    return received


def _logged(service: Service, request_ids: list[str]) -> Counter[str]:
    """Return the number of log lines of each request."""
    found = re.findall(r"^\[session-service\] (\S+) ", service.log.read_text(), re.MULTILINE)
    return Counter(name for name in found if name in set(request_ids))
