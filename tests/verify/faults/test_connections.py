"""Clients that are broken, sly, slow or many: none is followed, waited for without end, or a leak."""

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
from tests.support.corpus import CHUNKED, CLEAR, GET, LAST, POST, UNCLEAR
from tests.support.inspection import INSIDE, unread, waiting_for_locks
from tests.support.raw_http import HEALTH, REFUSED, Asked, connected, exchange, replies
from tests.support.resources import Held
from tests.support.service import Service, running
from tests.support.slow_clients import BEGUN, BODY, Attack, Ended, break_off, send_large
from tests.support.waiting import LIMIT, eventually

SERVERS = ("hypercorn", "uvicorn")
STARTED: Asked = REFUSED
FILES = 256
SERVED = (
    FILES - 150 - 1
)  # but for the files of the service's own, and the connection of the test's own client


@pytest.fixture(scope="module")
def services(migrated: Urls) -> Iterator[dict[str, Service]]:
    """A service on each of the servers; nothing that a client does makes it fail."""
    # A connection that should have ended does so before its test fails for want of an end.
    settings = {"PYTHONPATH": INSIDE, "KEEP_ALIVE_SECONDS": "5"}
    with ExitStack() as stack:
        found = {
            server: stack.enter_context(running(migrated, SERVER=server, **settings)) for server in SERVERS
        }
        held = {server: Held.by(service) for server, service in found.items()}
        yield found
        for server, service in found.items():
            assert " failed\n" not in service.log.read_text()
            assert "Traceback" not in service.log.read_text()
            held[server].await_no_more(service)


@pytest.fixture(params=SERVERS)
def either(request: pytest.FixtureRequest, services: dict[str, Service]) -> Service:
    """The service on the one server, then on the other."""
    return services[request.param]


@pytest.fixture(scope="module")
def ended(migrated: Urls) -> Iterator[Future[list[bytes]]]:
    """What clients with half a request were told by services that have ended; to wait for, beside others."""
    with ThreadPoolExecutor(1) as aside:
        yield aside.submit(_end, migrated)


@pytest.mark.parametrize("sent", UNCLEAR.values(), ids=UNCLEAR)
def test_what_has_two_readings_has_none(either: Service, database: psycopg.Connection, sent: bytes) -> None:
    """It gets one 400, which is logged, the connection ends, and nothing that follows is a request."""
    user, smuggled = _start()
    (reply,) = exchange(either.url, sent + smuggled)
    assert (reply.status_code, reply.headers["connection"]) == (400, "close")
    assert not _has_started(database, user)
    line = f"[session-service] {reply.headers['x-request-id']} - - 400 "
    eventually(lambda: line in either.log.read_text())


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


def test_a_refusal_reaches_who_sends_on(either: Service) -> None:
    """A client that is in the middle of sending much reads why nobody listens, before it is cut off."""
    (reply,) = exchange(either.url, b"\0\r\n\r\n" + 2 * BODY)
    assert reply.status_code == 400


def test_a_client_that_only_reads_on_is_answered(either: Service, database: psycopg.Connection) -> None:
    """Who has sent whole requests and will send no more gets the replies, however late they are."""
    path = f"/api/sessions/{either.start()['id']}/complete"
    complete = f"POST {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    with connected(either.url) as connection:
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [path.split("/")[3]])
            connection.sendall(GET + b"\r\n" + complete)
            connection.shutdown(socket.SHUT_WR)
            # It has both requests, and knows that no more will come.
            eventually(lambda: waiting_for_locks(database.info.dsn))
            eventually(lambda: unread(either.url) == 0)
        told = b"".join(iter(partial(connection.recv, 65536), b""))
    assert [reply.status_code for reply in replies(told, HEALTH, ("POST", path))] == [200, 200]


def test_half_a_request_is_not_done(either: Service, database: psycopg.Connection) -> None:
    """What breaks off has no reply, and those before it have theirs."""
    user, start = _start()
    with connected(either.url) as connection:
        connection.sendall(GET + b"\r\n" + GET + b"\r\n" + start[:-1])
        connection.shutdown(socket.SHUT_WR)
        told = b"".join(iter(partial(connection.recv, 65536), b""))
    assert [reply.status_code for reply in replies(told, HEALTH)] == [200, 200]
    assert not _has_started(database, user)


def test_large_bodies_leave_nothing_behind(either: Service) -> None:
    """A body of 2 MB is 413 on every path, however it is framed; neither it nor one cut short is kept.

    Of one cut short nothing is waited for: it would be 408.
    """
    held, before = Held.by(either), either.log.read_text()
    targets = [(method, path.replace("{id}", str(uuid4()))) for path in PATHS for method in PATHS[path]]
    targets += [("POST", "/nowhere"), ("DELETE", "/health"), ("POST", "/docs")]
    with ThreadPoolExecutor(8) as clients:
        for chunked in (False, True):
            send = partial(send_large, either.url, chunked=chunked)
            assert set(clients.map(send, targets * 2)) == {413}
        list(clients.map(partial(break_off, either.url), range(40)))
    held.await_no_more(either)
    assert " 408 " not in either.log.read_text().removeprefix(before)


