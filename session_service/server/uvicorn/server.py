"""uvicorn with the limits of `connections`, strict parsing and graceful shutdown."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any, cast

from uvicorn import Config, Server

from session_service.server.connections import (
    CLOSE,
    DRAIN_TICK,
    DRAIN_TICKS,
    ServedApplication,
    ServeOptions,
    reset,
)
from session_service.server.uvicorn.cycle import SingleWriteCycle
from session_service.server.uvicorn.protocol import Settings, StrictHttpToolsProtocol


async def serve(app: ServedApplication, options: ServeOptions) -> bool:
    """Serve until graceful shutdown is complete; return False if the application did not start."""
    # The application itself logs the outcome of its start, and each request.
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
    """Server without signal handlers; at shutdown each connection ends with its next response."""

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
        shutdown = asyncio.create_task(self._wait_for_shutdown())
        await super().main_loop()
        await shutdown

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        # uvicorn itself waits without a limit, or sends a 500 outside the contract to aborted requests.
        asyncio.get_running_loop().call_later(self._options.graceful_timeout, self._abort)
        await super().shutdown(sockets)

    async def _wait_for_shutdown(self) -> None:
        await self._options.wait_for_shutdown(self._close_by_response)
        for _ in range(DRAIN_TICKS if self.server_state.connections else 0):
            await asyncio.sleep(DRAIN_TICK)
        self.should_exit = True

    def _close_by_response(self) -> None:
        self.config.encoded_headers = [CLOSE]
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        for connection in self.server_state.connections:
            if isinstance(connection, StrictHttpToolsProtocol) and connection.cycle:
                connection.cycle.keep_alive = False

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "_active_cycle", None)
            if isinstance(cycle, SingleWriteCycle) and cycle.is_streaming:
                reset(connection.transport)
            else:
                connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
