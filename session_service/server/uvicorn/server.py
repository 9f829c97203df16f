"""uvicorn with the bounds that httptools lacks, less lenient, and an end that drops no client."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any, cast

from uvicorn import Config, Server

from session_service.server.connections import CLOSE, DRAIN_TIMEOUT, Application, ServeOptions
from session_service.server.uvicorn.protocol import Settings, StrictHttpToolsProtocol


async def serve(app: Application, options: ServeOptions) -> bool:
    """Serve until it is time to end and what is under way has ended; tell whether the application started."""
    # How the start went, the application tells in a line; and what it is asked.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = Settings(
        cast("Any", app),
        http=StrictHttpToolsProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=options.backlog,
        timeout_keep_alive=options.keep_alive,
    )
    config.max_connections = options.max_connections
    try:
        await _Server(config, options).serve([options.listener])
    except SystemExit:
        return False
    return True


class _Server(Server):
    """A server that leaves the signals to others, and lets its connections end by their replies."""

    def __init__(self, config: Config, options: ServeOptions) -> None:
        super().__init__(config)
        self._options = options

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    async def main_loop(self) -> None:
        serving = asyncio.create_task(self._serve_out())
        await super().main_loop()
        await serving

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        # uvicorn itself would wait without end, or answer what it cuts off outside the contract.
        asyncio.get_running_loop().call_later(self._options.graceful_timeout, self._abort)
        await super().shutdown(sockets)

    async def _serve_out(self) -> None:
        await self._options.wait_for_shutdown(self._close_by_reply)
        if self.server_state.connections:
            await asyncio.sleep(DRAIN_TIMEOUT)
        self.should_exit = True

    def _close_by_reply(self) -> None:
        self.config.encoded_headers = [CLOSE]
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        for connection in self.server_state.connections:
            if isinstance(connection, StrictHttpToolsProtocol) and connection.cycle:
                connection.cycle.keep_alive = False

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
