"""A TCP proxy with fault injection: disconnects, freezes, delays, lost responses; also with TLS."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ssl import SSLContext

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Passes bytes between its clients and the connections that `upstream` opens.

    `delay` is the time in seconds for each piece, `slice` the maximum size of a piece, `loss_rate` the share
    of responses that are lost, `drop_response_with` the bytes of a response that is lost next. With
    `truncate`, the first half of a lost response arrives. `tls` is the context for clients; with
    `ssl_request` they ask for TLS first, as in PostgreSQL's protocol.
    """

    def __init__(self, upstream: Open, tls: SSLContext | None = None, *, ssl_request: bool = False) -> None:
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._frozen: list[asyncio.Event] = []
        self._cut = False
        self._tls = tls
        self._ssl_request = ssl_request
        self.delay = 0.0
        self.slice = 65536
        self.truncate = False
        self.drop_response_with = b""
        self.loss_rate = 0.0
        self.lost = 0

    async def start(self) -> int:
        """Listen and return the port."""
        tls = None if self._ssl_request else self._tls
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close all connections."""
        self._server.close()
        self._drop()
        for flows in (self._flows, *self._frozen):
            flows.set()
        # Aborted transports are closed in the next iterations of the event loop.
        await asyncio.sleep(0.01)

    def cut(self) -> None:
        """Disconnect all connections, and each new one."""
        self._cut = True
        self._drop()

    def freeze(self) -> None:
        """Keep all connections open, but pass nothing on."""
        self._flows.clear()

    def freeze_open_connections(self) -> None:
        """Pass nothing on in the open connections; new connections work."""
        self._flows.clear()
        self._frozen.append(self._flows)
        self._flows = asyncio.Event()
        self._flows.set()

    def heal(self) -> None:
        """End `cut` and `freeze`."""
        self._cut = False
        self._flows.set()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._cut:
                raise ConnectionAbortedError
            if self._tls and self._ssl_request:
                # SSLRequest of PostgreSQL's protocol, and the response that accepts it.
                await reader.readexactly(8)
                writer.write(b"S")
                await writer.start_tls(self._tls)
            upstream_reader, upstream_writer = await self._upstream()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
            return
        self._writers |= {writer, upstream_writer}
        flows = self._flows
        directions = (
            self._pass(reader, upstream_writer, flows),
            self._pass(upstream_reader, writer, flows, back=True),
        )
        await asyncio.gather(*directions)
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
                if back and (
                    (self.drop_response_with and self.drop_response_with in data)
                    or random.random() < self.loss_rate
                ):
                    self.drop_response_with = b""
                    self.lost += 1
                    writer.write(data[: len(data) // 2 if self.truncate else 0])
                    break
                for start in range(0, len(data), self.slice):
                    writer.write(data[start : start + self.slice])
                    await writer.drain()
        writer.transport.abort()
