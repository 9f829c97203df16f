"""Settings of connections to PostgreSQL: set for each or, behind a connection pooler, required of its role.

A pooler such as PgBouncer in transaction mode gives each transaction another server connection. Whatever is
set for one of them reaches other clients, and not the next transaction. Each server connection therefore has
to begin with the values of sql/configure.sql: those of its role in the database, which bin/migrate stores.
"""

from session_service.environment import SettingError
from session_service.storage import queries
from session_service.storage.connection import PostgresConnection
from session_service.storage.former_primary import reject_former_primary
from session_service.storage.server_rows import ConnectionSetting

# The settings that PgBouncer keeps for each client: PostgreSQL reports them.
TRACKED = {"datestyle", "intervalstyle", "timezone", "standard_conforming_strings"}
MARK = "enable_seqscan"  # the setting of mark_settings.sql


class PoolerError(SettingError):
    """A connection pooler that breaks a guarantee; the text continues a sentence about its URL."""


async def configure(connection: PostgresConnection) -> int:
    """Set the settings of a connection, and reject a former primary; return the process that serves it.

    Behind a pooler only those that it keeps for each client are set: raise PoolerError unless its role and
    the server connection have the others.
    """
    settings = await apply(connection)
    if connection.pooled and _differing(settings) & TRACKED:
        await queries.set_tracked_settings(connection)
        settings = await apply(connection)
    if connection.pooled:
        _check(settings)
    else:
        await reject_former_primary(connection)
    return settings[0].pid


async def configure_directly(connection: PostgresConnection, advice: str) -> list[ConnectionSetting]:
    """Set the settings of a connection, and return them; behind a pooler raise SettingError."""
    settings = await apply(connection)
    if connection.pooled:
        raise SettingError(advice)
    return settings


async def store_settings(connection: PostgresConnection, search_path: str) -> bool:
    """Store the settings for the role of a connection through a pooler.

    Return whether connections of the role may have others: they have to end, and `mark_kept` has to follow.
    """
    async with connection.transaction():
        await queries.set_search_path(connection, path=search_path)
        settings = await apply(connection)
        if not connection.pooled:
            return False
        missing = [one.name for one in settings if one.stored != one.value]
        if missing:
            await queries.name_settings(connection, names=",".join(missing))
            await queries.store_settings(connection)
            # Until `mark_kept`, a setting is stored in another spelling: it counts as missing.
            await queries.mark_settings(connection)
    return bool(missing or _differing(settings) - TRACKED)


async def mark_kept(connection: PostgresConnection) -> None:
    """Mark the stored settings as those of every connection of the role."""
    async with connection.transaction():
        await apply(connection)
        await queries.name_settings(connection, names=MARK)
        await queries.store_settings(connection)


async def apply(connection: PostgresConnection) -> list[ConnectionSetting]:
    """Set the settings, behind a pooler until the transaction ends; return their values before and after."""
    settings = await queries.configure(connection, backend=connection.info.backend_pid)
    connection.pooled = settings[0].pooled
    return settings


def _check(settings: list[ConnectionSetting]) -> None:
    if missing := [one.name for one in settings if one.stored != one.value]:
        raise PoolerError(f"needs settings that its role lacks ({', '.join(missing)}): run bin/migrate")
    if differing := _differing(settings):
        raise PoolerError(
            "has a connection to PostgreSQL with other settings than its role "
            f"({', '.join(sorted(differing))}): run RECONNECT in PgBouncer"
        )


def _differing(settings: list[ConnectionSetting]) -> set[str]:
    return {one.name for one in settings if one.held != one.value}
