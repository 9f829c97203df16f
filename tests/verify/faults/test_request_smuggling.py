"""Request smuggling: whatever a request says, its body is its body, and one request gets one reply."""

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
from tests.support.raw_http import REFUSED, Asked, connected, replies
from tests.support.service import Service, running
from tests.support.waiting import eventually

SERVERS = ("hypercorn", "uvicorn")
START: Asked = REFUSED
LIVE: Asked = ("GET", "/health/live")
PROGRESS = f"/api/sessions/{uuid4()}/progress"
REQUESTS: tuple[Asked, ...] = (
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
# The header fields of a framing, and what is sent after the head.
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
    """A service on each server; at the end no log has a line of a request that was a body."""
    with ExitStack() as stack:
        found = {server: stack.enter_context(running(migrated, SERVER=server)) for server in SERVERS}
        yield found
        for service in found.values():
            assert "SMUGGLED" not in service.log.read_text()


@pytest.fixture(params=SERVERS)
def either(request: pytest.FixtureRequest, services: dict[str, Service]) -> Service:
    """The service on the one server, then on the other."""
    return services[request.param]


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_a_body_is_no_request(either: Service, upgrade: bytes) -> None:
    """Each method with each framing gets one reply and one log line, and so does the request after it."""
    served: list[str] = []
    for (method, path), (framing, (fields, body)) in product(REQUESTS, FRAMINGS.items()):
        own, following = f"own-{uuid4()}", f"following-{uuid4()}"
        first = _request(method, path, fields + upgrade, own) + body
        answered = _exchange(either, [first + _last(following)], (method, path), LIVE)
        ids = [reply.headers["x-request-id"] for reply in answered]
        assert ids == [own, following], f"{method} {framing}"
        served += ids
    eventually(lambda: _logged(either, served) == Counter(served), lambda: _logged(either, served))


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_a_body_of_http_1_0_is_no_request(either: Service, upgrade: bytes) -> None:
    """Each method gets one reply, which is the last one; a transfer coding is 400 (RFC 9112, 6.1)."""
    for (method, path), (framing, (fields, body)) in product(REQUESTS, FRAMINGS.items()):
        first = _request(method, path, fields + upgrade, "own").replace(b"HTTP/1.1", b"HTTP/1.0") + body
        refused = framing in CHUNKED_FRAMINGS
        (reply,) = _exchange(either, [first + _last("SMUGGLED")], REFUSED if refused else (method, path))
        assert (reply.status_code == 400) == refused or method in {"POST", "PUT", "PATCH"}
        assert reply.headers["connection"] == "close", f"{method} {framing}"


def test_a_body_of_connect_is_no_request(either: Service) -> None:
    """A tunnel that was not made gets one reply, which is the last one, whatever comes after its head."""
    for fields, body in FRAMINGS.values():
        sent = _request("CONNECT", "x:80", fields, "own") + body + _last("SMUGGLED")
        (reply,) = _exchange(either, [sent], ("GET", "/nowhere"))
        assert (reply.status_code, reply.headers["connection"]) == (404, "close")


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("split", ["whole", "head and body", "bytes"])
def test_a_body_is_read(either: Service, upgrade: bytes, split: str) -> None:
    """A start that offers an upgrade has its body read, in whatever pieces it comes, and so has the next."""
    user = f"user-{uuid4()}"
    body = b'{"user_id": "%s", "quiz_id": 7}' % user.encode()
    parts = (body[:5], len(body) - 5, body[5:])
    framed = (
        b"content-length: %d\r\n\r\n%b" % (len(body), body),
        b"transfer-encoding: chunked\r\n\r\n5\r\n%b\r\n%x\r\n%b\r\n0\r\na: b\r\n\r\n" % parts,
    )
    for expect, rest in product((b"", b"expect: 100-continue\r\n"), framed):
        sent = (POST + upgrade + expect + rest) * 2 + _last("last")
        answered = _exchange(either, _pieces(sent, split), START, START, LIVE)
        assert [reply.status_code for reply in answered] == [201, 201, 200]
        assert {reply.json()["user_id"] for reply in answered[:2]} == {user}


def test_http_1_0_gets_no_interim_reply(either: Service) -> None:
    """To HTTP/1.0 a 100 would be the reply: what it expects is ignored (RFC 9110, 10.1.1)."""
    fields = b"expect: 100-continue\r\ncontent-length: 2\r\n"
    sent = _request(*START, fields, "own").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert _send(either, [sent, b"{}"]).startswith(b"HTTP/1.1 415 ")


def test_a_trailer_is_no_header(either: Service) -> None:
    """A trailer field is ignored (RFC 9110, 6.5.1): here it would say what the body is."""
    body = b'{"user_id": "ada", "quiz_id": 7}'
    head = _request(*START, b"transfer-encoding: chunked\r\n", "own")
    chunks = b"%x\r\n%b\r\n0\r\ncontent-type: application/json\r\n\r\n" % (len(body), body)
    for upgrade, pieces in product((b"", UPGRADES["websocket"]), ([head + chunks], [head, chunks])):
        sent = [piece.replace(b"\r\nhost", b"\r\n" + upgrade + b"host", 1) for piece in pieces]
        answered = _exchange(either, [*sent, _last("last")], START, LIVE)
        assert [reply.status_code for reply in answered] == [415, 200]


def test_trailers_have_bounds(either: Service) -> None:
    """Trailers over 16 KiB or 100 lines are 431, ended or not, and nothing is done of their request."""
    head = POST + b"transfer-encoding: chunked\r\n\r\n20\r\n"
    start = head + b'{"user_id": "ada", "quiz_id": 7}\r\n0\r\n'
    for trailers in (b"a: b\r\n" * 110 + b"\r\n", b"a: b\r\n" * 100_000, b"a: " + b"x" * 600_000):
        (reply,) = _exchange(either, [start, trailers], START)
        assert reply.status_code == 431


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


def _exchange(service: Service, pieces: list[bytes], *asked: Asked) -> list[httpx.Response]:
    """Send each piece as a segment of its own; return the replies that come until the connection ends."""
    return replies(_send(service, pieces), *asked)


def _send(service: Service, pieces: list[bytes]) -> bytes:
    """Send each piece as a segment of its own; return what comes until the connection ends."""
    received = b""
    with connected(service.url) as connection, suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        while more := connection.recv(65536):
            received += more
    return received


def _logged(service: Service, request_ids: list[str]) -> Counter[str]:
    """Return how many lines of the log each of these requests has."""
    found = re.findall(r"^\[session-service\] (\S+) ", service.log.read_text(), re.MULTILINE)
    return Counter(name for name in found if name in set(request_ids))
