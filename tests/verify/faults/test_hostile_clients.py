"""Tests of hostile and broken clients: request smuggling, slowloris, large bodies, many connections."""

import asyncio
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Event
from uuid import uuid4

import psutil
import psycopg
import pytest

from tests.conftest import Urls
from tests.support.conformance import PATHS
from tests.support.corpus import AMBIGUOUS, CHUNKED, CLOSING, GET, POST, VALID
from tests.support.inspection import INSIDE, unread, waiting_for_locks
from tests.support.raw_http import ANY_TARGET, HEALTH, Target, connected, exchange, parse_responses
from tests.support.resources import Resources
from tests.support.service import Service, running
from tests.support.slow_clients import (
    ALL_CONNECTED,
    BODY,
    ClosedConnection,
    SlowlorisAttack,
    abort_upload,
    send_large,
)
from tests.support.waiting import LIMIT, eventually

SERVERS = ("hypercorn", "uvicorn")
STARTED: Target = ANY_TARGET
FILES = 256
SERVED = FILES - 150 - 1  # connections, without the reserved files and the test's own client


@pytest.fixture(scope="module")
def services(migrated: Urls) -> Iterator[dict[str, Service]]:
    """A service on each server; after the tests none has logged a failure or holds more resources."""
    # A short keep-alive timeout, so that a connection that was not closed ends before its test fails.
    settings = {"PYTHONPATH": INSIDE, "KEEP_ALIVE_SECONDS": "5"}
    with ExitStack() as stack:
        found = {
            server: stack.enter_context(running(migrated, SERVER=server, **settings)) for server in SERVERS
        }
        held = {server: Resources.of(service) for server, service in found.items()}
        yield found
        for server, service in found.items():
            assert " failed\n" not in service.log.read_text()
            assert "Traceback" not in service.log.read_text()
            held[server].await_released(service)


@pytest.fixture(params=SERVERS)
def either(request: pytest.FixtureRequest, services: dict[str, Service]) -> Service:
    """The service on Hypercorn, then on uvicorn."""
    return services[request.param]


@pytest.fixture(scope="module")
def shutdown_responses(migrated: Urls) -> Iterator[Future[list[bytes]]]:
    """Responses to clients with half a body, from services that have shut down; runs beside other tests."""
    with ThreadPoolExecutor(1) as aside:
        yield aside.submit(_end, migrated)


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_request_smuggling_ambiguous_requests_are_rejected(
    either: Service, database: psycopg.Connection, sent: bytes
) -> None:
    """Request smuggling: an ambiguous request gets one 400, is logged, and ends its connection."""
    user, smuggled = _start()
    (response,) = exchange(either.url, sent + smuggled)
    assert (response.status_code, response.headers["connection"]) == (400, "close")
    assert not _has_started(database, user)
    line = f"[session-service] {response.headers['x-request-id']} - - 400 "
    eventually(lambda: line in either.log.read_text())


@pytest.mark.parametrize(("sent", "target", "status"), VALID.values(), ids=VALID)
def test_unusual_requests_are_served(either: Service, sent: bytes, target: Target, status: int) -> None:
    """An unusual but valid request is served, without an upgrade, and so is the request after it."""
    _, start = _start(b"connection: close\r\n")
    received = exchange(either.url, sent + start, targets=(target, STARTED))
    assert [response.status_code for response in received] == [status, 201]


@pytest.mark.parametrize(("sent", "target", "status"), CLOSING.values(), ids=CLOSING)
def test_request_smuggling_no_request_after_the_last(
    either: Service, database: psycopg.Connection, sent: bytes, target: Target, status: int
) -> None:
    """Request smuggling: after CONNECT, HTTP/1.0 or `Connection: close` no request is read."""
    user, start = _start()
    (response,) = exchange(either.url, sent + start, targets=(target,))
    assert (response.status_code, response.headers["connection"]) == (status, "close")
    assert not _has_started(database, user)


def test_early_errors_keep_the_pipelined_order(either: Service) -> None:
    """An early error response comes after the responses to earlier pipelined requests."""
    _, start = _start()
    for invalid in (b"\0", CHUNKED + b"2\r\n{}0\r\n", b"GET /health HTTP/1.1\nhost: x\n\n"):
        received = exchange(
            either.url, start + GET + b"\r\n" + invalid, targets=(STARTED, HEALTH, ANY_TARGET)
        )
        assert [response.status_code for response in received] in ([201, 200, 400], [200, 200, 400])


