"""The command line: `python -m session_service.export` exports sessions from the database, without HTTP.

Exit statuses: 0, 1 after an error, 2 for wrong options, 130 and 143 after SIGINT and SIGTERM.
"""

import asyncio
import logging
import os
import signal
import stat
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import Any, get_args

from session_service import settings, store_urls
from session_service.environment import SettingError
from session_service.sessions.errors import ServiceUnavailableError
from session_service.sessions.exports import Export, ExportFilter, Exports, Format
from session_service.sessions.models import ExternalId, Reach, Status
from session_service.storage import former_primary, statements
from session_service.storage.connection import reason
from session_service.storage.export_store import ExportStore
from session_service.storage.pool import await_server
from session_service.storage.redis import RedisClient
from session_service.storage.session_cache import SessionCache
from session_service.storage.statements import RejectedError

PROGRESS_INTERVAL = 5.0  # seconds between two lines about the progress
SERVER_TIMEOUT = 1.0  # seconds to wait for PostgreSQL

_DESCRIPTION = """
Exports all sessions of the database of DATABASE_URL that pass the filters, with their answers, newest first.
With REDIS_URL, and the CACHE_SECONDS of the service, each session has its version.
"""


class ExportError(Exception):
    """A failed export; the text says why."""


def main() -> None:
    """Export with the settings of the environment."""
    options = arguments()
    logging.basicConfig(level=logging.ERROR, format="session-service: %(message)s")
    # A shell without job control ignores SIGINT for its background commands, which would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asyncio.run(run(options))
    except (SettingError, ExportError) as error:
        sys.exit(f"session-service: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError) as stop:
        sys.exit(130 if isinstance(stop, KeyboardInterrupt) else 143)


def arguments() -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser("export", description=_DESCRIPTION)
    parser.add_argument("--quiz-id", metavar="ID", type=_text, help="only sessions of this quiz")
    parser.add_argument("--user-id", metavar="ID", type=_text, help="only sessions of this user")
    parser.add_argument("--status", choices=get_args(Status), help="only sessions with this status")
    parser.add_argument("--format", choices=get_args(Format), default="csv", help="default: csv")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="default: standard output; the file appears when it is whole",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only count the sessions and the bytes of the export"
    )
    return parser.parse_args()


async def run(options: Namespace) -> None:
    """Export until the end, SIGINT or SIGTERM; raise SettingError or ExportError."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    wanted = ExportFilter(options.user_id, options.quiz_id, options.status)
    try:
        with _output(options) as write:
            async with _exports() as (exports, check):
                export = await exports.open(Reach(None), wanted, options.format)
                size = await _copy(export, check, write)
    except ServiceUnavailableError as error:
        raise ExportError(f"the PostgreSQL of DATABASE_URL is out of reach: {reason(error)}") from None
    except RejectedError as error:
        raise ExportError(f"PostgreSQL rejects {error}; does the database need bin/migrate?") from None
    except OSError as error:
        raise ExportError(f"the export cannot be written: {error.strerror or error}") from None
    if options.dry_run:
        sys.stdout.write(f"{export.sessions} sessions, {size} bytes\n")
    else:
        _report(f"exported {export.sessions} sessions, {size} bytes")


@asynccontextmanager
async def _exports() -> AsyncIterator[tuple[Exports, Callable[[], None]]]:
    """Open the stores; yield the exports, and a function that raises ExportError if Redis is out of reach."""
    url, cache = settings.database_url(), settings.cache_settings()
    async with statements.pool(url, 1, former_primary.configure) as pool:
        await await_server(pool, SERVER_TIMEOUT)
        if cache is None:
            yield Exports(ExportStore(pool, None, _at_once), low_priority=False), lambda: None
            return
        async with RedisClient(cache[0]) as redis:

            def check() -> None:
                if not redis.available:
                    raise ExportError(
                        "the Redis of REDIS_URL is out of reach: without it there is no version"
                    )

            store = ExportStore(pool, SessionCache(redis, cache[1], 1), _at_once)
            yield Exports(store, low_priority=False), check


async def _copy(export: Export, check: Callable[[], None], write: Callable[[bytes], object]) -> int:
    """Write the chunks of the export; return the number of their bytes."""
    size, reported = 0, monotonic()
    async for chunk in export:
        check()
        write(chunk)
        size += len(chunk)
        if monotonic() - reported > PROGRESS_INTERVAL:
            _report(f"{export.sessions} sessions, {size} bytes")
            reported = monotonic()
    return size


@contextmanager
def _output(options: Namespace) -> Iterator[Callable[[bytes], object]]:
    """Yield the function that writes a chunk."""
    if options.dry_run:
        yield len
    elif options.output:
        with _new_file(options.output) as write:
            yield write
    else:
        try:
            yield sys.stdout.buffer.write
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Otherwise Python flushes the rest at its end, and fails again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


@contextmanager
def _new_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield the function that writes to a temporary file, which replaces `path` after the block.

    After an error it is removed. Only its owner may read it.
    """
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise ExportError(f"{path} is no regular file")
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False) as file:
        part = Path(file.name)
        try:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink()
            raise


async def _at_once(query: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - the result of any query
    return await query()


def _text(value: str) -> ExternalId:
    if not store_urls.is_text(value):
        raise ArgumentTypeError("a byte is no UTF-8")
    return ExternalId(value)


def _report(text: str) -> None:
    sys.stderr.write(f"session-service: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
