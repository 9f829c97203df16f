"""bin/erase: erases sessions as the role of ERASE_DATABASE_URL, on behalf of an operator."""

import asyncio
import logging
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from session_service import store_urls
from session_service.environment import SettingError
from session_service.sessions.errors import ServiceUnavailableError
from session_service.settings import cache_seconds, erase_database_url, redis_url
from session_service.storage import former_primary, queries, statements
from session_service.storage.connection import PostgresConnection, reason
from session_service.storage.erasure_rows import ErasableCounts
from session_service.storage.erasure_store import CONNECTIONS, STEP, ErasureStore
from session_service.storage.pool import await_server
from session_service.storage.redis import RedisClient
from session_service.storage.session_cache import SessionCache
from session_service.storage.statements import RejectedError

ACTOR = "system"  # the type of the actor in the line that stays
PATIENCE = 60  # seconds for which locked sessions are tried again
INTERVAL = 0.5  # seconds between two attempts


class EraseError(Exception):
    """A reason why not all sessions were erased; the text is one line."""


def main() -> None:
    """Erase what the arguments name; exit with 1 if not all of it was erased, with 2 for wrong arguments."""
    options = _arguments()
    logging.basicConfig(format="session-service: %(message)s", level=logging.ERROR)
    try:
        asyncio.run(_run(options))
    except (SettingError, EraseError) as error:
        sys.exit(f"session-service: {error}")
    except (ServiceUnavailableError, RejectedError, psycopg.Error) as error:
        sys.exit(f"session-service: PostgreSQL or Redis has failed, run it again: {reason(error)}")


def _arguments() -> Namespace:
    parser = ArgumentParser(
        "bin/erase", description="Erase sessions with all that is kept of them. This cannot be undone."
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--user", type=_user, metavar="ID", help="all sessions of a user")
    wanted.add_argument("--session", type=UUID, metavar="ID", help="one session")
    wanted.add_argument(
        "--before", type=_date, metavar="DATE", help="those that ended before a day in UTC: 2026-01-31"
    )
    wanted.add_argument(
        "--older-than",
        type=_days,
        metavar="DAYS",
        help="those that ended so many days ago, as RETENTION_DAYS",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be erased")
    parser.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    return parser.parse_args()


async def _run(options: Namespace) -> None:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisClient(redis_url()))
        store = await _store(stack, redis)
        before = options.before
        if options.older_than is not None:
            before = (await queries.get_clock(store.pool)).now - timedelta(days=options.older_than)
        found = await _count(options, before)
        print(_described(found, options))
        if options.dry_run or not (found.sessions or found.actors):
            return
        if not await redis.ping():
            raise EraseError("Redis is out of reach: it could go on serving copies of erased sessions")
        if not options.yes and sys.stdin.isatty():
            reply = await asyncio.to_thread(input, "Erase them? [y/N] ")
            if reply.strip().lower() != "y":
                raise EraseError("nothing was erased")
        print(f"erased {await _erase(store, options, before)} sessions")


async def _store(stack: AsyncExitStack, redis: RedisClient) -> ErasureStore:
    """Open the connections, and check the rights of the role."""
    url = erase_database_url()
    if url is None:
        raise SettingError("ERASE_DATABASE_URL must be set: its role may delete sessions")
    pool = statements.pool(url, CONNECTIONS, former_primary.configure)
    await stack.enter_async_context(pool)
    await await_server(pool, seconds=5, name="ERASE_DATABASE_URL")
    store = ErasureStore(pool, SessionCache(redis, cache_seconds(), STEP))
    await store.check()
    return store


async def _count(options: Namespace, before: datetime | None) -> ErasableCounts:
    """Count what would be erased, for as long as that takes."""
    async with await PostgresConnection.connect(str(erase_database_url()), autocommit=True) as connection:
        await queries.configure(connection)
        await queries.allow_long_statements(connection)
        return await queries.count_erasable(
            connection, session_id=options.session, user_id=options.user, before=before
        )


async def _erase(store: ErasureStore, options: Namespace, before: datetime | None) -> int:
    """Erase in steps until nothing is left; return the number of sessions. Raise EraseError if some are."""
    if options.session is not None:
        return int(await store.erase(options.session, ACTOR))
    erased = 0
    if options.user is not None:
        return await _erase_user(store, options.user)
    assert before is not None
    while count := await store.erase_ended(before, STEP):
        erased += count
        print(f"{erased} so far", flush=True)
    if (left := await _count(options, before)).sessions:
        raise EraseError(f"erased {erased} sessions; {left.sessions} are in use: run it again")
    return erased


async def _erase_user(store: ErasureStore, user_id: str) -> int:
    erased, end = 0, asyncio.get_running_loop().time() + PATIENCE
    while True:
        report = await store.erase_user(user_id, ACTOR)
        erased += report.erased
        if not report.unfinished:
            return erased
        print(f"{erased} so far", flush=True)
        if not report.erased and asyncio.get_running_loop().time() > end:
            raise EraseError(f"erased {erased} sessions; others are in use: run it again")
        await asyncio.sleep(INTERVAL)


def _described(found: ErasableCounts, options: Namespace) -> str:
    text = (
        f"quiz_sessions: {found.sessions}, session_events: {found.lines}, event_positions: {found.positions}"
    )
    return text if options.user is None else f"{text}; the user's name in other journals: {found.actors}"


def _user(text: str) -> str:
    if not 1 <= len(text) <= 255:
        raise ArgumentTypeError("a user id has 1 to 255 characters")
    if not store_urls.is_text(text):
        raise ArgumentTypeError("a byte is no UTF-8")
    return text


def _date(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


def _days(text: str) -> int:
    days = int(text)
    if not 0 <= days <= 36_500:
        raise ArgumentTypeError("0 to 36500 days")
    return days


if __name__ == "__main__":
    main()
