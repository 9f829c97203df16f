"""The rules: what may happen to a session, and in which order the stores are asked and told."""

from datetime import UTC, datetime
from time import monotonic
from uuid import UUID, uuid4

from attrs import frozen

from session_service import queries, wire
from session_service.cache import Cache
from session_service.errors import (
    PayloadTooLargeError,
    ServiceUnavailableError,
    ServiceUnhealthyError,
    SessionCompletedError,
    SessionConflictError,
    SessionExpiredError,
    SessionNotFoundError,
)
from session_service.models import Checks, Health, Judged, Snapshot, StartSession, Write, request_id
from session_service.settings import Settings
from session_service.sql import Pool


@frozen
class Context:
    """What the rules work with: the database, the cache and the settings."""

    pool: Pool
    cache: Cache
    settings: Settings


async def start_session(ctx: Context, wanted: StartSession) -> Snapshot:
    """Start a new attempt."""
    asked_at = monotonic()
    judged = await queries.start_session(
        ctx.pool,
        id=uuid4(),
        user_id=wanted.user_id,
        quiz_id=wanted.quiz_id,
        time_limit_seconds=wanted.time_limit_seconds or ctx.settings.session_timeout_seconds,
    )
    return await _told(ctx, judged, asked_at)


async def read_session(ctx: Context, session_id: UUID) -> Snapshot:
    """Return the session, from the cache if it is there; raise SessionExpiredError once its time is over."""
    held = await ctx.cache.get(session_id)
    if held is not None:
        return held
    asked_at = monotonic()
    judged = await queries.get_session(ctx.pool, id=session_id)
    return await _settled(ctx, session_id, judged, asked_at)


async def write_session(ctx: Context, session_id: UUID, write: Write) -> Snapshot:
    """Merge the changes into a running session and, where the write completes it, end it in the same step.

    Without a version nothing conflicts: the changes are merged into whatever is there. Completing a
    completed session changes nothing and returns it.
    """
    asked_at = monotonic()
    judged = await queries.write_session(
        ctx.pool,
        id=session_id,
        changes=write.changes,
        version=write.version,
        current_question=write.current_question,
        completes=write.completes,
    )
    return await _settled(ctx, session_id, judged, asked_at)


async def check_health(ctx: Context) -> Health:
    """Tell which stores answer; raise ServiceUnhealthyError if PostgreSQL does not."""
    try:
        await queries.ping(ctx.pool)
        postgres = True
    except ServiceUnavailableError:
        postgres = False
    redis = await ctx.cache.ping()
    health = Health(
        status="unhealthy" if not postgres else "healthy" if redis else "degraded",
        checks=Checks(postgres="up" if postgres else "down", redis="up" if redis else "down"),
        timestamp=datetime.now(UTC),
        requestId=request_id.get(),
    )
    if not postgres:
        raise ServiceUnhealthyError(health)
    return health


async def _settled(ctx: Context, session_id: UUID, judged: Judged | None, asked_at: float) -> Snapshot:
    """Return the session that a statement let pass, or raise the error that its verdict stands for."""
    if judged is None:
        raise SessionNotFoundError(session_id)
    snapshot = await _told(ctx, judged, asked_at)
    match judged.verdict:
        case "ok":
            return snapshot
        case "conflict":
            raise SessionConflictError(snapshot)
        case "completed":
            raise SessionCompletedError(snapshot)
        case "expired":
            raise SessionExpiredError(snapshot)
        case "too_large":
            raise PayloadTooLargeError


async def _told(ctx: Context, judged: Judged, asked_at: float) -> Snapshot:
    """Return the session as it will be told, once the cache holds nothing older.

    A running session leaves the cache when its time is over, by the database's clock; any leaves it
    CACHE_SECONDS after the database was asked. An expired one is not held: it is over for good, and
    what was held of it before has left by then.
    """
    snapshot = Snapshot(judged.id, judged.version, wire.encode_session(judged))
    life = float(ctx.settings.cache_seconds)
    if judged.status == "in_progress":
        life = min(life, (judged.expires_at - judged.judged_at).total_seconds())
    if judged.status != "expired":
        await ctx.cache.raise_to(snapshot, life - (monotonic() - asked_at))
    return snapshot
