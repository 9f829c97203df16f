"""Clients that are broken, sly, slow or many: none is followed, waited for without end, or a leak."""

import asyncio
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import psycopg
import pytest
from attrs import astuple, frozen

from tests.conformance import PATHS
from tests.conftest import Urls
from tests.faults.corpus import CHUNKED, CLEAR, GET, LAST, POST, UNCLEAR
from tests.service import Service, running
from tests.wire import HEALTH, REFUSED, Asked, connected, exchange, replies

SERVERS = ("hypercorn", "uvicorn")
INSIDE = str(Path(__file__).parent)
STARTED: Asked = REFUSED
FILES = 256
BODY = b" " * 2_000_000
CHUNKS = b"%x\r\n%s\r\n" % (50_000, BODY[:50_000]) * 40 + b"0\r\n\r\n"
BUNDLE = b"/docs/swagger-ui-bundle.js"
RESET = struct.pack("ii", 1, 0)


@frozen
class Held:
    """What a service has open for its clients or under way; its connections to the stores come and go."""

    connections: int
    files: int
    tasks: int

    @classmethod
    def by(cls, service: Service) -> "Held":
        """Count it now, with the one connection of the test's own client."""
        service.client.get("/health")
        process, port = psutil.Process(service.process.pid), urlsplit(service.url).port
        sockets = process.net_connections("all")
        clients = [one for one in sockets if one.family != socket.AF_UNIX and one.laddr.port == port]
        return cls(len(clients), process.num_fds() - len(sockets), _tasks(service))

    def excess(self, service: Service) -> list[tuple[int, int]]:
        """Wait until the service holds no more than this; return where it does so even after 5 s."""
        # What waits for a body in vain ends after 10 s by itself.
        _waited(lambda: not self._excess(service), 5)
        return self._excess(service)

    def _excess(self, service: Service) -> list[tuple[int, int]]:
        pairs = zip(astuple(self), astuple(Held.by(service)), strict=True)
        return [(before, now) for before, now in pairs if now > before]


@pytest.fixture(scope="module")
def services(migrated: Urls) -> Iterator[dict[str, Service]]:
    """A service on each of the servers; nothing that a client does makes it fail."""
    with ExitStack() as stack:
        found = {
            server: stack.enter_context(running(migrated, SERVER=server, PYTHONPATH=INSIDE))
            for server in SERVERS
        }
        yield found
        for service in found.values():
            assert "Traceback" not in service.log.read_text()


@pytest.fixture(params=SERVERS)
def either(request: pytest.FixtureRequest, services: dict[str, Service]) -> Service:
    """The service on the one server, then on the other."""
    return services[request.param]


@pytest.mark.parametrize("sent", UNCLEAR.values(), ids=UNCLEAR)
def test_what_has_two_readings_has_none(either: Service, database: psycopg.Connection, sent: bytes) -> None:
    """It gets one 400, which is logged, the connection ends, and nothing that follows is a request."""
    user, smuggled = _start()
    (reply,) = exchange(either.url, sent + smuggled)
    assert (reply.status_code, reply.headers["connection"]) == (400, "close")
    assert not _has_started(database, user)
    line = f"[session-service] {reply.headers['x-request-id']} - - 400 "
    assert _waited(lambda: line in either.log.read_text(), 5)


@pytest.mark.parametrize(("sent", "asked", "status"), CLEAR.values(), ids=CLEAR)
def test_what_looks_odd_is_one_request(either: Service, sent: bytes, asked: Asked, status: int) -> None:
    """No upgrade is followed and no other host asked: what follows is a request like any other."""
    _, start = _start(b"connection: close\r\n")
    told = exchange(either.url, sent + start, asked=(asked, STARTED))
    assert [reply.status_code for reply in told] == [status, 201]


@pytest.mark.parametrize(("sent", "asked", "status"), LAST.values(), ids=LAST)
def test_nothing_follows_the_last_request(
    either: Service, database: psycopg.Connection, sent: bytes, asked: Asked, status: int
) -> None:
    """After a tunnel that was not made, or a word that it is the last one, nothing is a request."""
    user, start = _start()
    (reply,) = exchange(either.url, sent + start, asked=(asked,))
    assert (reply.status_code, reply.headers["connection"]) == (status, "close")
    assert not _has_started(database, user)


def test_a_refusal_waits_for_its_turn(either: Service) -> None:
    """What was asked before it is answered first, and done; a request that breaks off is not."""
    _, start = _start()
    for wrong in (b"\0", CHUNKED + b"2\r\n{}0\r\n", b"GET /health HTTP/1.1\nhost: x\n\n"):
        told = exchange(either.url, start + GET + b"\r\n" + wrong, asked=(STARTED, HEALTH, REFUSED))
        assert [reply.status_code for reply in told] in ([201, 200, 400], [200, 200, 400])


def test_a_client_that_only_reads_on_is_answered(either: Service, database: psycopg.Connection) -> None:
    """Who has sent whole requests and will send no more gets the replies; half a request is not done."""
    user, start = _start()
    with connected(either.url) as connection:
        connection.sendall(GET + b"\r\n" + GET + b"\r\n" + start[:-1])
        connection.shutdown(socket.SHUT_WR)
        told = b"".join(iter(partial(connection.recv, 65536), b""))
    assert [reply.status_code for reply in replies(told, HEALTH)] == [200, 200]
    assert not _has_started(database, user)


