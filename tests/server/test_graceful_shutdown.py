"""Tests of graceful shutdown on both servers: in-flight requests, idle connections, the timeout."""

import asyncio
import importlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from attrs import define, field
from starlette.types import Receive, Scope, Send

from session_service.api.responses import Response
from session_service.server.connections import ServeOptions
from tests.conftest import Urls
from tests.support.inspection import listens, waiting_for_locks
from tests.support.raw_http import HEALTH, connected, exchange, parse_responses
from tests.support.service import running
from tests.support.waiting import LIMIT, eventually

SERVERS = ("hypercorn", "uvicorn")
HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"


@define
class UnresponsiveApp:
    """An application that receives requests and does not respond to them."""

    requested: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})
        else:
            self.requested.set()
            await asyncio.Event().wait()

    def reject(self, status: int) -> tuple[Response, str]:
        """Return an early error response."""
        return Response(status, [], b"rejected"), "an-id"

    def begin_shutdown(self) -> None:
        """Begin nothing."""


@pytest.mark.parametrize("server", SERVERS)
def test_graceful_shutdown_waits_for_in_flight_requests(
    server: str, migrated: Urls, patient_repository: Path, database: psycopg.Connection
) -> None:
    """Graceful shutdown: an in-flight request gets its response, with `Connection: close`."""
    with (
        running(migrated, patient_repository, SERVER=server) as service,
        ThreadPoolExecutor(1) as clients,
    ):
        session = service.start()
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
            waiting = clients.submit(service.save, session["id"], 1, "in flight")
            eventually(lambda: waiting_for_locks(database.info.dsn))
            service.process.terminate()
            eventually(lambda: not listens(service.url))
            assert not waiting.done()
            with pytest.raises(ConnectionRefusedError):
                exchange(service.url, HEAD + b"connection: close\r\n\r\n")
        assert waiting.result().json()["answers"] == {"1": "in flight"}
        assert waiting.result().headers["connection"] == "close"
        assert service.process.wait(LIMIT) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_graceful_shutdown_serves_one_last_request(server: str, migrated: Urls) -> None:
    """Graceful shutdown: an idle connection can send one last request, whose response closes it."""
    with running(migrated, SERVER=server) as service, connected(service.url) as connection:
        connection.sendall(HEAD + b"\r\n")
        received = connection.recv(65536)
        service.process.terminate()
        eventually(lambda: not listens(service.url))
        connection.sendall(HEAD + b"\r\n")
        while more := connection.recv(65536):
            received += more
        assert [response.headers.get("connection") for response in parse_responses(received, HEALTH)] == [
            None,
            "close",
        ]
        assert service.process.wait(LIMIT) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_graceful_shutdown_ends_after_its_timeout(server: str) -> None:
    """A request without a response is aborted at the timeout, and the connection is closed."""
    serve = importlib.import_module(f"session_service.server.{server}.server").serve

    async def run() -> bytes:
        app = UnresponsiveApp()

        async def wait_for_shutdown(_: Callable[[], None]) -> None:
            await app.requested.wait()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            options = ServeOptions(
                listener,
                backlog=1,
                max_connections=1,
                graceful_timeout=0.1,
                keep_alive=5,
                wait_for_shutdown=wait_for_shutdown,
            )
            serving = asyncio.create_task(serve(app, options))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            try:
                assert await asyncio.wait_for(serving, LIMIT)
                return await reader.read()
            finally:
                writer.close()

    assert asyncio.run(run()) == b""
