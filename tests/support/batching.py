"""Helpers for tests of batching: concurrent calls, and the number of batches."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
from redis import Redis

from dev.reaper import ROOT
from tests.conftest import Urls, migrate
from tests.support.inspection import INSIDE, suspended, unread
from tests.support.service import Service, running
from tests.support.waiting import eventually

Call = tuple[Any, ...]


def start(service: Service, user: str, if_active: str, key: str | None) -> httpx.Response:
    """Start or resume a session, with an idempotency key or without."""
    body = {"user_id": user, "quiz_id": 7, "if_active": if_active}
    return service.client.post(
        "/api/sessions/start", json=body, headers={"idempotency-key": key} if key else None
    )


def send_together(
    service: Service, clients: ThreadPoolExecutor, calls: Sequence[Call]
) -> list[Future[httpx.Response]]:
    """Send the calls while the service is suspended, so that it receives them at the same time."""
    with suspended(service):
        sent = [clients.submit(*call) for call in calls]
        eventually(lambda: unread(service.url) == len(sent))
    return sent


@contextmanager
def migrated_service(urls: Urls, repository: Path = ROOT) -> Iterator[Service]:
    """Migrate the database and run a service on it."""
    migrate(urls)
    with running(urls, repository, PYTHONPATH=INSIDE) as service:
        yield service


@contextmanager
def without_sequencer(owner: psycopg.Connection) -> Iterator[None]:
    """Let every sequencer find no events, and raise the cache for none, once those so far are placed."""
    eventually(lambda: owner.execute("select from unplaced_events").rowcount == 0)
    owner.execute("revoke select on unplaced_events from session_service")
    try:
        yield
    finally:
        owner.execute("grant select on unplaced_events to session_service")


@contextmanager
def count_batches(urls: Urls) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the number of batches so far: each one writes to the cache once.

    The sequencer, which writes to the cache, too, finds no events meanwhile.
    """
    owner = psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True)
    with Redis.from_url(urls["REDIS_URL"]) as redis, owner, without_sequencer(owner):

        def count_writes() -> int:
            return int(redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))

        before = count_writes()
        yield lambda: count_writes() - before
