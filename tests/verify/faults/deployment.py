"""A service on a private PostgreSQL, which a test may break."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
from attrs import frozen

from tests.conftest import Urls, migrate
from tests.support.inspection import INSIDE
from tests.support.service import Service, folder, running
from tests.verify.histories.postgres import Postgres


@frozen
class Deployment:
    """A PostgreSQL that may be broken, and a service on it."""

    postgres: Postgres
    service: Service


@contextmanager
def deployed(urls: Urls) -> Iterator[Deployment]:
    """Run a private PostgreSQL and a service on it, with the shared Redis."""
    with (
        folder() as base,
        migrated_postgres(base) as postgres,
        running(
            {**urls, "DATABASE_URL": postgres.url, "ERASE_DATABASE_URL": ""}, PYTHONPATH=INSIDE
        ) as service,
    ):
        yield Deployment(postgres, service)


@contextmanager
def migrated_postgres(base: Path) -> Iterator[Postgres]:
    """Run a migrated PostgreSQL in the folder."""
    postgres = Postgres(base)
    postgres.start()
    try:
        migrate({"DATABASE_URL": postgres.url, "MIGRATION_DATABASE_URL": postgres.owner_url})
        yield postgres
    finally:
        postgres.stop()


@asynccontextmanager
async def running_async(env: Urls) -> AsyncIterator[Service]:
    """Run a service while the event loop of the test continues."""
    one = running(env)
    service = await asyncio.to_thread(one.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(one.__exit__, None, None, None)


def execute(deployment: Deployment, statement: str) -> None:
    """Execute an operator's statement."""
    with psycopg.connect(deployment.postgres.owner_url, autocommit=True) as operator:
        operator.execute(statement)
