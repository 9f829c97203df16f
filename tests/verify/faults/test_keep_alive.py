"""Idle connections: how long they last, what ends them, and that no proxy is surprised by their end."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import psutil
import pytest

from tests.conftest import Urls
from tests.support.corpus import GET
from tests.support.inspection import INSIDE
from tests.support.proxies import nginx
from tests.support.raw_http import HEALTH, connected, exchange, replies
from tests.support.service import Service, judged_behind_proxy, running
from tests.support.waiting import LIMIT, eventually

SERVERS = ("hypercorn", "uvicorn")
REQUEST = GET + b"\r\n"
LAST = GET + b"connection: close\r\n\r\n"
OVER_HEAD_TIME = 6  # seconds: longer than the time for a head
FILES = 200
ROOM = FILES - 150  # connections that fit into so many files

UPSTREAM = """upstream service {{ server {address}; keepalive 4; }}"""
FORWARD = """
location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }
"""


@pytest.fixture(scope="module", params=SERVERS)
def patient(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service that keeps idle connections for as long as by default."""
    with running(migrated, SERVER=request.param) as service:
        yield service


@pytest.fixture(scope="module", params=SERVERS)
def impatient(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service that keeps idle connections for less than the time for a head."""
    with running(migrated, SERVER=request.param, KEEP_ALIVE_SECONDS="3") as service:
        yield service


def test_an_idle_connection_outlasts_the_time_for_a_head(patient: Service) -> None:
    """A connection that has had a reply is idle, and is served later."""
    with connected(patient.url) as connection:
        connection.sendall(REQUEST)
        time.sleep(OVER_HEAD_TIME)
        connection.sendall(b"\r\n" + LAST)
        assert _statuses(_rest(connection)) == [200, 200]


def test_a_head_that_begins_late_has_its_own_time(patient: Service) -> None:
    """A head that begins after idleness and does not end is 408."""
    with connected(patient.url) as connection:
        connection.sendall(REQUEST)
        time.sleep(OVER_HEAD_TIME)
        connection.sendall(b"\r\nG")
        assert _statuses(_rest(connection)) == [200, 408]


def test_a_connection_without_a_request_is_not_idle(patient: Service) -> None:
    """A connection that has never sent a request ends by itself, and empty lines do not count as one."""
    with connected(patient.url) as silent, connected(patient.url) as empty:
        empty.sendall(b"\r\n")
        assert (_rest(silent), _rest(empty)) == (b"", b"")


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_an_idle_connection_ends(impatient: Service, sent: bytes) -> None:
    """After KEEP_ALIVE_SECONDS without a request, empty lines or not, the connection ends by itself."""
    with connected(impatient.url) as connection:
        connection.sendall(REQUEST + sent)
        assert _statuses(_rest(connection)) == [200]


def test_a_head_outlasts_the_time_for_idleness(impatient: Service) -> None:
    """A head that has begun has its own time, also where idle connections have less, and then is 408."""
    with connected(impatient.url) as pipelined, connected(impatient.url) as later:
        pipelined.sendall(REQUEST * 2 + GET)
        later.sendall(REQUEST)
        received = later.recv(65536)
        later.sendall(b"G")
        assert _statuses(_rest(pipelined)) == [200, 200, 408]
        assert _statuses(received + _rest(later)) == [200, 408]


@pytest.mark.parametrize("server", SERVERS)
def test_idle_connections_end_with_the_service(server: str, migrated: Urls) -> None:
    """A service that is told to end closes its idle connections, and ends."""
    with running(migrated, SERVER=server) as service, connected(service.url) as connection:
        connection.sendall(REQUEST)
        received = connection.recv(65536)
        service.process.terminate()
        assert _statuses(received + _rest(connection)) == [200]
        assert service.process.wait(LIMIT) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_idle_connections_are_counted(server: str, migrated: Urls) -> None:
    """However many connections are idle, one more than fit is 503, until one of them has ended."""
    settings = {"SERVER": server, "PYTHONPATH": INSIDE, "OPEN_FILES": str(FILES)}
    with running(migrated, **settings) as service, ExitStack() as crowd:
        service.client.close()
        eventually(lambda: not _connections(service))
        idle = [crowd.enter_context(connected(service.url)) for _ in range(ROOM)]
        for connection in idle:
            connection.sendall(REQUEST)
        assert {connection.recv(65536)[:12] for connection in idle} == {b"HTTP/1.1 200"}
        assert [reply.status_code for reply in exchange(service.url)] == [503]
        idle.pop().close()
        eventually(lambda: _is_served(service))
        for connection in idle:
            connection.sendall(LAST)
        assert all(b"HTTP/1.1 200" in _rest(connection) for connection in idle)


@pytest.mark.needs("nginx")
def test_nginx_uses_an_idle_connection_again(patient: Service) -> None:
    """Behind nginx a POST after idleness is no 502: the connection to the service is there, and used."""
    with (
        nginx(FORWARD, UPSTREAM.format(address=urlsplit(patient.url).netloc)) as url,
        judged_behind_proxy(url) as client,
    ):
        used = []
        for _ in range(2):
            started = client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7})
            assert started.status_code == 201
            used.append(_open(patient))
            time.sleep(OVER_HEAD_TIME)
        assert used[0] == used[1]


def _rest(connection: socket.socket) -> bytes:
    """Return what comes until the connection has ended; fail if it does not end."""
    received = b""
    with suppress(ConnectionError):
        while more := connection.recv(65536):
            received += more
    return received


def _statuses(received: bytes) -> list[int]:
    return [reply.status_code for reply in replies(received, HEALTH)]


def _is_served(service: Service) -> bool:
    with connected(service.url) as connection:
        connection.sendall(LAST)
        return _rest(connection).startswith(b"HTTP/1.1 200")


def _connections(service: Service) -> dict[int, str]:
    """Return the service's connections of clients: the client's port, and the state in TCP."""
    own = urlsplit(service.url).port
    sockets = psutil.Process(service.process.pid).net_connections("tcp")
    return {one.raddr.port: one.status for one in sockets if one.laddr.port == own and one.raddr}


def _open(service: Service) -> set[int]:
    """Return the client's port of each connection that neither side has closed."""
    return {port for port, state in _connections(service).items() if state == psutil.CONN_ESTABLISHED}
