"""Tests of keep-alive: how long idle connections last, how they end, and their reuse by proxies."""

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
from tests.support.raw_http import HEALTH, connected, exchange, parse_responses
from tests.support.service import Service, running, validated_client_behind_proxy
from tests.support.waiting import LIMIT, eventually

SERVERS = ("hypercorn", "uvicorn")
REQUEST = GET + b"\r\n"
LAST = GET + b"connection: close\r\n\r\n"
AFTER_HEADER_TIMEOUT = 6  # seconds, longer than the timeout of headers
FILES = 200
MAX_CONNECTIONS = FILES - 150  # without the reserved files

UPSTREAM = """upstream service {{ server {address}; keepalive 4; }}"""
FORWARD = """
location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }
"""


@pytest.fixture(scope="module", params=SERVERS)
def default_service(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service with the default keep-alive timeout."""
    with running(migrated, SERVER=request.param) as service:
        yield service


@pytest.fixture(scope="module", params=SERVERS)
def short_keep_alive_service(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service with a keep-alive timeout that is shorter than the timeout of headers."""
    with running(migrated, SERVER=request.param, KEEP_ALIVE_SECONDS="3") as service:
        yield service


def test_keep_alive_outlasts_the_header_timeout(default_service: Service) -> None:
    """Keep-alive: an idle connection outlasts the timeout of headers."""
    with connected(default_service.url) as connection:
        connection.sendall(REQUEST)
        time.sleep(AFTER_HEADER_TIMEOUT)
        connection.sendall(b"\r\n" + LAST)
        assert _statuses(_read_to_end(connection)) == [200, 200]


def test_headers_after_an_idle_time_time_out(default_service: Service) -> None:
    """Headers that begin after an idle time have their own timeout, 408."""
    with connected(default_service.url) as connection:
        connection.sendall(REQUEST)
        time.sleep(AFTER_HEADER_TIMEOUT)
        connection.sendall(b"\r\nG")
        assert _statuses(_read_to_end(connection)) == [200, 408]


def test_connections_without_a_request_time_out(default_service: Service) -> None:
    """A connection without a request is closed after the timeout of headers, with or without empty lines."""
    with connected(default_service.url) as silent, connected(default_service.url) as empty:
        empty.sendall(b"\r\n")
        assert (_read_to_end(silent), _read_to_end(empty)) == (b"", b"")


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_idle_connections_time_out(short_keep_alive_service: Service, sent: bytes) -> None:
    """Keep-alive: an idle connection is closed after KEEP_ALIVE_SECONDS, with or without empty lines."""
    with connected(short_keep_alive_service.url) as connection:
        connection.sendall(REQUEST + sent)
        assert _statuses(_read_to_end(connection)) == [200]


def test_headers_outlast_the_keep_alive_timeout(short_keep_alive_service: Service) -> None:
    """Headers that have begun have their own timeout, even if the keep-alive timeout is shorter."""
    with (
        connected(short_keep_alive_service.url) as pipelined,
        connected(short_keep_alive_service.url) as later,
    ):
        pipelined.sendall(REQUEST * 2 + GET)
        later.sendall(REQUEST)
        received = later.recv(65536)
        later.sendall(b"G")
        assert _statuses(_read_to_end(pipelined)) == [200, 200, 408]
        assert _statuses(received + _read_to_end(later)) == [200, 408]


@pytest.mark.parametrize("server", SERVERS)
def test_graceful_shutdown_closes_idle_connections(server: str, migrated: Urls) -> None:
    """Graceful shutdown closes idle connections."""
    with running(migrated, SERVER=server) as service, connected(service.url) as connection:
        connection.sendall(REQUEST)
        received = connection.recv(65536)
        service.process.terminate()
        assert _statuses(received + _read_to_end(connection)) == [200]
        assert service.process.wait(LIMIT) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_idle_connections_count_towards_the_limit(server: str, migrated: Urls) -> None:
    """Idle connections count towards the limit of connections: one more is 503 until one ends."""
    settings = {"SERVER": server, "PYTHONPATH": INSIDE, "OPEN_FILES": str(FILES)}
    with running(migrated, **settings) as service, ExitStack() as stack:
        service.client.close()
        eventually(lambda: not _connections(service))
        idle = [stack.enter_context(connected(service.url)) for _ in range(MAX_CONNECTIONS)]
        for connection in idle:
            connection.sendall(REQUEST)
        assert {connection.recv(65536)[:12] for connection in idle} == {b"HTTP/1.1 200"}
        assert [response.status_code for response in exchange(service.url)] == [503]
        idle.pop().close()
        eventually(lambda: _is_served(service))
        for connection in idle:
            connection.sendall(LAST)
        assert all(b"HTTP/1.1 200" in _read_to_end(connection) for connection in idle)


@pytest.mark.needs("nginx")
def test_nginx_reuses_keep_alive_connections(default_service: Service) -> None:
    """Keep-alive: nginx reuses an idle connection to the service, without a 502."""
    with (
        nginx(FORWARD, UPSTREAM.format(address=urlsplit(default_service.url).netloc)) as url,
        validated_client_behind_proxy(url) as client,
    ):
        connections = []
        for _ in range(2):
            started = client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7})
            assert started.status_code == 201
            connections.append(_open(default_service))
            time.sleep(AFTER_HEADER_TIMEOUT)
        assert connections[0] == connections[1]


def _read_to_end(connection: socket.socket) -> bytes:
    """Return what is received until the connection ends."""
    received = b""
    with suppress(ConnectionError):
        while more := connection.recv(65536):
            received += more
    return received


def _statuses(received: bytes) -> list[int]:
    return [response.status_code for response in parse_responses(received, HEALTH)]


def _is_served(service: Service) -> bool:
    with connected(service.url) as connection:
        connection.sendall(LAST)
        return _read_to_end(connection).startswith(b"HTTP/1.1 200")


def _connections(service: Service) -> dict[int, str]:
    """Return the clients' ports and TCP states of the service's connections."""
    own = urlsplit(service.url).port
    sockets = psutil.Process(service.process.pid).net_connections("tcp")
    return {one.raddr.port: one.status for one in sockets if one.laddr.port == own and one.raddr}


def _open(service: Service) -> set[int]:
    """Return the clients' ports of the established connections."""
    return {port for port, state in _connections(service).items() if state == psutil.CONN_ESTABLISHED}
