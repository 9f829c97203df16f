"""Load shedding by the memory of request bodies."""

import asyncio
import json

import httpx
import psycopg

from session_service.traffic.load_shedding import MAX_BODY_MEMORY
from tests.conftest import Urls
from tests.support.inspection import QUEUED, running_in, tasks, unread
from tests.support.raw_http import parse_responses
from tests.support.service import Service, frozen_database
from tests.support.waiting import eventually_async


class Upload:
    """A save to a new session; the test sends its last byte separately."""

    def __init__(self, service: Service, content: bytes) -> None:
        self.session_id = str(service.start()["id"])
        self._path = f"/api/sessions/{self.session_id}/progress"
        self._port = int(service.url.rpartition(":")[2])
        self._content = content

    async def begin(self) -> None:
        """Send all but the last byte."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        line = f"PATCH {self._path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        head = f"{line}content-type: application/json\r\ncontent-length: {len(self._content)}\r\n\r\n"
        self._writer.write(head.encode() + self._content[:-1])
        await self._writer.drain()

    async def send(self) -> httpx.Response:
        """Send the whole request and return the response."""
        await self.begin()
        return await self.end()

    def is_sent(self) -> bool:
        """Return whether everything that was written has been sent."""
        return self._writer.transport.get_write_buffer_size() == 0

    async def end(self) -> httpx.Response:
        """Send the last byte and return the response."""
        self._writer.write(self._content[-1:])
        received = await self._reader.read()
        self._writer.close()
        (response,) = parse_responses(received, ("PATCH", self._path))
        return response


def test_bodies_over_the_memory_limit_are_rejected(patient_service: Service, fresh_database: Urls) -> None:
    """Load shedding rejects bodies beyond the memory limit as not applied; the others are saved."""
    content = json.dumps({"answers": {str(number): "x" * 10_000 for number in range(25)}}).encode()
    capacity = MAX_BODY_MEMORY // len(content)
    saves = [Upload(patient_service, content) for _ in range(capacity + 5)]

    async def save_all() -> tuple[list[httpx.Response], list[httpx.Response]]:
        await asyncio.gather(*(save.begin() for save in saves[:capacity]))
        await eventually_async(
            lambda: unread(patient_service.url) == 0 and all(save.is_sent() for save in saves[:capacity])
        )
        with frozen_database(fresh_database["MIGRATION_DATABASE_URL"]):
            held = [asyncio.ensure_future(save.end()) for save in saves[:capacity]]
            await eventually_async(
                lambda: running_in(patient_service, QUEUED) == capacity - 1,
                lambda: (tasks(patient_service), held),
            )
            early = await asyncio.gather(*(save.send() for save in saves[capacity:]))
        return early, await asyncio.gather(*held)

    early, responses = asyncio.run(save_all())
    assert {(one.status_code, one.headers["retry-after"], one.json()["outcome"]) for one in early} == {
        (503, "1", "not_applied")
    }
    assert [response.status_code for response in responses] == [200] * capacity
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as database:
        stored = database.execute("select count(*) from quiz_sessions where version = 2").fetchone()
    assert stored == (capacity,)
    assert patient_service.save(saves[0].session_id, 1, "again").status_code == 200