def test_early_errors_reach_a_client_that_still_sends(either: Service) -> None:
    """A client that is still sending a large body receives the early error response."""
    (response,) = exchange(either.url, b"\0\r\n\r\n" + 2 * BODY)
    assert response.status_code == 400


def test_half_closed_connections_get_their_responses(either: Service, database: psycopg.Connection) -> None:
    """A client that has half-closed its connection gets the responses to its complete requests."""
    path = f"/api/sessions/{either.start()['id']}/complete"
    complete = f"POST {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    with connected(either.url) as connection:
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [path.split("/")[3]])
            connection.sendall(GET + b"\r\n" + complete)
            connection.shutdown(socket.SHUT_WR)
            # The service has read both requests and the end of the stream.
            eventually(lambda: waiting_for_locks(database.info.dsn))
            eventually(lambda: unread(either.url) == 0)
        received = b"".join(iter(partial(connection.recv, 65536), b""))
    assert [response.status_code for response in parse_responses(received, HEALTH, ("POST", path))] == [
        200,
        200,
    ]


def test_incomplete_requests_have_no_effect(either: Service, database: psycopg.Connection) -> None:
    """An incomplete pipelined request has no effect; the complete ones before it get their responses."""
    user, start = _start()
    with connected(either.url) as connection:
        connection.sendall(GET + b"\r\n" + GET + b"\r\n" + start[:-1])
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(partial(connection.recv, 65536), b""))
    assert [response.status_code for response in parse_responses(received, HEALTH)] == [200, 200]
    assert not _has_started(database, user)


def test_large_bodies_do_not_leak(either: Service) -> None:
    """A body of 2 MB is 413 on every path, with either framing; neither it nor an aborted one leaks.

    An aborted body does not run into the timeout of a body, 408.
    """
    held, before = Resources.of(either), either.log.read_text()
    targets = [(method, path.replace("{id}", str(uuid4()))) for path in PATHS for method in PATHS[path]]
    targets += [("POST", "/nowhere"), ("DELETE", "/health"), ("POST", "/docs")]
    with ThreadPoolExecutor(8) as clients:
        for chunked in (False, True):
            send = partial(send_large, either.url, chunked=chunked)
            assert set(clients.map(send, targets * 2)) == {413}
        list(clients.map(partial(abort_upload, either.url), range(40)))
    held.await_released(either)
    assert " 408 " not in either.log.read_text().removeprefix(before)


@pytest.mark.usefixtures("shutdown_responses")
def test_slowloris_clients_are_disconnected(services: dict[str, Service]) -> None:
    """Slowloris: headers time out after 5 s, a body after 10 s, a client that reads nothing after 10 s.

    Others are served meanwhile. No client is disconnected early; of those that connected together the
    headers time out first.
    """
    held = [Resources.of(service) for service in services.values()]
    attack, over = SlowlorisAttack([service.url for service in services.values()]), Event()
    with ThreadPoolExecutor(len(services)) as clients:
        saving = [clients.submit(_save_on, service, attack, over) for service in services.values()]
        try:
            asyncio.run(attack.run())
        finally:
            over.set()
        for client in saving:
            client.result()
    closed = [event for event in attack.events if isinstance(event, ClosedConnection)]
    for kind, timeout, statuses in (("head", 5, (408,)), ("body", 10, (408,)), ("reader", 10, ())):
        found = [one for one in closed if one.kind == kind]
        received = {
            tuple(response.status_code for response in parse_responses(one.received, ANY_TARGET))
            for one in found
        }
        assert received == {statuses}
        assert timeout - 0.1 < min(one.seconds for one in found)
    heads, bodies = ([one.number for one in closed if one.kind == kind] for kind in ("head", "body"))
    order = {(one.kind, one.number): place for place, one in enumerate(closed)}
    assert all(order["head", number] < order["body", number] for number in range(len(heads)))
    assert len(heads) == len(bodies) == 200
    for before, service in zip(held, services.values(), strict=True):
        before.await_released(service)
        # Others were served before the last slow client was disconnected.
        assert attack.events.index(service.url) < attack.events.index(closed[-1])


