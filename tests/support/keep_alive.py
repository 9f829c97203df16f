"""A keep-alive HTTP client that is small enough for load tests; validates every response."""

import asyncio
import json
from typing import Any

import httpx
from attrs import define

from tests.support import conformance
from tests.support.waiting import LIMIT


class LostError(Exception):
    """The connection ended before the response was complete."""


@define
class Reply:
    """Status, headers and JSON body of a response."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


class KeepAliveClient:
    """One keep-alive connection to each port."""

    def __init__(self) -> None:
        self._streams: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def send(
        self, port: int, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a request and return its response; raise LostError if the connection ends first."""
        content = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(content)}"]
        head += ["content-type: application/json"] if content else []
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        message = "\r\n".join(head).encode() + b"\r\n\r\n" + content
        try:
            async with asyncio.timeout(LIMIT):
                status, fields, content = await self._exchange(port, message)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._drop(port)
            raise LostError from error
        request = httpx.Request(method, f"http://127.0.0.1:{port}{path}")
        response = httpx.Response(status, headers=fields, content=content, request=request)
        conformance.check(response)
        return Reply(status, dict(response.headers), response.json() if content else {})

    def close(self) -> None:
        """Close every connection."""
        for port in list(self._streams):
            self._drop(port)

    async def _exchange(self, port: int, request: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if port not in self._streams:
            self._streams[port] = await asyncio.open_connection("127.0.0.1", port, limit=2**21)
        reader, writer = self._streams[port]
        writer.write(request)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        body = await reader.readexactly(int(dict(headers).get("content-length", 0)))
        if ("connection", "close") in headers:
            self._drop(port)
        return int(first.split()[1]), headers, body

    def _drop(self, port: int) -> None:
        streams = self._streams.pop(port, None)
        if streams:
            streams[1].transport.abort()