@pytest.mark.usefixtures("ended")
def test_slow_clients_are_cut_off(services: dict[str, Service]) -> None:
    """A head is waited for for 5 s, a body for 10 s, a reader for 10 s; hundreds of them hold up nobody.

    None is cut off before its time, and of those that came together the head goes before the body.
    """
    held = [Held.by(service) for service in services.values()]
    attack, over = Attack([service.url for service in services.values()]), Event()
    with ThreadPoolExecutor(len(services)) as clients:
        saving = [clients.submit(_save_on, service, attack, over) for service in services.values()]
        try:
            asyncio.run(attack.run())
        finally:
            over.set()
        for client in saving:
            client.result()
    ended = [event for event in attack.events if isinstance(event, Ended)]
    for way, seconds, statuses in (("head", 5, (408,)), ("body", 10, (408,)), ("reader", 10, ())):
        found = [one for one in ended if one.way == way]
        told = {tuple(reply.status_code for reply in replies(one.told, REFUSED)) for one in found}
        assert told == {statuses}
        assert seconds - 0.1 < min(one.seconds for one in found)
    heads, bodies = ([one.number for one in ended if one.way == way] for way in ("head", "body"))
    order = {(one.way, one.number): place for place, one in enumerate(ended)}
    assert all(order["head", number] < order["body", number] for number in range(len(heads)))
    assert len(heads) == len(bodies) == 200
    for before, service in zip(held, services.values(), strict=True):
        before.await_no_more(service)
        # It has served others before the last of them was cut off.
        assert attack.events.index(service.url) < attack.events.index(ended[-1])


@pytest.mark.parametrize("server", SERVERS)
def test_clients_over_the_limit_of_files(server: str, migrated: Urls) -> None:
    """Those that are there are served on, with both stores; others are told 503 until there is room again."""
    settings = {"SERVER": server, "PYTHONPATH": INSIDE, "OPEN_FILES": str(FILES)}
    with running(migrated, **settings) as service, ExitStack() as crowd:
        path = f"/api/sessions/{service.start()['id']}"
        held = Held.by(service)
        connections = [crowd.enter_context(connected(service.url)) for _ in range(400)]
        for connection in connections:
            connection.sendall(GET.replace(b"/health", path.encode()) + b"\r\n")
        told = [_json(connection) for connection in connections]
        assert service.save(path.split("/")[3], 1, "kept").status_code == 200
        read = [reply for one in told for reply in replies(one, ("GET", path))]
        assert Counter(reply.status_code for reply in read) == {200: SERVED, 503: 400 - SERVED}
        assert service.client.get("/health").json()["status"] == "healthy"
        crowd.close()
        held.await_no_more(service)
        assert (
            exchange(service.url, GET + b"connection: close\r\n\r\n", asked=(HEALTH,))[0].status_code == 200
        )


def test_a_service_may_open_all_the_files_that_the_system_allows(migrated: Urls) -> None:
    """The limit that holds at first is raised to the one that it may have."""
    with running(migrated, PYTHONPATH=INSIDE, OPEN_FILES="256", ALL_FILES="1000") as service:
        assert psutil.Process(service.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (1000, 1000)


def test_a_rush_of_clients_waits(either: Service) -> None:
    """While a service has no time a thousand clients connect, and all are served when it has."""
    either.process.send_signal(signal.SIGSTOP)
    with ExitStack() as crowd:
        try:
            connections = [crowd.enter_context(connected(either.url)) for _ in range(1000)]
        finally:
            either.process.send_signal(signal.SIGCONT)
        for connection in connections:
            connection.sendall(GET + b"connection: close\r\n\r\n")
        assert {connection.recv(12) for connection in connections} == {b"HTTP/1.1 200"}


def test_no_client_keeps_a_service_from_its_end(ended: Future[list[bytes]]) -> None:
    """A service ends however long half a body takes: its client gets no reply, or 408 after 10 s."""
    assert all(told == b"" or told.startswith(b"HTTP/1.1 408 ") for told in ended.result())


def _save_on(service: Service, attack: Attack, over: Event) -> None:
    """Save, one answer after the other, once all slow clients are there; each is an event of the attack."""
    session_id = service.start()["id"]
    eventually(lambda: BEGUN in attack.events)
    while not over.is_set():
        assert service.save(session_id, 1, f"answer {len(attack.events)}").status_code == 200
        attack.events.append(service.url)


def _start(header: bytes = b"") -> tuple[str, bytes]:
    """Return a new user, and a request that starts a session for it."""
    user = f"user-{uuid4()}"
    body = b'{"user_id": "%s", "quiz_id": 7}' % user.encode()
    return user, POST + header + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def _has_started(database: psycopg.Connection, user: str) -> bool:
    return bool(database.execute("select from quiz_sessions where user_id = %s", [user]).fetchall())


def _end(env: Urls) -> list[bytes]:
    """End a service on each server, with half a request there; return what was told."""
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
    """Return a reply whose body is an object."""
    told = b""
    while not told.endswith(b"}"):
        data = connection.recv(65536)
        assert data
        told += data
    return told
