"""More than there is room for: refused at once, with all else untouched, and over when it ends."""

import asyncio
from collections import Counter
from time import monotonic
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from session_service.traffic.load_shedding import HOLD_SECONDS, MAX_IN_FLIGHT, LoadShedder
from tests.conftest import Urls
from tests.support import clock
from tests.support.service import running
from tests.verify.histories.client import Reply, Wire

OVER = 100  # requests more than there is room for
SESSIONS = 20


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_what_there_is_no_room_for_is_refused_at_once(
    migrated: Urls, database: psycopg.Connection, server: str
) -> None:
    """With a thousand requests at work more are refused while these wait, and no reply is false."""
    user = f"crowd-{uuid4()}"
    with running(migrated, SERVER=server) as service:
        sessions = [str(service.start()["id"]) for _ in range(SESSIONS)]
        waited = asyncio.run(_crowd(urlsplit(service.url).port or 0, sessions, user, database))
        # On a slow machine some have waited for too long.
        told = Counter(reply.body.get("outcome", reply.status) for reply in waited)
        assert told.keys() <= {200, 201, "not_applied", "unknown"}
        saved = sum(service.read(session).json()["version"] - 1 for session in sessions)
        started = _started(database, user)
        assert told[200] <= saved
        assert told[201] <= started
        assert saved + started <= told[200] + told[201] + told["unknown"]
        assert service.save(sessions[0], 1, "after it").status_code == 200


def test_the_more_are_refused_the_later_they_come_again() -> None:
    """A crowd is not told to come back all at once; when it has, the next is told to wait a second again."""

    async def come() -> None:
        crowd, few = LoadShedder(), LoadShedder()
        assert [crowd.retry_after() for _ in range(4500)][-1] == 9
        assert [few.retry_after() for _ in range(501)] == [1] * 500 + [2]
        await asyncio.sleep(2.1)
        assert few.retry_after() == 1

    clock.run(come())


async def _crowd(port: int, sessions: list[str], user: str, database: psycopg.Connection) -> list[Reply]:
    """Send too many requests while nothing can be written, and return the replies to those let in."""
    wires = [Wire() for _ in range(MAX_IN_FLIGHT + OVER)]
    with database.transaction():
        database.execute("lock table quiz_sessions in share row exclusive mode")
        waiting = {
            asyncio.create_task(
                _start(wire, port, user) if place % 2 else _save(wire, port, sessions[place % SESSIONS])
            )
            for place, wire in enumerate(wires)
        }
        refused = 0
        while refused < OVER:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().status for task in done} == {503}
            refused += sum(_is_refusal(task.result()) for task in done)
        await _probe(port)
        await _hurry(port, sessions[0])
    replies = await asyncio.gather(*waiting)
    for wire in wires:
        wire.close()
    return replies


async def _save(wire: Wire, port: int, session_id: str) -> Reply:
    path = f"/api/sessions/{session_id}/progress"
    return await wire.send(port, "PUT", path, {"question_id": 1, "answer": "x"})


async def _start(wire: Wire, port: int, user: str) -> Reply:
    return await wire.send(port, "POST", "/api/sessions/start", {"user_id": user, "quiz_id": 7})


async def _hurry(port: int, session_id: str) -> None:
    """Fail if a client that was refused, and comes again at once, is heard sooner than 1 s later."""
    wire, begun = Wire(), monotonic()
    assert (await _save(wire, port, session_id)).status == 503
    assert (await wire.send(port, "GET", "/health/live")).status == 200
    assert monotonic() - begun >= HOLD_SECONDS
    wire.close()


async def _probe(port: int) -> None:
    wire = Wire()
    for path in ("/health", "/health/live", "/health/ready"):
        assert (await wire.send(port, "GET", path)).status == 200
    wire.close()


def _started(database: psycopg.Connection, user: str) -> int:
    row = database.execute("select count(*) from quiz_sessions where user_id = %s", [user]).fetchone()
    assert row is not None
    return int(row[0])


def _is_refusal(reply: Reply) -> bool:
    told = (reply.status, reply.headers.get("retry-after"), reply.body.get("outcome"))
    return told == (503, "1", "not_applied")
