"""Graceful shutdown of both servers, with an application that does not respond."""

import asyncio
import importlib
import socket
from collections.abc import Callable

import pytest
from attrs import define, field
from starlette.types import Receive, Scope, Send

from session_service.api.responses import Response
from session_service.server.connections import ServeOptions
from tests.support.waiting import LIMIT


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


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
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
