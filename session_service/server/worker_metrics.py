"""Metrics of worker processes: the supervisor asks each worker over a socket, and sums them.

The supervisor sends a line, the worker responds with its metrics as a line of JSON: `1` asks for those of the
database, too, which one worker reads for all. A worker that ends gracefully sends its last ones unasked, so
that no counter falls when workers are replaced; of one that was killed those of the last scrape count.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Any, Protocol

import orjson
from attrs import define, field

from session_service.metrics import Family
from session_service.server.admin import merge

TIMEOUT = 2.0  # seconds in which a worker must respond; later, its metrics of the scrape before are shown
LIMIT = 16 * 1024 * 1024  # bytes of a response

_COUNTED = ("counter", "histogram")


class Collect(Protocol):
    """Returns the metrics of the process, with or without those of the database."""

    async def __call__(self, *, with_database: bool) -> list[Family]: ...


@define(eq=False)
class Channel:
    """The supervisor's end of the socket to a worker, with the last metrics that the worker has sent."""

    writer: asyncio.StreamWriter
    latest: list[Family] = field(factory=list)
    waiting: asyncio.Future[None] | None = None

    async def refresh(self, *, database: bool) -> bool:
        """Ask for the current metrics; return whether they came in time."""
        self.waiting = self.waiting or asyncio.get_running_loop().create_future()
        self.writer.write(b"1\n" if database else b"0\n")
        try:
            async with asyncio.timeout(TIMEOUT):
                await asyncio.shield(self.waiting)
        except TimeoutError:
            return False
        return True

    def receive(self, line: bytes) -> None:
        """Take the metrics of a response."""
        self.latest = [Family(**family) for family in orjson.loads(line)]
        if self.waiting:
            self.waiting.set_result(None)
            self.waiting = None


class WorkerMetrics:
    """Sums the metrics of all workers, those that have ended included."""

    def __init__(self) -> None:
        self._channels: list[Channel] = []
        self._ended: list[Family] = []

    async def attach(self, ours: socket.socket) -> None:
        """Read the metrics of a worker until it ends; its counts are kept then."""
        reader, writer = await asyncio.open_connection(sock=ours, limit=LIMIT)
        channel = Channel(writer)
        self._channels.append(channel)
        try:
            while line := await reader.readline():
                channel.receive(line)
        except OSError:
            pass
        finally:
            self._channels.remove(channel)
            counted = [family for family in channel.latest if family.kind in _COUNTED]
            self._ended = merge([self._ended, counted])
            writer.close()

    async def collect(self) -> list[Family]:
        """Return the metrics of all workers as one."""
        channels = list(self._channels)
        in_time = await asyncio.gather(
            *(channel.refresh(database=number == 0) for number, channel in enumerate(channels))
        )
        if len(channels) > 1 and not in_time[0]:
            await channels[in_time.index(True) if True in in_time else 0].refresh(database=True)
        return merge([self._ended, *(channel.latest for channel in channels if channel in self._channels)])


class WorkerReporter:
    """The worker's end: responds to the supervisor's requests, and sends the last metrics at the end."""

    def __init__(self, descriptor: int, collect: Collect) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._collect = collect

    async def __aenter__(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._socket)
        self._task = asyncio.create_task(self._run(reader))

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                await self._send(database=False)
        self._writer.close()

    async def _run(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while request := await reader.readline():
                await self._send(database=request == b"1\n")

    async def _send(self, *, database: bool) -> None:
        self._writer.write(_encode(await self._collect(with_database=database)))
        await self._writer.drain()


def _encode(families: list[Family]) -> bytes:
    """Return the metrics as a line of JSON."""
    return orjson.dumps([_fields(family) for family in families], option=orjson.OPT_APPEND_NEWLINE)


def _fields(family: Family) -> dict[str, Any]:
    return {name: getattr(family, name) for name in ("name", "documentation", "kind", "samples", "merge")}
