"""Hypercorn with a limit of connections and graceful shutdown, without HTTP/2 and WebSocket."""

import asyncio
from typing import Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan

from session_service.server.connections import DRAIN_TICK, DRAIN_TICKS, ServedApplication, ServeOptions
from session_service.server.hypercorn.connection import Connection
from session_service.server.hypercorn.task_group import TaskGroup


async def serve(app: ServedApplication, options: ServeOptions) -> bool:
    """Serve until graceful shutdown is complete; return False if the application did not start."""
    server = _Server(TaskGroup(app), options.max_connections)
    server.task_group.settings.keep_alive_timeout = options.keep_alive
    loop = asyncio.get_running_loop()
    lifespan = Lifespan(ASGIWrapper(cast("Any", app)), server.task_group.settings, loop, {})
    lifespan_task = loop.create_task(lifespan.handle_lifespan())
    try:
        await lifespan.wait_for_startup()
    except asyncio.CancelledError:
        # Shutdown during the start: the application closes what it has opened, before the loop ends.
        lifespan_task.cancel()
        await asyncio.gather(lifespan_task, return_exceptions=True)
        raise
    if lifespan_task.done():
        # The application has logged why. Retrieved, or asyncio would log it again.
        lifespan_task.exception()
        return False
    await asyncio.start_server(server.connect, sock=options.listener, backlog=options.backlog)
    await options.wait_for_shutdown(server.close_by_response)
    await server.shut_down(options.graceful_timeout)
    await lifespan.wait_for_shutdown()
    await lifespan_task
    return True


class _Server:
    """Accepts connections up to the limit and closes them at shutdown."""

    def __init__(self, task_group: TaskGroup, max_connections: int) -> None:
        self.task_group = task_group
        self._max_connections = max_connections
        self._connections: set[Connection] = set()

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection, or send 503 over the limit."""
        if len(self._connections) < self._max_connections:
            connection = Connection(self.task_group, reader, writer)
            self._connections.add(connection)
            self.task_group.spawn(self._serve(connection))
        else:
            writer.write(self.task_group.early_error_response(503))
            writer.close()

    def close_by_response(self) -> None:
        """Add `Connection: close` to each response from now on."""
        self.task_group.settings.is_shutting_down = True

    async def shut_down(self, graceful_timeout: float) -> None:
        """Graceful shutdown: close idle connections, wait for in-flight requests, abort at the timeout."""
        await self.task_group.context.terminated.set()
        for _ in range(DRAIN_TICKS):
            await self.task_group.wait(DRAIN_TICK)
        for connection in list(self._connections):
            connection.close_idle()
        await self.task_group.wait(graceful_timeout)
        for connection in list(self._connections):
            connection.abort()
        self.task_group.cancel()

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
