"""Leader election: of several processes one works, while its connection holds an advisory lock."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import psycopg

from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries, session_settings
from session_service.storage.connection import PostgresConnection, reason
from session_service.storage.former_primary import reject_former_primary
from session_service.storage.pool import LOG_INTERVAL
from session_service.storage.statements import RejectedError

INTERVAL = 0.5  # seconds between two attempts to acquire the lock, and between two checks that it is held

T = TypeVar("T")

# The lock belongs to a connection of PostgreSQL, which a pooler gives to the next client.
_ADVICE = (
    "webhooks need a direct connection to PostgreSQL: set DATABASE_URL to it, without the connection pooler"
)

_log = logging.getLogger(__name__)


async def lead(url: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the work, which ends when it is cancelled, whenever this process holds the lock; until cancelled.

    Raise SettingError if the URL leads to a connection pooler.

    PostgreSQL releases the lock when the connection ends: when the process is killed, too.
    """
    logged, logged_at = "", 0.0
    while True:
        try:
            async with await PostgresConnection.connect(
                url, autocommit=True, prepare_threshold=None
            ) as connection:
                await _bounded(connection, session_settings.configure_directly(connection, _ADVICE))
                await _bounded(connection, reject_former_primary(connection))
                await _lock(connection)
                await _work(connection, work())
        except (psycopg.Error, ServiceUnavailableError, RejectedError) as error:
            fault = reason(error)
            if fault != logged or time.monotonic() - logged_at >= LOG_INTERVAL:
                _log.warning("this process sends no webhooks: %s", fault)
                logged, logged_at = fault, time.monotonic()
        await asyncio.sleep(INTERVAL)


async def _lock(connection: PostgresConnection) -> None:
    """Acquire the lock until the end of the connection."""
    while True:
        if await _bounded(connection, queries.lock_webhooks(connection)):
            return
        await asyncio.sleep(INTERVAL)


async def _work(connection: PostgresConnection, work: Coroutine[Any, Any, None]) -> None:
    """Run the work while the connection lives; raise the error of the work."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=INTERVAL)
            await _bounded(connection, queries.get_clock(connection))
    except ServiceUnavailableError as error:
        _log.warning("this process has lost its lock of the webhooks: %s", reason(error))
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def _bounded(connection: PostgresConnection, statement: Awaitable[T]) -> T:
    """Return the result of the statement; a silent server ends the connection."""
    deadline = connection.deadline()
    try:
        return await statement
    finally:
        deadline.cancel()
