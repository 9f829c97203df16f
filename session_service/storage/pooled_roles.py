"""Stores the settings of connections for the roles that are used through a connection pooler."""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta

import psycopg

from session_service.environment import SettingError
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries, session_settings
from session_service.storage.connection import PostgresConnection, reason

PATIENCE = 10.0  # seconds for which connections that are in use may end their transactions
INTERVAL = 0.1  # seconds between two attempts

_log = logging.getLogger(__name__)


async def prepare_role(name: str, url: str, search_path: str) -> None:
    """Store the settings for the role of the URL, and end its older connections; only behind a pooler.

    The connection to PostgreSQL that served this is ended, too: the pooler would keep it for a while
    (server_idle_timeout), and bin/fence would take it for one of an instance.

    Raise SettingError if one of them stays in use. A database that is out of reach gets a warning: where the
    migration runs, the pooler may not be within reach.
    """
    try:
        async with await _connect(url) as connection:
            stored_at = await _store(connection, search_path)
    except (psycopg.OperationalError, ServiceUnavailableError) as error:
        _log.warning(
            "session-service: the settings of the role of %s were not checked: %s", name, reason(error)
        )
        return
    if stored_at and not await _end_older(url, stored_at):
        raise SettingError(
            f"the connection pooler of {name} has connections in use from before the settings of its role: "
            "run bin/migrate again"
        )


async def _store(connection: PostgresConnection, search_path: str) -> datetime | None:
    """Store the settings; return the time if connections from before it may have others."""
    is_changed = await session_settings.store_settings(connection, search_path)
    if not connection.pooled:
        return None
    if not is_changed:
        await _end_own(connection)
        return None
    async with connection.transaction():
        await session_settings.apply(connection)
        clock = await queries.get_clock(connection)
    # The clock has whole milliseconds.
    return clock.now + timedelta(milliseconds=1)


async def _end_older(url: str, before: datetime) -> bool:
    """End the connections of the role that are older, and mark its settings; return whether none is left."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < end:
        # An older connection that executes the statement ends itself.
        with suppress(psycopg.OperationalError, ServiceUnavailableError):
            async with await _connect(url) as connection:
                if not await queries.end_connections(connection, before=before):
                    await session_settings.mark_kept(connection)
                    await _end_own(connection)
                    return True
        await asyncio.sleep(INTERVAL)
    return False


async def _end_own(connection: PostgresConnection) -> None:
    with suppress(psycopg.OperationalError, ServiceUnavailableError):
        await queries.end_own_connection(connection)


async def _connect(url: str) -> PostgresConnection:
    return await PostgresConnection.connect(url, autocommit=True, prepare_threshold=None)
