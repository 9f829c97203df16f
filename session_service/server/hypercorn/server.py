"""Hypercorn with bounds on its connections, without HTTP/2 and WebSocket, and an end that drops no client."""

import asyncio
from typing import Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan

from session_service.server.connections import DRAIN_SECONDS, Application, Terms
from session_service.server.hypercorn.connection import Client
from session_service.server.hypercorn.task_group import Work


async def serve(app: Application, terms: Terms) -> bool:
    """Serve until it is time to end and what is under way has ended; tell whether the application started."""
    server = _Server(Work(app), terms.room)
    server.work.settings.keep_alive_timeout = terms.keep_alive
    loop = asyncio.get_running_loop()
    lifespan = Lifespan(ASGIWrapper(cast("Any", app)), server.work.settings, loop, {})
    life = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if life.done():
        # The application has told why, in a line.
        life.exception()
        return False
    await asyncio.start_server(server.connect, sock=terms.listener, backlog=terms.backlog)
    await terms.last(server.close_by_reply)
    await server.end(terms.grace)
    await lifespan.wait_for_shutdown()
    await life
    return True


class _Server:
    """The connections that there are."""

    def __init__(self, work: Work, room: int) -> None:
        self.work = work
        self._room = room
        self._clients: set[Client] = set()

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve who has connected, unless there are too many."""
        if len(self._clients) < self._room:
            client = Client(self.work, reader, writer)
            self._clients.add(client)
            self.work.spawn(self._serve(client))
        else:
            writer.write(self.work.refusal(503))
            writer.close()

    def close_by_reply(self) -> None:
        """Let each connection end with its next reply."""
        self.work.settings.ending = True

    async def end(self, grace: float) -> None:
        """End what stays idle, and the rest when it is done or its time is over."""
        await self.work.context.terminated.set()
        await self.work.end(DRAIN_SECONDS)
        for client in list(self._clients):
            client.close_idle()
        await self.work.end(grace)
        for client in list(self._clients):
            client.abort()
        self.work.cancel()

    async def _serve(self, client: Client) -> None:
        try:
            await client.run()
        finally:
            self._clients.discard(client)
