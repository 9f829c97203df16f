"""A TCP proxy that can go bad: cut, frozen, or losing what comes back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Passes bytes on to what `upstream` opens, as long as it is told nothing else."""

    def __init__(self, upstream: Open) -> None:
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._cut = False
        self.losses = 0.0
        self.lost = 0

    async def start(self) -> int:
        """Listen and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        self._drop()

    def cut(self) -> None:
        """Break every connection, and each new one."""
        self._cut = True
        self._drop()

    def freeze(self) -> None:
        """Keep connections open and pass nothing on."""
        self._flows.clear()

    def heal(self) -> None:
        """Pass everything on again."""
        self._cut = False
        self._flows.set()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream_writer = await self._upstream()
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, upstream_writer}
        ways = (self._pass(reader, upstream_writer), self._pass(upstream_reader, writer, back=True))
        await asyncio.gather(*ways)
        self._writers -= {writer, upstream_writer}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if back and random.random() < self.losses:
                    self.lost += 1
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
