"""The composition root: builds every part, and joins the API with the storage."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from inspect import getmembers, iscoroutinefunction
from typing import TYPE_CHECKING

from attrs import frozen
from starlette.routing import Router as Lifespan

from session_service import metrics, store_urls
from session_service.api import contract, docs, erasure_operations, monitor_page, operations, order_operations
from session_service.api.access_log import AccessLog
from session_service.api.application import Application
from session_service.api.auth.principal import Authenticator, Principal, authenticator
from session_service.api.contract import ContractError
from session_service.api.cors import Cors
from session_service.api.endpoint import Access, Endpoint
from session_service.api.health import HealthChecks, ServiceVersion
from session_service.api.operations import Services
from session_service.api.router import Route, Router
from session_service.environment import SettingError
from session_service.sessions.erasure import ErasureService
from session_service.sessions.errors import ServiceError, ServiceUnavailableError
from session_service.sessions.exports import Exports
from session_service.sessions.feed import EventFeed
from session_service.sessions.orders import OrderService
from session_service.sessions.retention import retain
from session_service.sessions.sequencer import Sequencer
from session_service.sessions.service import SessionService
from session_service.sessions.sweeper import sweep
from session_service.settings import Settings
from session_service.storage import migrations, queries, session_settings, statements
from session_service.storage.connection_budget import find_shortage
from session_service.storage.database_metrics import DatabaseMetrics
from session_service.storage.erasure_store import CONNECTIONS, ErasureStore
from session_service.storage.event_store import EventStore
from session_service.storage.export_store import ExportStore
from session_service.storage.migrations import MigrationError
from session_service.storage.order_store import OrderStore
from session_service.storage.pool import ConnectionPool
from session_service.storage.readiness import ReadinessCheck
from session_service.storage.redis import RedisClient, UnreachableError
from session_service.storage.session_cache import SessionCache
from session_service.storage.session_store import SessionStore
from session_service.storage.startup import await_server
from session_service.storage.statements import RejectedError
from session_service.traffic.rate_limiter import TAKE, RateLimiter

if TYPE_CHECKING:
    from session_service.api.tracing import Tracer

_log = logging.getLogger(__name__)


@frozen
class Storage:
    """The clients of both stores, and the parts that use them."""

    pool: ConnectionPool
    redis: RedisClient
    readiness: ReadinessCheck
    sessions: SessionStore
    orders: OrderStore
    events: EventStore
    erasure: ErasureStore | None
    exports: ExportStore


def build(settings: Settings, write_log: Callable[[str], None], *, processes: int) -> Application:
    """Return the application of an instance with so many processes, 0 where another one counts them."""
    access_log = AccessLog(write_log, is_json=settings.log.is_json, requests=settings.log.requests)
    metrics.info.set_function(lambda: 1, contract.version())
    storage = _storage(settings)
    metrics.database = DatabaseMetrics(storage.pool)
    services = _services(storage, settings)
    access = Access(authenticator(settings), _rate_limits(storage.redis, settings))
    tracer = _tracer(settings)

    @asynccontextmanager
    async def lifespan(_: Lifespan) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracer:
                stack.callback(tracer.close)
            access_log.key = await _start(storage, access.authenticator, settings, stack)
            await _warn_of_shortage(storage.pool, settings, processes)
            await stack.enter_async_context(_rounds(storage, services.feed, settings))
            yield

    application = Application(
        _router(services, access, settings),
        access_log=access_log,
        begin_shutdown=services.begin_shutdown,
        cors=Cors(settings.cors_origins, contract.load()) if settings.cors_origins else None,
        lifespan=Lifespan(lifespan=lifespan),
    )
    application.trace = tracer.add if tracer else None
    return application


def _tracer(settings: Settings) -> "Tracer | None":
    """Return the tracer of TRACES=yes, or None; without the extra opentelemetry exit with 1."""
    if not settings.traces:
        return None
    try:
        from session_service.api.tracing import Tracer  # noqa: PLC0415 - an extra, loaded only where it is chosen

        return Tracer(contract.version())
    except ImportError as error:
        sys.exit(f"session-service: TRACES=yes needs the extra opentelemetry: {error}")
    except ValueError:
        # The message has the value.
        sys.exit("session-service: TRACES=yes: a variable OTEL_... has a value that is not allowed")


def _services(storage: Storage, settings: Settings) -> Services:
    redis = storage.redis
    return Services(
        SessionService(storage.sessions, learner_starts=settings.learner_starts),
        OrderService(storage.orders),
        ErasureService(storage.erasure),
        EventFeed(storage.events),
        Exports(storage.exports),
        HealthChecks(postgres=storage.readiness, redis=redis.ping, redis_available=lambda: redis.available),
        ServiceVersion(contract.version(), settings.revision),
    )


@asynccontextmanager
async def _rounds(storage: Storage, feed: EventFeed, settings: Settings) -> AsyncIterator[None]:
    """Run the sweeper, the sequencer and, with RETENTION_DAYS, the retention in the background."""
    sequencer = Sequencer(storage.events, feed)
    storage.sessions.on_event = sequencer.wake
    rounds = [sweep(storage.sessions.expire), sequencer.run(), sequencer.trim()]
    if storage.erasure:
        storage.erasure.on_event = sequencer.wake
    if storage.erasure and settings.erasing and settings.erasing.retention_days:
        rounds.append(retain(partial(storage.erasure.erase_old, settings.erasing.retention_days)))
    tasks = [asyncio.create_task(one) for one in rounds]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def _storage(settings: Settings) -> Storage:
    connect = partial(
        statements.pool, configure=session_settings.configure, prepares=settings.database_prepares
    )
    pool = connect(settings.database_url, settings.database_pool_size)
    redis = RedisClient(settings.redis_url)
    cache = SessionCache(redis, settings.cache_seconds, settings.batch_size)
    sessions = SessionStore(pool, cache, settings)
    return Storage(
        pool,
        redis,
        ReadinessCheck(connect(settings.database_url, 1)),
        sessions,
        OrderStore(pool, sessions, settings.batch_size),
        EventStore(pool, cache, settings.events_days, lists=sessions.lists, rounds=sessions.rounds),
        _erasure(settings, connect, cache),
        ExportStore(pool, cache, sessions.lists),
    )


def _erasure(
    settings: Settings, connect: Callable[[str, int], ConnectionPool], cache: SessionCache
) -> ErasureStore | None:
    if settings.erasing is None:
        return None
    return ErasureStore(connect(settings.erasing.database_url, CONNECTIONS), cache)


def _rate_limits(redis: RedisClient, settings: Settings) -> Callable[[Principal], Awaitable[None]]:
    """Return the function that counts a request against the rate limit of its principal.

    Services have a separate limit: a platform's back end acts for many learners, and must not be limited like
    one learner.
    """
    learners, services = (
        RateLimiter(
            redis.script(TAKE), limit, unreachable=UnreachableError, max_batch_size=settings.batch_size
        )
        for limit in (settings.rate_limits.learner, settings.rate_limits.service)
    )
    return lambda principal: (services if principal.service else learners).acquire(principal.key)


async def _start(
    storage: Storage, authenticator: Authenticator, settings: Settings, stack: AsyncExitStack
) -> bytes:
    """Open the stores, to be closed with the stack, and check them; log why the service cannot start.

    Return the key of the callers' hashes in the access log.
    """
    try:
        for warning in _insecure_transports(settings):
            _log.warning("%s", warning)
        for part in (storage.pool, storage.redis, storage.readiness):
            await stack.enter_async_context(part)
        await await_server(storage.pool, seconds=30)
        await migrations.check(storage.pool)
        await storage.readiness.check_at_start()
        key = settings.digest_key or (await queries.get_digest_key(storage.pool)).value
        await storage.sessions.open(key)
        await _start_erasing(storage, stack)
        await stack.enter_async_context(authenticator)
        storage.pool.publish()
    except (ServiceError, MigrationError, SettingError) as error:
        _log.critical("cannot start: %s", error)
        raise
    except Exception as error:
        _log.critical("cannot start", exc_info=error)
        raise
    return sha256(f"caller {key}".encode()).digest()


async def _warn_of_shortage(pool: ConnectionPool, settings: Settings, processes: int) -> None:
    # The start does not depend on it: PostgreSQL may be away again.
    with suppress(ServiceUnavailableError, RejectedError):
        if shortage := processes and await find_shortage(pool, settings, processes):
            _log.warning("%s", shortage)


def _insecure_transports(settings: Settings) -> dict[str, None]:
    """Return the warnings of both roles' connections, each once."""
    urls = [settings.database_url] + ([settings.erasing.database_url] if settings.erasing else [])
    found = (store_urls.insecure_transports(url, settings.redis_url) for url in urls)
    return dict.fromkeys(warning for warnings in found for warning in warnings)


