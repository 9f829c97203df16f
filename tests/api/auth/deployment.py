"""A deployment with tokens, whose servers' work can be counted, and its users."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from attrs import frozen
from redis import Redis

from tests.conftest import Urls
from tests.support.inspection import waiting_for_locks
from tests.support.issuer import bearer
from tests.support.service import Service
from tests.support.waiting import eventually

# Names with characters that JSON escapes.
ADA = f'ada "\\ \u00fc\u0301 \U0001f600 {uuid4()}'
BOB = f"bob {uuid4()}"
STATEMENTS = {"get_sessions", "write_sessions", "lock_session", "start_sessions", "list_sessions"}


class User(Service):
    """A client of the service with the token of one user."""

    def __init__(self, service: Service, name: str, **claims: str) -> None:
        super().__init__(service.process, service.url, service.log)
        self.name = name
        self.client.headers.update(bearer(name, **claims))


@frozen
class Deployment:
    """A service that requires tokens, with private servers; `log` is PostgreSQL's, with every statement."""

    service: Service
    urls: Urls
    log: Path
    redis: Redis
    database: psycopg.Connection

    def work(self) -> list[str]:
        """Return the statements of PostgreSQL so far, in order, and the numbers of Redis commands."""
        statements = re.findall(r"-- name: (\w+)", self.log.read_text())
        counts = self.redis.info("commandstats")
        calls = [
            f"{name} {counts.get(f'cmdstat_{name}', {}).get('calls', 0)}" for name in ("mget", "evalsha")
        ]
        return [name for name in statements if name in STATEMENTS] + calls

    def batches(self) -> list[list[dict[str, Any]]]:
        """Return the writes that PostgreSQL has received, by statement."""
        found = re.findall(
            r"arameters: \$1 = '(\[.*\"must_queue\".*\])'$", self.log.read_text(), re.MULTILINE
        )
        return [json.loads(text.replace("''", "'")) for text in found]

    @contextmanager
    def locked_table(self) -> Iterator[None]:
        """Lock the table, so that no statement of the service returns before the end of the block."""
        with psycopg.connect(self.urls["MIGRATION_DATABASE_URL"]) as holder:
            holder.execute("lock table quiz_sessions in access exclusive mode")
            yield

    def await_locks(self, count: int = 1) -> None:
        """Wait until so many statements wait for a lock."""
        eventually(lambda: waiting_for_locks(self.urls["MIGRATION_DATABASE_URL"]) >= count)
