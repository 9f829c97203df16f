"""Applies forward-only migrations: each file of sql/schema once, in order, each in a transaction.

A file whose first line is NO_TRANSACTION is applied outside of one, and again if that was interrupted.
Afterwards the service's role has the rights that it needs. Run as a program, it is bin/migrate.
"""

import asyncio
import hashlib
import logging
import re
import sys
from argparse import ArgumentParser
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from session_service.environment import SettingError
from session_service.sessions.errors import ServiceUnavailableError
from session_service.settings import database_url, erase_database_url, migration_database_url
from session_service.storage import pooled_roles, queries, session_settings, sql_files
from session_service.storage.connection import PostgresConnection, find_rejected_option, reason
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import Migration
from session_service.storage.server_rows import ConnectionSetting
from session_service.storage.statements import RejectedError

FOLDER = sql_files.FOLDER / "schema"
NO_TRANSACTION = "-- no-transaction\n"
LOCK_INTERVAL = 0.1  # seconds between two attempts to acquire the lock

_log = logging.getLogger(__name__)

# The lock and the settings of a migration belong to a connection of PostgreSQL.
_ADVICE = "bin/migrate needs a direct connection to PostgreSQL: set MIGRATION_DATABASE_URL to it"

_DESCRIPTION = """
Apply the pending migrations as the role of MIGRATION_DATABASE_URL (default: that of DATABASE_URL), and grant
the roles of DATABASE_URL and ERASE_DATABASE_URL their rights. It may be repeated.
"""
_COMMENT = re.compile(r"--[^\n]*")
# A statement ends with a semicolon that is not in a comment, a text or a $$ body.
_STATEMENT = re.compile(r"(?:--[^\n]*|'(?:[^']|'')*'|\$\$.*?\$\$|[^;])+;?", re.DOTALL)


class MigrationError(Exception):
    """The database cannot be migrated, or is not ready for this release; the text is one line."""


async def migrate(
    url: str, folder: Path = FOLDER, *, service_url: str = "", erase_url: str | None = None
) -> list[str]:
    """Apply the pending migrations and return their names; grant the roles in the other URLs their rights.

    A role whose URL leads to a connection pooler gets the settings of its connections.

    Raise MigrationError if the file of an applied migration has changed. Raise SettingError before any change
    if the database has an unsuitable setting.
    """
    first, *files = _files(folder)
    async with await PostgresConnection.connect(
        url, autocommit=True, connect_timeout=10, prepare_threshold=None
    ) as connection:
        settings = await session_settings.configure_directly(connection, _ADVICE)
        await queries.allow_long_statements(connection, local=False)
        await _check_settings(connection)
        await _lock(connection)
        async with connection.transaction():
            await _execute(connection, first)
            missing = pending(await queries.list_migrations(connection), folder)
        for file in files:
            if file.stem in missing:
                await _apply(connection, file, first)
        await _grant(connection, "DATABASE_URL", service_url, first)
        await _grant(connection, "ERASE_DATABASE_URL", erase_url or "", first)
    for name, role_url in (("DATABASE_URL", service_url), ("ERASE_DATABASE_URL", erase_url)):
        if role_url and role_url != url:
            await pooled_roles.prepare_role(name, role_url, _search_path(settings))
    return missing


async def run() -> list[str]:
    """Migrate the database of the settings and return the names of the applied migrations.

    Raise SettingError, or MigrationError for any error of PostgreSQL; their texts contain no password.
    """
    url, service_url = migration_database_url(), database_url()
    try:
        return await migrate(url, service_url=service_url, erase_url=erase_database_url())
    except (psycopg.Error, RejectedError, ServiceUnavailableError) as error:
        name = "DATABASE_URL" if url == service_url else "MIGRATION_DATABASE_URL"
        if isinstance(error, psycopg.OperationalError) and (
            rejected := find_rejected_option(error, name, url)
        ):
            raise SettingError(rejected) from None
        raise MigrationError(f"the PostgreSQL of {name} was not migrated: {reason(error)}") from error


async def check(source: PostgresConnection | ConnectionPool) -> None:
    """Raise MigrationError if a migration of this release is pending, or a fence is not finished.

    Raise SettingError for an unsuitable setting. Log a warning if the service's role owns a table, and so
    could drop it.
    """
    await check_applied(source)
    if await queries.list_open_fences(source):
        raise MigrationError(
            "the database was restored, and bin/fence has not finished: run it with --continue"
        )
    if await queries.count_owned_tables(source):
        _log.warning("its role can drop its tables: see MIGRATION_DATABASE_URL in docs/settings.md")


