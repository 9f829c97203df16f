"""The servers that the application runs on: Hypercorn, or uvicorn with httptools, which costs less.

Both keep to what `connections` says, speak HTTP/1.1 and nothing that a client may want to upgrade to, refuse
what has two readings, tell why, answer pipelined requests in order, trust no proxy's headers and end in the
same way. What differs still:

- The same Content-Length twice is one for Hypercorn; uvicorn refuses it.
- A method that is not known (or in small letters) and a control character in a header are refused by uvicorn;
  Hypercorn hands them on, as it does a target like `http:/x`. Two spaces in a request line are one for
  uvicorn; Hypercorn refuses them.
- Hypercorn ends a connection after a thousand requests.
- Where the reply did not wait for the whole request, Hypercorn takes what still comes for two seconds, so
  that the reply can be read; uvicorn closes the connection at once.
- Expect: 100-continue: Hypercorn answers before the application has asked for the body, uvicorn then.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import uvloop

from session_service.server.connections import Application, ServeOptions, max_connections
from session_service.server.hypercorn import server as hypercorn_server
from session_service.settings import Settings

# The default of 100 refuses connections in the rush at the start of an exam.
BACKLOG = 1024
# Longer than any reply takes, and less than what is left before a container is killed.
GRACEFUL_TIMEOUT = 8

_log = logging.getLogger(__name__)


class Loop(uvloop.Loop):
    """An event loop that knows its listeners: they can be closed before the server that opened them ends."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[asyncio.Server] = []

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        server = cast("asyncio.Server", await super().create_server(*args, **options))
        self.servers.append(server)
        return server


class Lifecycle:
    """How long to serve: until SIGINT or SIGTERM, or, in a worker, until its standard input ends."""

    def __init__(self, app: Application, loop: Loop, listener: socket.socket, *, worker: bool) -> None:
        self._app = app
        self._loop = loop
        self._listener = listener
        self._worker = worker
        self._shutdown_requested = asyncio.Event()
        self._start = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._request_shutdown)
        if worker:
            loop.add_reader(sys.stdin.fileno(), self._request_shutdown)

    async def wait_for_shutdown(self, ending: Callable[[], None]) -> None:
        """Say that the service is ready, and return when its server has to end what is under way."""
        self._start = None
        host, port = self._listener.getsockname()[:2]
        _log.info("Running on http://%s:%d (CTRL + C to quit)", f"[{host}]" if ":" in host else host, port)
        if self._worker:
            with suppress(BrokenPipeError):
                os.write(sys.stdin.fileno(), b".")
        await self._shutdown_requested.wait()
        self._app.drain()
        ending()
        for server in self._loop.servers:
            server.close()

    def _request_shutdown(self) -> None:
        self._shutdown_requested.set()
        if self._worker:
            self._loop.remove_reader(sys.stdin.fileno())
        if self._start:
            # It may be waiting for a database that has gone.
            self._start.cancel()


def serve(settings: Settings, app: Application, listener: socket.socket, *, worker: bool = False) -> None:
    """Serve on the socket with the chosen server until told to stop; exit with 1 if the start fails."""
    server = {"hypercorn": hypercorn_server.serve, "uvicorn": _uvicorn}[settings.server]
    most = max_connections()
    if most < 1:
        sys.exit("session-service: the limit of open files (ulimit -n) leaves no room for connections")

    async def live() -> bool:
        life = Lifecycle(app, cast("Loop", asyncio.get_running_loop()), listener, worker=worker)
        options = ServeOptions(
            listener, BACKLOG, most, GRACEFUL_TIMEOUT, settings.keep_alive_seconds, life.wait_for_shutdown
        )
        return await server(app, options)

    # What is loaded by now stays. Looked through as often as by default, it and what open connections hold
    # would cost up to a sixth of the CPU.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with suppress(asyncio.CancelledError):
        if not uvloop.run(live(), loop_factory=Loop):
            # The application has logged why.
            sys.exit(1)


async def _uvicorn(app: Application, options: ServeOptions) -> bool:
    try:
        from session_service.server.uvicorn import server as uvicorn_server  # noqa: PLC0415 - an extra, loaded only where it is chosen
    except ImportError as error:
        sys.exit(f"session-service: SERVER=uvicorn needs the extra uvicorn: {error}")
    return await uvicorn_server.serve(app, options)
