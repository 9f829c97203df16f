"""A TCP proxy that can go bad: cut, frozen, slow, losing what comes back; and one that speaks TLS."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ssl import SSLContext

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Passes bytes on to what `upstream` opens, as long as it is told nothing else.

    `delay` is how many seconds each piece takes, `slice` how large a piece may be, `losses` the share of the
    replies that are lost, `doomed` what is in the one that is lost next, and `torn` whether a half of them
    comes through. With `tls` its clients have to speak that, from the start or, as PostgreSQL's do, once
    they have asked for it.
    """

    def __init__(self, upstream: Open, tls: SSLContext | None = None, *, asked: bool = False) -> None:
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._stranded: list[asyncio.Event] = []
        self._cut = False
        self._tls = tls
        self._asked = asked
        self.delay = 0.0
        self.slice = 65536
        self.torn = False
        self.doomed = b""
        self.losses = 0.0
        self.lost = 0

    async def start(self) -> int:
        """Listen and return the port."""
        tls = None if self._asked else self._tls
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        self._drop()
        for flows in (self._flows, *self._stranded):
            flows.set()
        # What was dropped is closed in the loop's next turns.
        await asyncio.sleep(0.01)

    def cut(self) -> None:
        """Break every connection, and each new one."""
        self._cut = True
        self._drop()

    def freeze(self) -> None:
        """Keep connections open and pass nothing on."""
        self._flows.clear()

    def strand(self) -> None:
        """Pass nothing on any more on the connections that there are; new ones are as good as ever."""
        self._flows.clear()
        self._stranded.append(self._flows)
        self._flows = asyncio.Event()
        self._flows.set()

    def heal(self) -> None:
        """Pass everything on again."""
        self._cut = False
        self._flows.set()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._cut:
                raise ConnectionAbortedError
            if self._tls and self._asked:
                # PostgreSQL's SSLRequest, and the server's consent.
                await reader.readexactly(8)
                writer.write(b"S")
                await writer.start_tls(self._tls)
            upstream_reader, upstream_writer = await self._upstream()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
            return
        self._writers |= {writer, upstream_writer}
        flows = self._flows
        ways = (
            self._pass(reader, upstream_writer, flows),
            self._pass(upstream_reader, writer, flows, back=True),
        )
        await asyncio.gather(*ways)
        self._writers -= {writer, upstream_writer}

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flows: asyncio.Event,
        *,
        back: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await flows.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                if back and ((self.doomed and self.doomed in data) or random.random() < self.losses):
                    self.doomed = b""
                    self.lost += 1
                    writer.write(data[: len(data) // 2 if self.torn else 0])
                    break
                for start in range(0, len(data), self.slice):
                    writer.write(data[start : start + self.slice])
                    await writer.drain()
        writer.transport.abort()
