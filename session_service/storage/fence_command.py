"""bin/fence: after a restore, moves all versions beyond those that were shown before it (docs/backup.md).

The lost time has given versions to changes that the database does not have any more. A client that knows such
a version would take another content for the one that it has seen (ETag), or overwrite it (`If-Match`).
"""

import asyncio
import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict

from session_service import store_urls
from session_service.environment import SettingError
from session_service.sessions.errors import ServiceUnavailableError
from session_service.settings import cache_seconds, database_url, migration_database_url, redis_url
from session_service.storage import migrations, queries, session_settings
from session_service.storage.connection import PostgresConnection, reason
from session_service.storage.migrations import MigrationError
from session_service.storage.redis import RedisClient, UnreachableError
from session_service.storage.session_cache import SessionCache
from session_service.storage.statements import RejectedError

STEP = 1000  # sessions of a transaction
PATIENCE = 5.0  # seconds for which connections may end
INTERVAL = 0.1  # seconds between two looks at them
REPORT_INTERVAL = 5.0  # seconds between two lines about the progress
# Versions have 32 bits. A session at this one has room for the jump and a million changes after it.
MAX_VERSION = 2_145_000_000

# The lock and the settings of a fence belong to a connection of PostgreSQL.
_ADVICE = "bin/fence needs a direct connection to PostgreSQL: set MIGRATION_DATABASE_URL to it"


class FenceError(Exception):
    """A reason why the fence was not begun, or is not finished; the text is one line."""


def main() -> None:
    """Fence the database of the settings; exit with 1 if it is not finished, with 2 for wrong arguments."""
    options = _arguments()
    logging.basicConfig(format="session-service: %(message)s", level=logging.ERROR)
    try:
        asyncio.run(_run(options))
    except (SettingError, MigrationError, FenceError) as error:
        sys.exit(f"session-service: {error}")
    except (ServiceUnavailableError, RejectedError, psycopg.Error) as error:
        sys.exit(f"session-service: PostgreSQL has failed: {reason(error)}")
    except UnreachableError:
        sys.exit("session-service: Redis has failed: start it, and run bin/fence --continue")


def _arguments() -> Namespace:
    parser = ArgumentParser(
        "session-service fence",
        description="After a restore of the database, before the service starts: move the versions of all "
        "sessions beyond those that clients may have seen, begin another era of the feed, clear the cache.",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--dry-run", action="store_true", help="only say what would change")
    choice.add_argument(
        "--continue", dest="goes_on", action="store_true", help="finish a run that was interrupted"
    )
    choice.add_argument(
        "--anew",
        action="store_true",
        help="after a further restore: begin again, also if a run was interrupted",
    )
    return parser.parse_args()


async def _run(options: Namespace) -> None:
    url = migration_database_url()
    _service_role()
    async with (
        await PostgresConnection.connect(url, autocommit=True) as connection,
        RedisClient(redis_url()) as redis,
    ):
        await session_settings.configure_directly(connection, _ADVICE)
        await queries.allow_long_statements(connection, local=False)
        await migrations.check_applied(connection)
        if not await queries.lock_fence(connection):
            raise FenceError("another bin/fence is running")
        era = await _interrupted(connection, options)
        await _check_room(connection, begins=era is None)
        if not options.dry_run:
            await _change(connection, redis, era)


async def _change(connection: PostgresConnection, redis: RedisClient, era: UUID | None) -> None:
    """Begin a fence, unless there is one to be continued, and finish it."""
    if not await redis.ping():
        raise FenceError("Redis is out of reach: it could show copies of sessions from before the restore")
    await _check_alone(connection)
    if era is None:
        era = (await queries.begin_fence(connection)).era
    await _fence(connection, era)
    entries = await SessionCache(redis, cache_seconds(), STEP).clear()
    await _check_alone(connection)
    await queries.finish_fence(connection, era=era)
    print(f"the cache is empty ({entries} entries), the feed has the era {era}")


async def _check_room(connection: PostgresConnection, *, begins: bool) -> None:
    """Print what would change; raise FenceError if a fence that begins has no room for a version."""
    size = await queries.measure_fence(connection)
    print(
        f"sessions: {size.sessions}, of which {size.running} run or are paused; "
        f"highest version: {size.highest}"
    )
    if begins and size.highest > MAX_VERSION:
        raise FenceError(
            f"session {size.highest_id} has a version above {MAX_VERSION}, the last with room: erase it"
        )


async def _interrupted(connection: PostgresConnection, options: Namespace) -> UUID | None:
    """Return the era of the fence that is to be continued, None for a new one."""
    for fence in await queries.list_open_fences(connection):
        done = f"a run that began at {fence.began_at:%Y-%m-%d %H:%M:%S} UTC was interrupted after "
        done += f"{fence.sessions} sessions"
        if options.goes_on:
            print(done)
            return fence.era
        if options.dry_run:
            print(done)
        elif not options.anew:
            raise FenceError(f"{done}: --continue it, or begin --anew if the database was restored since")
    if options.goes_on:
        raise FenceError("no run was interrupted")
    return None


async def _check_alone(connection: PostgresConnection) -> None:
    """Raise FenceError if the role of the service has other connections: an instance would show versions.

    Those of an instance that has just ended, or whose start this fence prevents, last for a moment.
    """
    role = _service_role() or connection.info.user
    end = asyncio.get_running_loop().time() + PATIENCE
    while count := await queries.count_service_connections(connection, role=role):
        if asyncio.get_running_loop().time() < end:
            await asyncio.sleep(INTERVAL)
            continue
        raise FenceError(
            f"the role {role} has {count} other connections: stop the service and bin/webhooks first; "
            "if PgBouncer keeps them (server_idle_timeout), run RECONNECT in its console"
        )


def _service_role() -> str:
    """Return the role of the service, "" if it is that of bin/fence; raise FenceError if it is unknown."""
    url = database_url()
    if url == migration_database_url():
        return ""
    if role := store_urls.user_of(url):
        return role
    # libpq prefers the user of a service file to that of PGUSER.
    is_in_file = "service" in conninfo_to_dict(url) or "PGSERVICE" in os.environ
    if is_in_file or not os.environ.get("PGUSER"):
        raise FenceError("DATABASE_URL must name its user: bin/fence looks for connections of the service")
    return os.environ["PGUSER"]


async def _fence(connection: PostgresConnection, era: UUID) -> None:
    """Fence the sessions in steps, each in a transaction of its own."""
    clock = asyncio.get_running_loop().time
    report_at = clock() + REPORT_INTERVAL
    while True:
        await _check_alone(connection)
        batch = await queries.fence_sessions(connection, era=era, count=STEP)
        if clock() >= report_at or not batch.fenced:
            print(f"{batch.total} sessions done", flush=True)
            report_at = clock() + REPORT_INTERVAL
        if not batch.fenced:
            return


if __name__ == "__main__":
    main()
