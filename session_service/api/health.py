"""Health checks: liveness, readiness, and the state of each store."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Self

from attrs import asdict

from session_service.sessions import codec
from session_service.sessions.errors import (
    ServiceNotReadyError,
    ServiceUnavailableError,
    ServiceUnhealthyError,
)
from session_service.sessions.models import PROBE, Checks, Health, Liveness, Readiness, request_id
from session_service.settings import SettingError
from session_service.storage import queries, statements
from session_service.storage.session_cache import Cache
from session_service.storage.statements import Pool, RejectedError

_AGE = 1.0  # seconds for which a store is not asked again
_BEAT = 0.05  # seconds; a beat of the loop that comes late counts once, and not against the store
_BEATS = 20  # that a store has for an answer

_log = logging.getLogger(__name__)


class Asked:
    """A store's word on itself, asked for at most once a second, by one at a time, whoever wants it."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        self._ask = ask
        self._asked_at = 0.0
        self._answer: asyncio.Task[bool] | None = None
        self._verdict: asyncio.Task[bool] | None = None

    async def is_up(self) -> bool:
        """Tell whether the store is up; one that does not answer within a second is not."""
        now = asyncio.get_running_loop().time()
        # While an answer is out nothing more is asked: a store that stands still holds up one question.
        if self._verdict is None or (self._answer and self._answer.done() and now - self._asked_at >= _AGE):
            self._asked_at = now
            self._answer = asyncio.create_task(self._ask())
            self._verdict = asyncio.create_task(_judge(self._answer))
        return await asyncio.shield(self._verdict)


class Vitals:
    """The service's state, for those who watch it, however often they ask."""

    def __init__(self, pool: Pool, cache: Cache) -> None:
        # Of its own, with one connection: when the requests hold all of theirs PostgreSQL is up all the same.
        self._pool = pool
        self._cache = cache
        self._postgres = Asked(self._can_serve)
        self._redis = Asked(cache.ping)
        self._draining = False
        self._fault = ""

    def drain(self) -> None:
        """Say from now on that no requests are wanted: the service is about to end."""
        self._draining = True

    def liveness(self) -> Liveness:
        """Tell that the process runs, without asking anything."""
        return Liveness(request_id.get())

    async def readiness(self) -> Readiness:
        """Tell that requests are wanted; raise ServiceNotReadyError if they are not."""
        if self._draining:
            raise ServiceNotReadyError(Readiness("draining", request_id.get()))
        if not await self._postgres.is_up():
            raise ServiceNotReadyError(Readiness("unavailable", request_id.get()))
        return Readiness("ready", request_id.get())

    async def health(self) -> Health:
        """Tell which stores are up; raise ServiceUnhealthyError if PostgreSQL is not."""
        postgres, redis = await asyncio.gather(self._postgres.is_up(), self._redis_is_up())
        health = Health(
            status="unhealthy" if not postgres else "healthy" if redis else "degraded",
            checks=Checks(postgres="up" if postgres else "down", redis="up" if redis else "down"),
            timestamp=datetime.now(UTC),
            requestId=request_id.get(),
        )
        if not postgres:
            raise ServiceUnhealthyError(health)
        return health

    async def check_database(self) -> None:
        """Run the statement of the readiness check; raise SettingError where PostgreSQL rejects it.

        Out of reach or read-only, the database may come back: the service starts, and is not ready meanwhile.
        """
        try:
            await self._probe()
        except RejectedError as error:
            raise SettingError(
                f"PostgreSQL rejects what the service needs: {statements.reason(error)}"
            ) from error
        except ServiceUnavailableError as error:
            _log.warning("session-service: not ready: %s", statements.reason(error))

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def _can_serve(self) -> bool:
        """Return whether PostgreSQL does what requests need; log why not, once for each reason."""
        fault = await self._find_fault()
        if fault and fault != self._fault:
            _log.warning("not ready: %s", fault)
        self._fault = fault
        return not fault

    async def _find_fault(self) -> str:
        try:
            await self._probe()
        except Exception as error:  # noqa: BLE001 - a check that fails in whatever way has failed
            return statements.reason(error)
        return ""

    async def _probe(self) -> None:
        """Send a value of each type on the way of every statement; raise the statement's errors.

        Raise RejectedError where a value comes back changed.
        """
        row = await queries.ping(self._pool, **asdict(PROBE))
        if codec.encode(row) != codec.encode(PROBE):
            raise RejectedError("ping: PostgreSQL returns other values than it was sent")

    async def _redis_is_up(self) -> bool:
        # What a request has found out counts at once.
        return self._cache.believed and await self._redis.is_up()


async def _judge(answer: asyncio.Task[bool]) -> bool:
    for _ in range(_BEATS):
        await asyncio.wait({answer}, timeout=_BEAT)
        if answer.done():
            return answer.result()
    return False