async def check_applied(source: PostgresConnection | ConnectionPool) -> None:
    """Raise MigrationError if a migration of this release is pending.

    Raise SettingError for an unsuitable setting.
    """
    await _check_settings(source)
    try:
        missing = pending(await queries.list_migrations(source))
    except RejectedError as error:
        missing = _explain(error)
    if missing:
        names = ", ".join(missing)
        raise MigrationError(
            f"the database lacks migrations ({names}): run bin/migrate (session-service migrate)"
        )


def pending(applied: list[Migration], folder: Path = FOLDER) -> list[str]:
    """Return the names of the pending migrations; raise MigrationError if an applied one has changed.

    An applied migration without a file belongs to a newer release: both run during a rolling update.
    """
    checksums = {migration.name: migration.checksum for migration in applied}
    missing = []
    for file in _files(folder)[1:]:
        if file.stem not in checksums:
            missing.append(file.stem)
        elif checksums[file.stem] != _checksum(file):
            raise MigrationError(f"{file.name} was changed after it was applied: add a new file instead")
    return missing


async def _check_settings(source: PostgresConnection | ConnectionPool) -> None:
    for unfit in await queries.list_unfit_settings(source):
        raise SettingError(f"PostgreSQL must have {unfit.name} {unfit.needed}, not {unfit.value}")


async def _lock(connection: PostgresConnection) -> None:
    """Acquire the lock of the migrations until the end of the connection."""
    while True:
        if await queries.lock_migrations(connection):
            return
        await asyncio.sleep(LOCK_INTERVAL)


async def _grant(connection: PostgresConnection, name: str, url: str, first: Path) -> None:
    """Grant the role in the URL its rights, unless it is the connection's own role.

    Those of ERASE_DATABASE_URL are to erase sessions, those of DATABASE_URL all others that are needed.
    """
    given = conninfo_to_dict(url)
    role, password = str(given.get("user") or ""), str(given.get("password") or "")
    if role in {"", connection.info.user}:
        return
    # Statements may be logged by the server: send a SCRAM verifier (RFC 5803) instead of the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    async with connection.transaction():
        await _execute(connection, first)
        await queries.name_role(
            connection,
            name=role,
            verifier=verifier.decode() if password else None,
            erases=name == "ERASE_DATABASE_URL",
        )
        try:
            await queries.admit_role(connection)
        except RejectedError as error:
            raise MigrationError(f"the role of {name} cannot be let in: {reason(error)}") from error


def _explain(error: RejectedError) -> list[str]:
    """Return the pending migrations if the table of applied ones does not exist.

    Raise MigrationError if PostgreSQL rejected the list for another reason.
    """
    match error.__cause__:
        case psycopg.errors.UndefinedTable():
            return ["all of them"]
        case psycopg.errors.InsufficientPrivilege():
            raise MigrationError(
                "the role of DATABASE_URL may not read the tables: run bin/migrate (MIGRATION_DATABASE_URL)"
            ) from error
        case _:
            raise MigrationError(f"the migrations cannot be listed: {reason(error)}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sql"))


def _needs_transaction(file: Path) -> bool:
    return not file.read_text().startswith(NO_TRANSACTION)


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


async def _apply(connection: PostgresConnection, file: Path, first: Path) -> None:
    """Execute the statements of a file and record it, in one transaction unless the file wants none."""
    async with AsyncExitStack() as stack:
        if _needs_transaction(file):
            await stack.enter_async_context(connection.transaction())
            await _execute(connection, first)
        await _execute(connection, file)
        await queries.record_migration(connection, name=file.stem, checksum=_checksum(file))


async def _execute(connection: PostgresConnection, file: Path) -> None:
    """Execute the statements of a file one by one: some proxies and extensions take no others."""
    for statement in _statements(file):
        await connection.execute(statement)


def _search_path(settings: list[ConnectionSetting]) -> str:
    return next((one.value for one in settings if one.name == "search_path"), "")


def _statements(file: Path) -> list[str]:
    return [text for text in _STATEMENT.findall(file.read_text()) if _COMMENT.sub("", text).strip()]


def main() -> None:
    """Migrate the database of the settings and print the names of the applied migrations."""
    ArgumentParser("session-service migrate", description=_DESCRIPTION).parse_args()
    try:
        done = asyncio.run(run())
    except (SettingError, MigrationError) as error:
        sys.exit(f"session-service: {error}")
    print(f"applied: {', '.join(done)}" if done else "nothing to apply")


if __name__ == "__main__":
    main()
