"""The cost of a monitor page: CPU of the service while learners work, with and without the page's polls.

python -m dev.bench.monitor [learners] [seconds]
"""

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx
from attrs import frozen

from dev import reaper
from dev.bench import measure, targets
from dev.bench.stores import Stores

POLL = 5  # seconds between two polls of a page
_SAVES = (10.0, 20.0)  # seconds between two saves of a learner
_ROUNDS = 3
_CONNECTIONS = 20
_QUIZ = "monitored"


@frozen
class Cost:
    """Percent of a core that the service and PostgreSQL take, and the replies to the polls."""

    service: float
    postgres: float
    polls: tuple[httpx.Response, ...] = ()


class Room:
    """A service with learners who each save an answer every 10 to 20 seconds."""

    def __init__(self, client: httpx.AsyncClient, pid: int, postmaster: int) -> None:
        self._client = client
        self._pids = (pid, postmaster)
        self._ids: list[str] = []

    async def fill(self, learners: int) -> None:
        """Start a session for each learner, with 20 answers of as many saves."""
        for number in range(learners):
            wanted = {
                "user_id": f"learner-{number}",
                "quiz_id": _QUIZ,
                "metadata": {"name": f"Learner {number}"},
            }
            started = await self._client.post("/api/sessions/start", json=wanted)
            self._ids.append(started.raise_for_status().json()["id"])
        for question in range(20):
            for first in range(0, learners, _CONNECTIONS):
                some = self._ids[first : first + _CONNECTIONS]
                await asyncio.gather(*(self._save(session_id, question) for session_id in some))

    async def cost(self, seconds: int, *, polled: bool, working: bool) -> Cost:
        """Return the cost of a period, in which a page polls, and in which the learners work."""
        learners = [asyncio.create_task(self._learn(one)) for one in self._ids] if working else []
        before, begin = [measure.cpu_seconds(pid) for pid in self._pids], time.monotonic()
        polls = await self._watch(seconds) if polled else []
        await asyncio.sleep(begin + seconds - time.monotonic())
        after = [measure.cpu_seconds(pid) for pid in self._pids]
        for learner in learners:
            learner.cancel()
        await asyncio.gather(*learners, return_exceptions=True)
        service, postgres = (
            100 * (late - early) / seconds for early, late in zip(before, after, strict=True)
        )
        return Cost(service, postgres, tuple(polls))

    async def _watch(self, seconds: int) -> list[httpx.Response]:
        polls: list[httpx.Response] = []
        known: dict[str, httpx.Response] = {}
        for _ in range(seconds // POLL):
            url = f"/api/sessions?quiz_id={_QUIZ}&limit=100"
            while url:
                tag = {"if-none-match": known[url].headers["etag"]} if url in known else {}
                polls.append(await self._client.get(url, headers=tag))
                if polls[-1].status_code == httpx.codes.OK:
                    known[url] = polls[-1]
                cursor = known[url].json()["next_cursor"]
                url = f"/api/sessions?quiz_id={_QUIZ}&limit=100&cursor={cursor}" if cursor else ""
            await asyncio.sleep(POLL)
        return polls

    async def _learn(self, session_id: str) -> None:
        await asyncio.sleep(random.uniform(0, _SAVES[1]))  # noqa: S311 - no secret
        while True:
            await self._save(session_id, random.randrange(40))  # noqa: S311 - no secret
            await asyncio.sleep(random.uniform(*_SAVES))  # noqa: S311 - no secret

    async def _save(self, session_id: str, question: int) -> None:
        answer = {"question_id": question, "answer": f"answer {time.monotonic()}"}
        saved = await self._client.put(
            f"/api/sessions/{session_id}/progress", json=answer, headers={"client-id": session_id[:8]}
        )
        saved.raise_for_status()


async def _compare(url: str, pid: int, postmaster: int, learners: int, seconds: int) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        room = Room(client, pid, postmaster)
        await room.fill(learners)
        for working in (True, False):
            await _print(room, learners, seconds, working=working)


async def _print(room: Room, learners: int, seconds: int, *, working: bool) -> None:
    pairs = [
        (
            await room.cost(seconds, polled=False, working=working),
            await room.cost(seconds, polled=True, working=working),
        )
        for _ in range(_ROUNDS)
    ]
    service = median(polled.service - without.service for without, polled in pairs)
    postgres = median(polled.postgres - without.postgres for without, polled in pairs)
    polls = [reply for _, polled in pairs for reply in polled.polls]
    statuses = [reply.status_code for reply in polls]
    size = max(len(reply.content) for reply in polls)
    print(
        f"{learners} learners {'at work' if working else 'who have stopped'}: a page costs the service "
        f"{service:.2f} % of a core and PostgreSQL {postgres:.2f} %; {statuses.count(200)} replies of up to "
        f"{size // 1024} KiB, {statuses.count(304)} of 304"
    )


def main(learners: int = 300, seconds: int = 60) -> None:
    """Measure both servers."""
    with (
        tempfile.TemporaryDirectory(prefix="session-service-monitor-") as name,
        reaper.servers(Path(name)) as urls,
    ):
        stores = Stores(urls, Path(name))
        postmaster = stores.postmaster()
        assert postmaster is not None
        for target in (one for one in targets.TARGETS if one.name in ("hypercorn", "uvicorn")):
            with targets.running(target, stores, Path(name)) as started:
                assert started.process is not None
                print(f"{target.name}:")
                asyncio.run(_compare(started.url, started.process.pid, postmaster, learners, seconds))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
