"""The command line: `python -m session_service.webhooks` posts events until SIGINT or SIGTERM."""

import asyncio
import logging
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from session_service import settings
from session_service.environment import SettingError
from session_service.server.logging import exits_in_log_format, log_to_stdout
from session_service.sessions.errors import ServiceError
from session_service.settings import LogSettings
from session_service.storage import migrations, queries, session_settings, statements
from session_service.storage.connection import reason
from session_service.storage.leadership import lead
from session_service.storage.migrations import MigrationError
from session_service.storage.pool import ConnectionPool
from session_service.storage.startup import await_server
from session_service.storage.statements import RejectedError
from session_service.storage.webhook_rows import WebhookLag
from session_service.webhooks import endpoints
from session_service.webhooks.dispatcher import Dispatcher
from session_service.webhooks.endpoints import Endpoint
from session_service.webhooks.sender import Sender

POOL_SIZE = 4  # connections for the statements of all endpoints; the lock has one more
REPORT_INTERVAL = 60.0  # seconds between two reports of the lag in the log
STOP_INTERVAL = (
    10.0  # seconds between two cancellations at the end: longer than posts in flight are waited for
)

_log = logging.getLogger(__name__)


def main() -> None:
    """Send webhooks, or print or change the state of endpoints."""
    options = _arguments()
    with exits_in_log_format():
        try:
            url = settings.database_url()
            if options.status or options.enable is not None or options.forget is not None:
                sys.exit(asyncio.run(_administer(url, options)))
            _run(url, endpoints.read(settings.webhooks_file()), LogSettings.read())
        except (SettingError, MigrationError, ServiceError, RejectedError) as error:
            why = str(error) if isinstance(error, SettingError | MigrationError) else reason(error)
            sys.exit("\n".join(f"session-service: {line}" for line in why.splitlines()))


def _arguments() -> Namespace:
    parser = ArgumentParser(
        "session-service webhooks", description="Post events to the endpoints of WEBHOOKS_FILE."
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--status",
        action="store_true",
        help="print the state of each endpoint; 1 if no process sends webhooks",
    )
    choice.add_argument("--enable", metavar="NAME", help="enable an endpoint that has answered 410")
    choice.add_argument("--forget", metavar="NAME", help="delete the state of an endpoint that was removed")
    return parser.parse_args()


def _run(url: str, listed: tuple[Endpoint, ...], log_settings: LogSettings) -> None:
    log = log_to_stdout(level=log_settings.level, is_json=log_settings.is_json)
    # Its lines of the level debug have each request.
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    log.start()
    try:
        asyncio.run(_serve(url, listed))
    finally:
        log.stop()


async def _serve(url: str, listed: tuple[Endpoint, ...]) -> None:
    """Send webhooks until SIGINT or SIGTERM, whenever this process is the one that does."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    serving = asyncio.create_task(_lead(url, listed))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    # Python 3.11's asyncio.wait_for can swallow a cancellation in psycopg.
    while not serving.done():
        serving.cancel()
        await asyncio.wait({serving}, timeout=STOP_INTERVAL)
    if not serving.cancelled():
        serving.result()


async def _lead(url: str, listed: tuple[Endpoint, ...]) -> None:
    async with _database(url) as pool:
        await lead(url, lambda: _dispatch(pool, listed))


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[ConnectionPool]:
    prepares = settings.database_prepares()
    async with statements.pool(url, POOL_SIZE, session_settings.configure, prepares=prepares) as pool:
        await await_server(pool, seconds=30)
        await migrations.check(pool)
        yield pool


async def _dispatch(pool: ConnectionPool, listed: tuple[Endpoint, ...]) -> None:
    """Run a dispatcher for each endpoint until cancelled."""
    async with AsyncExitStack() as stack:
        dispatchers = []
        for endpoint in listed:
            await _register(pool, endpoint)
            sender = await stack.enter_async_context(Sender(endpoint))
            dispatchers.append(Dispatcher(endpoint, pool, sender))
        _log.info("this process sends webhooks to %d endpoints", len(listed))
        async with asyncio.TaskGroup() as group:
            group.create_task(_report(pool, {endpoint.name for endpoint in listed}))
            for dispatcher in dispatchers:
                group.create_task(dispatcher.run())


async def _register(pool: ConnectionPool, endpoint: Endpoint) -> None:
    name = endpoint.name
    state = await queries.register_webhook(
        pool, name=name, types=endpoint.types, quiz_ids=endpoint.quiz_ids, digest=endpoint.digest
    )
    if state.moved:
        await queries.enable_webhook(pool, name=name)
        _log.info("webhook %s: enabled, it has another URL", name)
    elif state.disabled:
        _log.warning("webhook %s: disabled, it has answered 410", name)


async def _report(pool: ConnectionPool, names: set[str]) -> None:
    """Log the lag of each endpoint every REPORT_INTERVAL until cancelled."""
    while True:
        with suppress(ServiceError, RejectedError):
            for lag in await queries.measure_webhook_lag(pool):
                if lag.name in names:
                    _log.info("webhook %s: %s", lag.name, _describe(lag))
                else:
                    _log.warning("webhook %s: it is not in the settings any more, --forget it", lag.name)
        await asyncio.sleep(REPORT_INTERVAL)


def _describe(lag: WebhookLag) -> str:
    state = "disabled, " if lag.disabled else ""
    waiting = f"{lag.undelivered} undelivered, the oldest for {lag.oldest_seconds} s"
    return f"{state}{waiting}, {lag.retries} to be tried again"


async def _administer(url: str, options: Namespace) -> str | int:
    """Carry out the command of the options; return the exit status, or a line that says why it failed."""
    async with _database(url) as pool:
        if options.enable is not None:
            enabled = await queries.enable_webhook(pool, name=options.enable)
            return 0 if enabled else f"session-service: there is no disabled endpoint {options.enable}"
        if options.forget is not None:
            if options.forget in {endpoint.name for endpoint in endpoints.read(settings.webhooks_file())}:
                return f"session-service: {options.forget} is in WEBHOOKS_FILE: remove it there first"
            forgotten = await queries.forget_webhook(pool, name=options.forget)
            return 0 if forgotten else f"session-service: there is no endpoint {options.forget}"
        lags = await queries.measure_webhook_lag(pool)
    for lag in lags:
        print(f"{lag.name}: {_describe(lag)}")
    return 0 if any(lag.working for lag in lags) else "session-service: no process sends webhooks"


if __name__ == "__main__":
    main()
