"""Hypercorn with bounds on its connections, without HTTP/2 and WebSocket, and with graceful shutdown."""

import asyncio
from typing import Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan

from session_service.server.connections import DRAIN_TIMEOUT, Application, ServeOptions
from session_service.server.hypercorn.connection import Connection
from session_service.server.hypercorn.task_group import TaskGroup


async def serve(app: Application, options: ServeOptions) -> bool:
    """Serve until it is time to end and what is under way has ended; tell whether the application started."""
    server = _Server(TaskGroup(app), options.max_connections)
    server.task_group.settings.keep_alive_timeout = options.keep_alive
    loop = asyncio.get_running_loop()
    lifespan = Lifespan(ASGIWrapper(cast("Any", app)), server.task_group.settings, loop, {})
    life = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if life.done():
        # The application has told why, in a line.
        life.exception()
        return False
    await asyncio.start_server(server.connect, sock=options.listener, backlog=options.backlog)
    await options.wait_for_shutdown(server.close_by_reply)
    await server.end(options.graceful_timeout)
    await lifespan.wait_for_shutdown()
    await life
    return True


class _Server:
    """The connections that there are."""

    def __init__(self, task_group: TaskGroup, max_connections: int) -> None:
        self.task_group = task_group
        self._max_connections = max_connections
        self._connections: set[Connection] = set()

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve who has connected, unless there are too many."""
        if len(self._connections) < self._max_connections:
            connection = Connection(self.task_group, reader, writer)
            self._connections.add(connection)
            self.task_group.spawn(self._serve(connection))
        else:
            writer.write(self.task_group.early_error_response(503))
            writer.close()

    def close_by_reply(self) -> None:
        """Let each connection end with its next reply."""
        self.task_group.settings.ending = True

    async def end(self, grace: float) -> None:
        """End what stays idle, and the rest when it is done or its time is over."""
        await self.task_group.context.terminated.set()
        await self.task_group.end(DRAIN_TIMEOUT)
        for connection in list(self._connections):
            connection.close_idle()
        await self.task_group.end(grace)
        for connection in list(self._connections):
            connection.abort()
        self.task_group.cancel()

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