async def _start_erasing(storage: Storage, stack: AsyncExitStack) -> None:
    """Open the connections for erasing and check them; raise SettingError if they cannot be used."""
    if storage.erasure is None:
        _log.info("erasing is off: ERASE_DATABASE_URL is not set")
        return
    await stack.enter_async_context(storage.erasure.pool)
    await await_server(storage.erasure.pool, seconds=30, name="ERASE_DATABASE_URL")
    await storage.erasure.check((await storage.events.newest()).era)


def _router(services: Services, access: Access, settings: Settings) -> Router:
    """Return the router of the contract's operations and of the pages' files.

    Raise ContractError if the contract and the operations differ.
    """
    declared = contract.load()
    functions = {
        name: function
        for module in (operations, order_operations, erasure_operations)
        for name, function in getmembers(module, iscoroutinefunction)
        if not name.startswith("_")
    }
    differing = functions.keys() ^ {operation.id for operation in declared}
    if differing:
        raise ContractError(f"operations without a function, or the other way round: {sorted(differing)}")
    monitor = monitor_page.files(settings.monitor_origins, authenticated=settings.tokens is not None)
    files = docs.files(settings.root_path) | monitor
    paths: dict[str, dict[str, Route]] = {path: {"GET": file} for path, file in files.items()}
    for operation in declared:
        endpoint = Endpoint(operation, functions[operation.id], services, access, settings.root_path)
        paths.setdefault(operation.path, {})[operation.method] = endpoint
    return Router(paths, settings.root_path)
