"""Health checks: liveness, readiness, and the state of each store."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal

from attrs import frozen

from session_service.sessions.errors import ServiceUnavailableError

MAX_RESULT_AGE = 1.0  # seconds for which the result of a check is shared
TICK = 0.05  # seconds between polls of a running check; a late tick of a stalled event loop counts once
TIMEOUT_TICKS = 20  # ticks after which a check without a result counts as failed

Check = Callable[[], Awaitable[bool]]
StoreState = Literal["up", "down"]


@frozen
class Checks:
    """The state of each store."""

    postgres: StoreState
    redis: StoreState


@frozen
class Health:
    """The state of the service: `degraded` serves from PostgreSQL alone, `unhealthy` serves no session."""

    status: Literal["healthy", "degraded", "unhealthy"]
    checks: Checks
    timestamp: datetime
    service: Literal["session-service"] = "session-service"


@frozen
class Liveness:
    """The liveness response: the process runs."""

    status: Literal["alive"] = "alive"
    service: Literal["session-service"] = "session-service"


@frozen
class ServiceVersion:
    """The version of the service and its contract, and the revision of the code if that is known."""

    version: str
    revision: str | None
    service: Literal["session-service"] = "session-service"


@frozen
class Readiness:
    """The readiness response: `ready` unless PostgreSQL cannot serve or graceful shutdown has begun."""

    status: Literal["ready", "unavailable", "draining"]
    service: Literal["session-service"] = "session-service"


class ServiceUnhealthyError(ServiceUnavailableError):
    """The 503 of `getHealth`, with `Health` as its body."""

    def __init__(self, health: Health) -> None:
        super().__init__("not_applied")
        self.body = health


class ServiceNotReadyError(ServiceUnavailableError):
    """The 503 of `getReadiness`, with `Readiness` as its body."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__("not_applied")
        self.body = readiness


class CachedCheck:
    """A health check whose result is shared by all callers and cached for one second."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._started_at = 0.0
        self._running: asyncio.Future[bool] | None = None
        self._result: asyncio.Task[bool] | None = None

    async def run(self) -> bool:
        """Return the result of the check; a check without a result after a second counts as failed."""
        now = asyncio.get_running_loop().time()
        # A check that hangs is not started again, so that a store that hangs gets no further statements.
        if self._result is None or (
            self._running and self._running.done() and now - self._started_at >= MAX_RESULT_AGE
        ):
            self._started_at = now
            self._running = asyncio.ensure_future(self._check())
            self._result = asyncio.create_task(_with_timeout(self._running))
        return await asyncio.shield(self._result)


class HealthChecks:
    """Health checks for load balancers and orchestrators; the rate of probes does not load the stores."""

    def __init__(self, *, postgres: Check, redis: Check, redis_available: Callable[[], bool]) -> None:
        self._postgres = CachedCheck(postgres)
        self._redis = CachedCheck(redis)
        self._redis_available = redis_available
        self._draining = False

    def begin_shutdown(self) -> None:
        """Report `draining` from now on: graceful shutdown has begun."""
        self._draining = True

    def liveness(self) -> Liveness:
        """Report that the process runs, without a check of either store."""
        return Liveness()

    async def readiness(self) -> Readiness:
        """Report readiness; raise ServiceNotReadyError during shutdown or if PostgreSQL cannot serve."""
        if self._draining:
            raise ServiceNotReadyError(Readiness("draining"))
        if not await self._postgres.run():
            raise ServiceNotReadyError(Readiness("unavailable"))
        return Readiness("ready")

    async def health(self) -> Health:
        """Report the state of each store; raise ServiceUnhealthyError if PostgreSQL cannot serve."""
        postgres, redis = await asyncio.gather(self._postgres.run(), self._is_redis_up())
        health = Health(
            status="unhealthy" if not postgres else "healthy" if redis else "degraded",
            checks=Checks(postgres="up" if postgres else "down", redis="up" if redis else "down"),
            timestamp=datetime.now(UTC),
        )
        if not postgres:
            raise ServiceUnhealthyError(health)
        return health

    async def _is_redis_up(self) -> bool:
        # A failure of a request's command counts at once, even if the cached check succeeded.
        return self._redis_available() and await self._redis.run()


async def _with_timeout(running: asyncio.Future[bool]) -> bool:
    for _ in range(TIMEOUT_TICKS):
        await asyncio.wait({running}, timeout=TICK)
        if running.done():
            return running.result()
    return False
