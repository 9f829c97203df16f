"""Load shedding: the limit on requests in flight, Retry-After, and health checks under overload."""

import asyncio
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from session_service.sessions.errors import ServiceUnavailableError
from session_service.traffic.load_shedding import (
    HOLD_SECONDS,
    MAX_BODY_MEMORY,
    MAX_IN_FLIGHT,
    LoadShedder,
)
from tests.conftest import Urls
from tests.support import clock
from tests.support.keep_alive import KeepAliveClient, Reply
from tests.support.service import running

EXCESS = 100  # requests beyond the limit
SESSIONS = 20


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_requests_over_the_in_flight_limit_are_rejected(
    migrated: Urls, patient_repository: Path, database: psycopg.Connection, server: str
) -> None:
    """With 1,000 requests in flight more are rejected immediately; each response has the right outcome."""
    user = f"overload-{uuid4()}"
    with running(migrated, patient_repository, SERVER=server) as service:
        sessions = [str(service.start()["id"]) for _ in range(SESSIONS)]
        accepted = asyncio.run(_overload(urlsplit(service.url).port or 0, sessions, user, database))
        outcomes = Counter(response.status for response in accepted)
        saved = sum(service.read(session).json()["version"] - 1 for session in sessions)
        assert outcomes == {200: saved, 201: _count_started(database, user)}
        assert saved + outcomes[201] == MAX_IN_FLIGHT
        assert service.save(sessions[0], 1, "after it").status_code == 200


def test_a_thousand_requests_are_admitted() -> None:
    """The request after a thousand in flight is rejected as not applied, and admitted once one has ended."""

    async def admit() -> None:
        shedder = LoadShedder()
        with shedder.admit(0), ExitStack() as others:
            for _ in range(998):
                others.enter_context(shedder.admit(0))
            with shedder.admit(0):
                with pytest.raises(ServiceUnavailableError) as rejected, shedder.admit(0):
                    pass
                assert rejected.value.outcome == "not_applied"
            with shedder.admit(0):
                pass

    asyncio.run(admit())


def test_bodies_of_32_mib_are_admitted() -> None:
    """A body beyond the limit of all bodies in flight is rejected as not applied, a smaller one admitted."""

    async def admit() -> None:
        shedder = LoadShedder()
        with shedder.admit(MAX_BODY_MEMORY - 10):
            with pytest.raises(ServiceUnavailableError) as rejected, shedder.admit(11):
                pass
            assert rejected.value.outcome == "not_applied"
            with shedder.admit(10):
                pass

    asyncio.run(admit())


def test_retry_after_grows_with_the_number_of_rejected_requests() -> None:
    """Retry-After spreads the retries: 500 for each second; it falls when the rejections end."""

    async def reject() -> None:
        many, few = LoadShedder(), LoadShedder()
        assert [many.retry_after() for _ in range(4500)][-1] == 9
        assert [few.retry_after() for _ in range(501)] == [1] * 500 + [2]
        await asyncio.sleep(2.1)
        assert few.retry_after() == 1

    clock.run(reject())


async def _overload(port: int, sessions: list[str], user: str, database: psycopg.Connection) -> list[Reply]:
    """Send too many requests while writes are blocked, and return the responses to the accepted ones."""
    with ExitStack() as connections:
        clients = [
            connections.enter_context(closing(KeepAliveClient())) for _ in range(MAX_IN_FLIGHT + EXCESS)
        ]
        with database.transaction():
            database.execute("lock table quiz_sessions in share row exclusive mode")
            waiting = {
                asyncio.create_task(
                    _start(client, port, user)
                    if place % 2
                    else _save(client, port, sessions[place % SESSIONS])
                )
                for place, client in enumerate(clients)
            }
            rejected = 0
            while rejected < EXCESS:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                assert {task.result().status for task in done} == {503}
                rejected += sum(_is_rejected(task.result()) for task in done)
            await _check_health(port)
            await _check_hold(port, sessions[0])
        return await asyncio.gather(*waiting)


async def _save(client: KeepAliveClient, port: int, session_id: str) -> Reply:
    path = f"/api/sessions/{session_id}/progress"
    return await client.send(port, "PUT", path, {"question_id": 1, "answer": "x"})


async def _start(client: KeepAliveClient, port: int, user: str) -> Reply:
    return await client.send(port, "POST", "/api/sessions/start", {"user_id": user, "quiz_id": 7})


async def _check_hold(port: int, session_id: str) -> None:
    """Fail if the connection of a client that retries immediately is read before `HOLD_SECONDS`."""
    client, begun = KeepAliveClient(), monotonic()
    assert (await _save(client, port, session_id)).status == 503
    assert (await client.send(port, "GET", "/health/live")).status == 200
    assert monotonic() - begun >= HOLD_SECONDS
    client.close()


async def _check_health(port: int) -> None:
    client = KeepAliveClient()
    for path in ("/health", "/health/live", "/health/ready"):
        assert (await client.send(port, "GET", path)).status == 200
    client.close()


def _count_started(database: psycopg.Connection, user: str) -> int:
    row = database.execute("select count(*) from quiz_sessions where user_id = %s", [user]).fetchone()
    assert row is not None
    return int(row[0])


def _is_rejected(response: Reply) -> bool:
    summary = (response.status, response.headers.get("retry-after"), response.body.get("outcome"))
    return summary == (503, "1", "not_applied")
