"""A rolling update from the last release to this one, and back: both work on one database meanwhile."""

import asyncio
import os
import random
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from dev import servers
from dev.reaper import ROOT
from tests.support.service import failed_start, folder
from tests.support.waiting import LIMIT, eventually_async
from tests.verify.compatibility.releases import check_out, last_release
from tests.verify.histories.checker import check
from tests.verify.histories.client import MAX_ATTEMPTS, Client, Shared
from tests.verify.histories.cluster import CACHE_SECONDS, Instance
from tests.verify.histories.faults import final_state
from tests.verify.histories.postgres import Postgres

CLIENTS = 6
ENOUGH = 250  # operations of each step of the update
# Sessions whose lines are not one for each version since their first line.
GAPS = """
    select s.id::text, s.version, min(e.version), max(e.version), count(*)
    from quiz_sessions as s
    join session_events as e on e.session_id = s.id
    group by s.id
    having max(e.version) <> s.version or count(*) <> s.version - min(e.version) + 1
"""
# Events that the feed has not exactly once, or is not about to have once.
MISPLACED = """
    select e.session_id::text, e.version, e.type
    from session_events as e
    left join (
      select session_id, version from event_positions
      union all
      select session_id, version from unplaced_events
    ) as p using (session_id, version)
    where e.type <> 'session.saved'
    group by e.session_id, e.version, e.type
    having count(p.version) <> 1
"""


class Fleet:
    """Instances of both releases on one PostgreSQL and one Redis, which are replaced one by one."""

    def __init__(self, base: Path, old: Path, stack: ExitStack) -> None:
        self._base, self._old = base, old
        self.postgres = Postgres(base)
        self.postgres.start()
        stack.callback(self.postgres.stop)
        self._redis = stack.enter_context(servers.redis(base, base))
        stack.callback(self.stop)
        number = random.randrange(1, 2**53)
        self.shared = Shared(
            [], (number, f"quiz-ä-{number}"), f"erased-{number}", changes="of the release before"
        )
        self.instances: dict[str, Instance] = {}
        self._logs: list[Path] = []

    @property
    def settings(self) -> dict[str, str]:
        """The settings of an instance."""
        return {
            "DATABASE_URL": self.postgres.url,
            "MIGRATION_DATABASE_URL": self.postgres.owner_url,
            "ERASE_DATABASE_URL": self.postgres.erase_url,
            "REDIS_URL": self._redis.url,
        }

    def migrate(self, root: Path) -> str:
        """Apply the migrations of a release; return what it prints."""
        command = [sys.executable, "-m", "session_service.storage.migrations"]
        env = {**os.environ, **self.settings}
        return subprocess.run(
            command, cwd=root, env=env, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def start(self, name: str) -> None:
        """Start an instance, of the old release if its name begins with `old`."""
        root = self._old if name.startswith("old") else ROOT
        log = self._base / f"{name}.log"
        instance = Instance(self.settings, log, root)
        instance.start()
        self._logs.append(log)
        self.instances[name] = instance
        self.shared.ports.append(instance.port)

    def end(self, name: str) -> None:
        """Stop an instance as a deployment does: it gets no more requests before SIGTERM."""
        instance = self.instances.pop(name)
        self.shared.ports.remove(instance.port)
        instance.stop()
        assert instance.process.returncode == 0

    def stop(self) -> None:
        """Stop all instances."""
        for instance in self.instances.values():
            instance.stop()

    @property
    def errors(self) -> list[str]:
        """The lines about responses that say that a release cannot work with the database as it is."""
        lines = [line for log in self._logs for line in log.read_text().splitlines()]
        return [line for line in lines if re.search(r" 500 [\d.]+ms$", line)]

    @property
    def has_lost_redis(self) -> bool:
        """Whether an instance took Redis for unreachable, on a busy machine."""
        return any("circuit breaker open" in log.read_text() for log in self._logs)


async def _update(fleet: Fleet) -> None:
    """Update all instances and roll back, with requests in each step."""
    await _requests(fleet)
    await asyncio.to_thread(fleet.migrate, ROOT)
    await _requests(fleet)
    for old, new in (("old 1", "new 1"), ("old 2", "new 2")):
        await asyncio.to_thread(fleet.start, new)
        await _requests(fleet)
        await asyncio.to_thread(fleet.end, old)
        await _requests(fleet)
    fleet.shared.changes = "kept by the release before"
    await eventually_async(lambda: {"extend", "erase"} <= {one.kind for one in fleet.shared.operations})
    fleet.shared.changes = "of the release before"
    for new, old in (("new 1", "old 3"), ("new 2", "old 4")):
        await asyncio.to_thread(fleet.start, old)
        await _requests(fleet)
        await asyncio.to_thread(fleet.end, new)
        await _requests(fleet)


async def _requests(fleet: Fleet) -> None:
    """Wait for so many operations more."""
    before = len(fleet.shared.operations)
    await eventually_async(lambda: len(fleet.shared.operations) >= before + ENOUGH)


async def _run(fleet: Fleet) -> None:
    """Run clients from the first step of the update to the last."""
    is_over = asyncio.Event()
    names = [f"{random.randrange(10**9)}-{number}" for number in range(CLIENTS)]
    clients = [Client(fleet.shared, name, short=True).run(is_over.is_set) for name in names]
    async with asyncio.timeout(10 * LIMIT), asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client)
        await _update(fleet)
        is_over.set()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last release."""
    files = tmp_path_factory.mktemp("old")
    check_out(last_release(), files)
    return files


def test_an_update_and_a_rollback_lose_nothing(old: Path) -> None:
    """While instances are replaced one by one, and back, nothing is lost, and no response is out of order."""
    with folder() as base, ExitStack() as stack:
        fleet = Fleet(base, old, stack)
        fleet.migrate(old)
        assert "lacks migrations" in failed_start(fleet.settings)
        for name in ("old 1", "old 2"):
            fleet.start(name)
        asyncio.run(_run(fleet))
        bound = CACHE_SECONDS if fleet.has_lost_redis else None
        final = final_state(fleet.postgres.owner_url, fleet.shared)
        assert check(fleet.shared.operations, final, bound, MAX_ATTEMPTS).violations == []
        assert fleet.errors == []
        with psycopg.connect(fleet.postgres.owner_url) as database:
            assert database.execute(GAPS).fetchall() == []
            assert database.execute(MISPLACED).fetchall() == []