@pytest.mark.parametrize("server", SERVERS)
def test_connections_over_the_file_limit_are_rejected(server: str, migrated: Urls) -> None:
    """Connections over the limit of open files are 503; the others are served, with both stores."""
    settings = {"SERVER": server, "PYTHONPATH": INSIDE, "OPEN_FILES": str(FILES)}
    with running(migrated, **settings) as service, ExitStack() as stack:
        path = f"/api/sessions/{service.start()['id']}"
        held = Resources.of(service)
        connections = [stack.enter_context(connected(service.url)) for _ in range(400)]
        for connection in connections:
            connection.sendall(GET.replace(b"/health", path.encode()) + b"\r\n")
        received = [_json(connection) for connection in connections]
        assert service.save(path.split("/")[3], 1, "kept").status_code == 200
        read = [response for one in received for response in parse_responses(one, ("GET", path))]
        assert Counter(response.status_code for response in read) == {200: SERVED, 503: 400 - SERVED}
        assert service.client.get("/health").json()["status"] == "healthy"
        stack.close()
        held.await_released(service)
        assert (
            exchange(service.url, GET + b"connection: close\r\n\r\n", targets=(HEALTH,))[0].status_code == 200
        )


def test_the_file_limit_is_raised(migrated: Urls) -> None:
    """The soft limit of open files is raised to the hard limit."""
    with running(migrated, PYTHONPATH=INSIDE, OPEN_FILES="256", ALL_FILES="1000") as service:
        assert psutil.Process(service.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (1000, 1000)


def test_a_burst_of_connections_is_served(either: Service) -> None:
    """A burst of a thousand connections waits in the listen backlog, and all are served."""
    either.process.send_signal(signal.SIGSTOP)
    with ExitStack() as stack:
        try:
            connections = [stack.enter_context(connected(either.url)) for _ in range(1000)]
        finally:
            either.process.send_signal(signal.SIGCONT)
        for connection in connections:
            connection.sendall(GET + b"connection: close\r\n\r\n")
        assert {connection.recv(12) for connection in connections} == {b"HTTP/1.1 200"}


def test_graceful_shutdown_does_not_wait_for_slow_bodies(shutdown_responses: Future[list[bytes]]) -> None:
    """Graceful shutdown ends although a client has sent half a body: it gets no response, or 408."""
    assert all(
        received == b"" or received.startswith(b"HTTP/1.1 408 ") for received in shutdown_responses.result()
    )


def _save_on(service: Service, attack: SlowlorisAttack, over: Event) -> None:
    """Save one answer after the other once all slow clients are connected; each is an event of the attack."""
    session_id = service.start()["id"]
    eventually(lambda: ALL_CONNECTED in attack.events)
    while not over.is_set():
        assert service.save(session_id, 1, f"answer {len(attack.events)}").status_code == 200
        attack.events.append(service.url)


def _start(header: bytes = b"") -> tuple[str, bytes]:
    """Return a new user and a request that starts a session for it."""
    user = f"user-{uuid4()}"
    body = b'{"user_id": "%s", "quiz_id": 7}' % user.encode()
    return user, POST + header + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def _has_started(database: psycopg.Connection, user: str) -> bool:
    return bool(database.execute("select from quiz_sessions where user_id = %s", [user]).fetchall())


def _end(env: Urls) -> list[bytes]:
    """Shut a service down on each server, with half a body received; return what the clients got."""
    with ExitStack() as stack:
        services = [stack.enter_context(running(env, SERVER=server)) for server in SERVERS]
        clients = [stack.enter_context(connected(service.url)) for service in services]
        for client, service in zip(clients, services, strict=True):
            client.sendall(POST + b"content-length: 10\r\n\r\n")
            eventually(lambda service=service: unread(service.url) == 0)  # type: ignore[misc]
            service.process.terminate()
        assert [service.process.wait(LIMIT) for service in services] == [0, 0]
        return [client.recv(65536) for client in clients]


def _json(connection: socket.socket) -> bytes:
    """Return a response whose body is a JSON object."""
    received = b""
    while not received.endswith(b"}"):
        data = connection.recv(65536)
        assert data
        received += data
    return received