def test_large_bodies_leave_nothing_behind(either: Service) -> None:
    """A body of 2 MB is 413 on every path, however it is framed; neither it nor one cut short is kept."""
    held = Held.by(either)
    targets = [(method, path.replace("{id}", str(uuid4()))) for path in PATHS for method in PATHS[path]]
    targets += [("POST", "/nowhere"), ("DELETE", "/health"), ("POST", "/docs")]
    with ThreadPoolExecutor(8) as clients:
        for chunked in (False, True):
            send = partial(_send_large, either.url, chunked=chunked)
            assert set(clients.map(send, targets * 2)) == {413}
        list(clients.map(partial(_break_off, either.url), range(40)))
    assert held.excess(either) == []


def test_slow_clients_are_cut_off(services: dict[str, Service]) -> None:
    """A head is waited for for 5 s, a body for 10 s, a reader for 10 s; hundreds of them hold up nobody."""
    held = [Held.by(service) for service in services.values()]
    over = Event()
    with ThreadPoolExecutor(len(services)) as clients:
        served = [clients.submit(_save_on, service, over) for service in services.values()]
        try:
            told = asyncio.run(_attack([service.url for service in services.values()]))
        finally:
            over.set()
        assert all(saves.result() for saves in served)
    slow = [replies(one, REFUSED) for one in told if one]
    assert {tuple(reply.status_code for reply in one) for one in slow} == {(408,)}
    assert len(slow) == 2 * len(told) / 3
    for before, service in zip(held, services.values(), strict=True):
        assert before.excess(service) == []


@pytest.mark.parametrize("server", SERVERS)
def test_clients_over_the_limit_of_files(server: str, migrated: Urls) -> None:
    """Those that are there are served on, with both stores; others are told 503 until there is room again."""
    settings = {"SERVER": server, "PYTHONPATH": INSIDE, "OPEN_FILES": str(FILES)}
    with running(migrated, **settings) as service, ExitStack() as crowd:
        session_id = service.start()["id"]
        held = Held.by(service)
        connections = [crowd.enter_context(connected(service.url)) for _ in range(400)]
        for number in range(20):
            assert service.save(session_id, number, "kept").status_code == 200
        assert service.client.get("/health").json()["status"] == "healthy"
        told = [_told(connection) for connection in connections]
        assert {tuple(reply.status_code for reply in replies(one, REFUSED)) for one in told} == {(), (503,)}
        crowd.close()
        assert held.excess(service) == []
        assert (
            exchange(service.url, GET + b"connection: close\r\n\r\n", asked=(HEALTH,))[0].status_code == 200
        )


async def _attack(urls: list[str]) -> list[bytes]:
    """Be slow in three ways, a hundred times each; return what was told when the connections have ended."""
    body = POST + b"content-length: 1000\r\n\r\n"
    attacks = [_trickle(url, start) for url in urls * 100 for start in (GET, body)]
    attacks += [_take_nothing(url) for url in urls * 100]
    async with asyncio.timeout(25):
        return await asyncio.gather(*attacks)


async def _trickle(url: str, start: bytes) -> bytes:
    """Send a start, then a byte twice a second until the connection ends."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    told = asyncio.create_task(_read(reader))
    writer.write(start)
    while not (await asyncio.wait({told}, timeout=0.5))[0]:
        writer.write(b"x")
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return await told


async def _read(reader: asyncio.StreamReader) -> bytes:
    told = b""
    with suppress(ConnectionError):
        while more := await reader.read(65536):
            told += more
    return told


async def _take_nothing(url: str) -> bytes:
    """Ask for much, and take none of it until the connection is reset."""
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0)
        await loop.sock_connect(connection, (parts.hostname, parts.port))
        await loop.sock_sendall(connection, (GET.replace(b"/health", BUNDLE) + b"\r\n") * 4)
        while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # noqa: ASYNC110 - only asked, it tells
            await asyncio.sleep(0.2)
    return b""


def _save_on(service: Service, over: Event) -> int:
    """Save, one answer after the other, until it is over; return how many there were."""
    session_id = service.start()["id"]
    saves = 0
    while not over.is_set():
        assert service.save(session_id, 1, f"answer {saves}").status_code == 200
        saves += 1
    return saves


def _send_large(url: str, target: Asked, *, chunked: bool) -> int:
    method, path = target
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".encode()
    if chunked:
        sent = head + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS
    else:
        sent = head + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    (reply,) = exchange(url, sent, asked=(target,))
    return reply.status_code


def _break_off(url: str, number: int) -> None:
    """Send less than was announced, then end the connection, or reset it."""
    with connected(url) as connection:
        connection.sendall(POST + b"content-length: 3000000\r\n\r\n" + BODY)
        if number % 2:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(65536) == b""
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def _start(header: bytes = b"") -> tuple[str, bytes]:
    """Return a new user, and a request that starts a session for it."""
    user = f"user-{uuid4()}"
    body = b'{"user_id": "%s", "quiz_id": 7}' % user.encode()
    return user, POST + header + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def _has_started(database: psycopg.Connection, user: str) -> bool:
    return bool(database.execute("select from quiz_sessions where user_id = %s", [user]).fetchall())


def _told(connection: socket.socket) -> bytes:
    """Return what has come on a connection by now."""
    connection.settimeout(0)
    with suppress(BlockingIOError):
        return connection.recv(65536)
    return b""


def _tasks(service: Service) -> int:
    """Return how many tasks the service has, as it tells itself."""
    before = service.log.read_text().count("tasks: ")
    service.process.send_signal(signal.SIGUSR2)
    assert _waited(lambda: service.log.read_text().count("tasks: ") > before, 5)
    return int(re.findall(r"tasks: (\d+)", service.log.read_text())[-1])


def _waited(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for the condition; tell whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()
