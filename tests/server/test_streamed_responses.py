"""Tests of exports as streamed responses on both servers: faults, framing, keep-alive."""

import socket
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import Urls, empty_database, migrate
from tests.support.exports import PATH, fill, parse, rest, stalled
from tests.support.raw_http import connected
from tests.support.service import Service, running
from tests.support.waiting import eventually

SERVERS = ("hypercorn", "uvicorn")


@pytest.fixture(scope="module")
def large_quiz(migrated: Urls) -> Iterator[tuple[Urls, psycopg.Connection]]:
    """A database with a quiz of 20 sessions of 900 KB, and a connection of its owner."""
    with empty_database(migrated) as urls:
        migrate(urls)
        with psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as database:
            fill(database, "large", 20, size=900_000)
            yield urls, database


@pytest.fixture(scope="module", params=SERVERS)
def server(large_quiz: tuple[Urls, psycopg.Connection], request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service of that database, on each of the servers."""
    with running(large_quiz[0], SERVER=request.param) as service:
        yield service


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_error_after_the_first_byte_resets_the_connection(
    server: Service, large_quiz: tuple[Urls, psycopg.Connection], version: str
) -> None:
    """A client sees that an export has failed, also in HTTP/1.0, where the end of the body has no mark."""
    _, database = large_quiz
    with stalled(server, "quiz_id=large", version) as connection:
        database.execute("alter table quiz_sessions rename to renamed")
        try:
            with pytest.raises(ConnectionResetError):
                rest(connection)
        finally:
            database.execute("alter table renamed rename to quiz_sessions")
    eventually(lambda: "was broken off" in server.log.read_text())


def test_clients_that_reset_their_connections_leave_no_error(server: Service) -> None:
    """Clients that end an export with a reset, at different moments, leave no error in the log."""
    ended = server.log.read_text().count("was given up by its client")
    for size in range(60):
        with stalled(server, "quiz_id=large&format=ndjson") as connection:
            connection.recv(1 + size * 16_384)
    eventually(lambda: server.log.read_text().count("was given up by its client") > ended)
    eventually(lambda: server.client.get(PATH, params={"quiz_id": "none"}).status_code == 200)
    assert "exception" not in server.log.read_text()


def test_a_lost_connection_to_the_database_breaks_no_export(
    server: Service, large_quiz: tuple[Urls, psycopg.Connection]
) -> None:
    """An export goes on at its place after PostgreSQL has ended the service's connections."""
    _, database = large_quiz
    with stalled(server, "quiz_id=large", "1.0") as connection:
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        body = rest(connection).partition(b"\r\n\r\n")[2].decode()
    rows = parse(body)[1:]
    assert len({row[0] for row in rows}) == len(rows) == 20


def test_no_connection_to_the_database_is_held_while_a_client_does_not_read(
    server: Service, large_quiz: tuple[Urls, psycopg.Connection]
) -> None:
    """The export of a client that stops reading has no statement and no transaction."""
    _, database = large_quiz
    query = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle'"

    def is_idle() -> bool:
        return database.execute(query).fetchone() == (1,)

    with stalled(server, "quiz_id=large"):
        eventually(lambda: all(is_idle() for _ in range(20)))
        assert server.client.get("/health").status_code == 200


def test_a_connection_is_kept_after_an_export(server: Service) -> None:
    """Requests that follow on the connection, also pipelined ones, get their responses after the export."""
    head = b"HTTP/1.1\r\nhost: x\r\n"
    with connected(server.url) as connection:
        connection.sendall(b"GET %s?quiz_id=large %s\r\n" % (PATH.encode(), head))
        connection.sendall(b"HEAD %s %s\r\n" % (PATH.encode(), head))
        connection.sendall(b"GET /health/live %sconnection: close\r\n\r\n" % head)
        received = rest(connection)
    heads = [part for part in received.split(b"HTTP/1.1 200") if part]
    assert len(heads) == 3
    assert heads[0].endswith(b"\r\n0\r\n\r\n")
    assert heads[1].endswith(b"\r\n\r\n")
    assert b"chunked" in heads[1]
    assert b'"status":"alive"' in heads[2].replace(b" ", b"")


def test_a_client_that_half_closes_gets_its_export(server: Service) -> None:
    """A client that has sent its request, and closes its side, gets the whole export."""
    with connected(server.url) as connection:
        connection.sendall(f"GET {PATH}?quiz_id={uuid4()} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection).endswith(b"\r\n0\r\n\r\n")
