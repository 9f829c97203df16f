"""The application: its parts put together, their lifespan, the contract's routes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import getmembers, isfunction

from starlette.routing import Router

from session_service import exposure
from session_service.api import contract, docs
from session_service.api.application import Edge
from session_service.api.auth.principal import callers
from session_service.api.contract import ContractError
from session_service.api.cors import Cors
from session_service.api.endpoint import Endpoint
from session_service.api.health import Vitals
from session_service.api.router import Answers, Routes
from session_service.server.logging import AccessLog, outline
from session_service.sessions import service
from session_service.sessions.errors import ServiceError
from session_service.sessions.service import Context
from session_service.settings import SettingError, Settings
from session_service.storage import migrations, queries, statements
from session_service.storage.migrations import MigrationError
from session_service.storage.session_cache import Cache
from session_service.storage.session_store import Store
from session_service.traffic.rate_limiter import Limits

SWEEP_PAUSE = 2.0  # seconds between rounds of the sweeper

_log = logging.getLogger(__name__)


def build(settings: Settings, log: AccessLog) -> Edge:
    """Return the application; raise ContractError if the contract and the handlers do not fit together."""
    ctx = _context(settings)
    cors = Cors(settings.cors_origins, contract.load()) if settings.cors_origins else None

    @asynccontextmanager
    async def lifespan(_: Router) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await _begin(ctx, settings, stack)
            sweeper = asyncio.create_task(_sweep(ctx))
            try:
                yield
            finally:
                sweeper.cancel()

    return Edge(_routes(ctx, settings.root_path), log, ctx.health, cors, Router(lifespan=lifespan))


def _context(settings: Settings) -> Context:
    pool = statements.pool(settings.database_url, settings.database_pool_size, queries.configure)
    cache = Cache(settings.redis_url, settings.cache_seconds, settings.batch_size)
    return Context(
        pool,
        cache,
        Store(pool, cache, settings),
        Vitals(statements.pool(settings.database_url, 1, queries.configure), cache),
        callers(settings),
        Limits(cache, settings),
        settings.learner_starts,
    )


async def _begin(ctx: Context, settings: Settings, stack: AsyncExitStack) -> None:
    """Wait for what the service needs, to be given up with the stack; log why it cannot start."""
    try:
        for danger in exposure.find(settings.database_url, settings.redis_url):
            _log.warning("session-service: %s", danger)
        for store in (ctx.pool, ctx.cache, ctx.health):
            await stack.enter_async_context(store)
        await statements.await_server(ctx.pool, seconds=30)
        await migrations.check(ctx.pool)
        await ctx.health.check_database()
        ctx.store.use_digest_key(settings.digest_key or (await queries.get_digest_key(ctx.pool)).value)
        await stack.enter_async_context(ctx.callers)
    except (ServiceError, MigrationError, SettingError) as error:
        _log.critical("session-service: cannot start: %s", error)
        raise
    except Exception as error:
        _log.critical("session-service: cannot start\n%s", outline(error))
        raise


async def _sweep(ctx: Context) -> None:
    """Expire sessions for as long as the service runs; every instance does, and they share the work."""
    while True:
        await asyncio.sleep(SWEEP_PAUSE)
        try:
            await service.expire_sessions(ctx)
        except ServiceError as error:
            _log.warning("sessions were not expired: %s", error)
        except Exception as error:  # noqa: BLE001 - a round that fails is not the last one
            _log.error("sessions were not expired\n%s", outline(error))


def _routes(ctx: Context, root_path: str) -> Routes:
    """Return the paths of the contract, and those of the files about it."""
    operations = contract.load()
    found = {
        name: function for name, function in getmembers(operations, isfunction) if not name.startswith("_")
    }
    differing = found.keys() ^ {operation.id for operation in operations}
    if differing:
        raise ContractError(f"operations without a handler, or the other way round: {sorted(differing)}")
    paths: dict[str, dict[str, Answers]] = {
        path: {"GET": file} for path, file in docs.files(root_path).items()
    }
    for operation in operations:
        endpoint = Endpoint(operation, found[operation.id], ctx, root_path)
        paths.setdefault(operation.path, {})[operation.method] = endpoint
    return Routes(paths, root_path)
