"""Forward-only migrations: each file of sql/schema once and in order, and the service's rights."""

import asyncio
import hashlib
import logging
import sys
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from session_service.sessions.errors import ServiceUnavailableError
from session_service.settings import SettingError, database_url, migration_database_url
from session_service.storage import queries, statements
from session_service.storage.queries import Migration
from session_service.storage.statements import Connection, Pool, RejectedError

FOLDER = statements.FOLDER / "schema"

_log = logging.getLogger(__name__)


class MigrationError(Exception):
    """The database cannot be migrated, or lacks a migration; the text is one line."""


async def migrate(url: str, folder: Path = FOLDER, *, service_url: str = "") -> list[str]:
    """Apply what is not applied yet, return its names; raise MigrationError if a file has changed since.

    The role in the service's URL, if it is another one, can work with the tables afterwards. Raise
    SettingError, before anything is created, if the database has a setting that the service cannot work with.
    """
    first, *files = _files(folder)
    done = []
    async with await Connection.connect(url, autocommit=True, connect_timeout=10) as connection:
        await queries.configure(connection)
        await queries.allow_long_statements(connection)
        await _check_settings(connection)
        for file in files:
            async with connection.transaction():
                await connection.execute(_script(first))
                if file.stem in pending(await queries.list_migrations(connection), folder):
                    await connection.execute(_script(file))
                    await queries.record_migration(connection, name=file.stem, checksum=_checksum(file))
                    done.append(file.stem)
        await _admit(connection, service_url, first)
    return done


async def run() -> list[str]:
    """Migrate the database that the settings name and return the names of what was applied.

    Raise SettingError, or MigrationError for any error of PostgreSQL: neither repeats a password.
    """
    url, service_url = migration_database_url(), database_url()
    try:
        return await migrate(url, service_url=service_url)
    except (psycopg.Error, RejectedError, ServiceUnavailableError) as error:
        name = "DATABASE_URL" if url == service_url else "MIGRATION_DATABASE_URL"
        raise MigrationError(
            f"the PostgreSQL of {name} was not migrated: {statements.reason(error)}"
        ) from error


async def check(source: Connection | Pool) -> None:
    """Raise MigrationError unless the database has every migration that this code was written for.

    Raise SettingError if it has a setting that the service cannot work with. Log a warning if the service's
    role has rights that it does not need.
    """
    await _check_settings(source)
    try:
        missing = pending(await queries.list_migrations(source))
    except RejectedError as error:
        missing = _explain(error)
    if missing:
        raise MigrationError(f"the database lacks migrations ({', '.join(missing)}): run bin/migrate")
    if await queries.count_owned_tables(source):
        _log.warning(
            "session-service: its role can drop its tables: see MIGRATION_DATABASE_URL in docs/settings.md"
        )


def pending(applied: list[Migration], folder: Path = FOLDER) -> list[str]:
    """Return the names of the files not applied yet; raise MigrationError if an applied one has changed.

    A name that no file has is a newer release's: during a rollout both run.
    """
    checksums = {migration.name: migration.checksum for migration in applied}
    missing = []
    for file in _files(folder)[1:]:
        if file.stem not in checksums:
            missing.append(file.stem)
        elif checksums[file.stem] != _checksum(file):
            raise MigrationError(f"{file.name} was changed after it was applied: add a new file instead")
    return missing


async def _check_settings(source: Connection | Pool) -> None:
    for unfit in await queries.list_unfit_settings(source):
        raise SettingError(f"PostgreSQL has to have {unfit.name} {unfit.needed}, not {unfit.value}")


async def _admit(connection: Connection, url: str, first: Path) -> None:
    """Let the role in the URL work with the tables, unless it is the one that has made them."""
    given = conninfo_to_dict(url)
    role, password = str(given.get("user") or ""), str(given.get("password") or "")
    if role in {"", connection.info.user}:
        return
    # The password itself stands in no statement, and so in no log of the server.
    hidden = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    async with connection.transaction():
        await connection.execute(_script(first))
        await queries.name_role(connection, name=role, verifier=hidden.decode() if password else None)
        try:
            await queries.admit_role(connection)
        except RejectedError as error:
            raise MigrationError(
                f"the role of DATABASE_URL cannot be let in: {statements.reason(error)}"
            ) from error


def _explain(error: RejectedError) -> list[str]:
    """Return what is missing where the migrations cannot be listed; raise MigrationError if it is a right."""
    match error.__cause__:
        case psycopg.errors.UndefinedTable():
            return ["all of them"]
        case psycopg.errors.InsufficientPrivilege():
            raise MigrationError(
                "the role of DATABASE_URL may not read the tables: run bin/migrate (MIGRATION_DATABASE_URL)"
            ) from error
        case _:
            raise MigrationError(f"the migrations cannot be listed: {statements.reason(error)}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sql"))


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _script(file: Path) -> str:
    return file.read_text()


def main() -> None:
    """Migrate the database that the settings name and print what was applied."""
    try:
        done = asyncio.run(run())
    except (SettingError, MigrationError) as error:
        sys.exit(f"session-service: {error}")
    print(f"applied: {', '.join(done)}" if done else "nothing to apply")


if __name__ == "__main__":
    main()
