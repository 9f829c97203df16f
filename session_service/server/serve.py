"""Event loop, signals and graceful shutdown, on Hypercorn or, at less cost, on uvicorn with httptools.

Both servers obey the limits of `connections`, speak HTTP/1.1 without upgrades, reject ambiguous requests
(request smuggling) with an error response, answer pipelined requests in order, ignore proxy headers and shut
down in the same way. Differences that remain:

- RTSP and ICE in the place of HTTP in a request line: uvicorn accepts them, Hypercorn rejects them.
- Content-Length given twice with one value: Hypercorn accepts it, uvicorn rejects it.
- Unknown or lower-case methods, and control characters in headers: uvicorn rejects them, Hypercorn passes
  them on, as it does a target like `http:/x`. Two spaces in a request line: uvicorn accepts them, Hypercorn
  rejects them.
- Hypercorn closes a connection after a thousand requests.
- A response sent before the whole request has arrived: Hypercorn reads on for two seconds, so that the
  client can read the response; uvicorn closes the connection at once.
- Expect: 100-continue: Hypercorn sends 100 before the application reads the body, uvicorn when it does.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, cast

import uvloop

from session_service import metrics
from session_service.metrics import Family
from session_service.server import admin
from session_service.server.connections import ServedApplication, ServeOptions, max_connections
from session_service.server.hypercorn import server as hypercorn_server
from session_service.server.worker_metrics import WorkerReporter
from session_service.settings import Settings

# Connections waiting for accept(). The default of 100 drops some of them at the start of an exam.
BACKLOG = 1024
# Seconds: longer than any response takes, shorter than the usual 10 s before a container is killed.
GRACEFUL_TIMEOUT = 8

_log = logging.getLogger(__name__)


class Loop(uvloop.Loop):
    """Event loop that records its listeners, so that shutdown can close them before their server ends."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[asyncio.Server] = []

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        server = cast("asyncio.Server", await super().create_server(*args, **options))
        self.servers.append(server)
        return server


class Lifecycle:
    """Reports the start and waits for the shutdown request.

    Graceful shutdown begins on SIGINT or SIGTERM or, in a worker process, at the end of standard input.
    """

    def __init__(self, app: ServedApplication, loop: Loop, listener: socket.socket, *, worker: bool) -> None:
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

    async def wait_for_shutdown(self, close_by_response: Callable[[], None]) -> None:
        """Report that the service is ready; return once shutdown was requested.

        The listeners are closed then, and `close_by_response` was called: each response ends its connection.
        """
        self._start = None
        host, port = self._listener.getsockname()[:2]
        _log.info("Running on http://%s:%d (CTRL + C to quit)", f"[{host}]" if ":" in host else host, port)
        if self._worker:
            with suppress(BrokenPipeError):
                os.write(sys.stdin.fileno(), b".")
        await self._shutdown_requested.wait()
        self._app.begin_shutdown()
        close_by_response()
        for server in self._loop.servers:
            server.close()

    def _request_shutdown(self) -> None:
        self._shutdown_requested.set()
        if self._worker:
            self._loop.remove_reader(sys.stdin.fileno())
        if self._start:
            # The start may be waiting for an unreachable database.
            self._start.cancel()
            self._start = None


def serve(
    settings: Settings, app: ServedApplication, listener: socket.socket, *, metrics_fd: int | None = None
) -> None:
    """Run the configured server on the socket until shutdown; exit with 1 if the start fails.

    `metrics_fd` is the descriptor by which the supervisor of a worker process reads its metrics.
    """
    connections = max_connections()
    if connections < 1:
        sys.exit("session-service: the limit of open files (ulimit -n) leaves no room for connections")

    async def run() -> bool:
        lifecycle = Lifecycle(
            app, cast("Loop", asyncio.get_running_loop()), listener, worker=metrics_fd is not None
        )
        wait, keep_alive = lifecycle.wait_for_shutdown, settings.keep_alive_seconds
        options = ServeOptions(listener, BACKLOG, connections, GRACEFUL_TIMEOUT, keep_alive, wait)
        server = {"hypercorn": hypercorn_server.serve, "uvicorn": _uvicorn}[settings.server]
        async with _publish(settings, descriptor=metrics_fd):
            return await server(app, options)

    _limit_garbage_collection()
    with suppress(asyncio.CancelledError):
        if not uvloop.run(run(), loop_factory=Loop):
            # The application has logged why.
            sys.exit(1)


def _limit_garbage_collection() -> None:
    # Modules stay loaded, and open connections hold many objects: garbage collection with default thresholds
    # would take up to a sixth of the CPU.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _publish(settings: Settings, *, descriptor: int | None) -> AbstractAsyncContextManager[None]:
    """Publish the metrics on the admin page, those of a worker through its supervisor."""

    async def collect(*, with_database: bool = True) -> list[Family]:
        return [*await metrics.collect(with_database=with_database), *admin.process_families()]

    if descriptor is not None:
        return WorkerReporter(descriptor, collect)
    admin.publish(settings, collect, asyncio.get_running_loop())
    return nullcontext()


async def _uvicorn(app: ServedApplication, options: ServeOptions) -> bool:
    try:
        from session_service.server.uvicorn import server as uvicorn_server  # noqa: PLC0415 - an extra, loaded only where it is chosen
    except ImportError as error:
        sys.exit(f"session-service: SERVER=uvicorn needs the extra uvicorn: {error}")
    return await uvicorn_server.serve(app, options)
