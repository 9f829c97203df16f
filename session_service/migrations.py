"""Forward-only migrations: each file of sql/schema is applied once, in order, in its own transaction."""

import asyncio
import hashlib
import sys
from pathlib import Path

import psycopg
from psycopg import AsyncConnection

from session_service import queries, sql
from session_service.models import Migration
from session_service.settings import SettingError, database_url
from session_service.sql import Connection, Pool, RejectedError

FOLDER = sql.FOLDER / "schema"


class MigrationError(Exception):
    """The database and sql/schema do not fit together."""


async def migrate(url: str, folder: Path = FOLDER) -> list[str]:
    """Apply what is not applied yet, return its names; raise MigrationError if a file has changed since."""
    first, *files = _files(folder)
    done = []
    async with await AsyncConnection.connect(url, autocommit=True, connect_timeout=10) as connection:
        for file in files:
            async with connection.transaction():
                await connection.execute(_script(first))
                if file.stem in pending(await queries.list_migrations(connection), folder):
                    await connection.execute(_script(file))
                    await queries.record_migration(connection, name=file.stem, checksum=_checksum(file))
                    done.append(file.stem)
    return done


async def check(source: Connection | Pool) -> None:
    """Raise MigrationError unless the database has every migration that this code was written for."""
    try:
        missing = pending(await queries.list_migrations(source))
    except RejectedError as error:
        if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            raise
        missing = ["all of them"]
    if missing:
        raise MigrationError(f"the database lacks migrations ({', '.join(missing)}): run bin/migrate")


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


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sql"))


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _script(file: Path) -> str:
    return file.read_text()


def main() -> None:
    """Migrate the database that DATABASE_URL names and tell what was applied."""
    try:
        done = asyncio.run(migrate(database_url()))
    except (SettingError, MigrationError, psycopg.OperationalError) as error:
        sys.exit(f"session-service: {error}")
    print(f"applied: {', '.join(done)}" if done else "nothing to apply")


if __name__ == "__main__":
    main()
