"""The rules: what may happen to a session, and in which order the stores are asked and told."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from attrs import frozen

from session_service import queries, sql, wire
from session_service.cache import Cache
from session_service.errors import (
    IdempotencyKeyReusedError,
    PayloadTooLargeError,
    ServiceUnavailableError,
    ServiceUnhealthyError,
    SessionCompletedError,
    SessionConflictError,
    SessionExpiredError,
    SessionNotFoundError,
)
from session_service.models import (
    Checks,
    Cursor,
    Filter,
    Health,
    Judged,
    SessionPage,
    SessionSummary,
    Snapshot,
    Started,
    StartSession,
    Write,
    request_id,
)
from session_service.settings import SettingError, Settings
from session_service.sql import Connection, Pool

SWEEP_BATCH = 250  # rows: such a batch was seen to hold its locks for 91 ms at the most


@frozen
class Context:
    """What the rules work with: the database, the cache and the settings."""

    pool: Pool
    cache: Cache
    settings: Settings


async def start_session(ctx: Context, wanted: StartSession, key: str | None) -> Started:
    """Start an attempt, or return the one that the key or `resume` finds.

    Resumes of a user's quiz go one after the other, so that racing ones make one session.
    """
    asked_at = await ctx.cache.now()
    if wanted.if_active == "resume":
        async with sql.transaction(ctx.pool) as connection:
            await queries.lock_starts(connection, user_id=wanted.user_id, quiz_id=wanted.quiz_id)
            judged = await _start(ctx, connection, wanted, key)
    else:
        judged = await _start(ctx, ctx.pool, wanted, key)
    snapshot = await _told(ctx, judged, asked_at)
    if judged.verdict == "key_reused":
        raise IdempotencyKeyReusedError
    return Started(snapshot, new=judged.verdict == "ok")


async def list_sessions(ctx: Context, wanted: Filter) -> SessionPage:
    """Return the sessions that the filter lets through, newest first, behind its cursor."""
    found = await queries.list_sessions(
        ctx.pool,
        user_id=wanted.user_id,
        quiz_id=wanted.quiz_id,
        status=wanted.status,
        before_ms=wanted.cursor.created_ms if wanted.cursor else None,
        before_id=wanted.cursor.id if wanted.cursor else None,
        count=wanted.limit + 1,
    )
    items = found[: wanted.limit]
    return SessionPage(items, _behind(items[-1]) if len(found) > wanted.limit else None)


async def read_session(ctx: Context, session_id: UUID, *, seen: int = 0, fresh: bool = False) -> Snapshot:
    """Return the session, from the cache unless that is older than a version seen or must not be asked.

    Raise SessionExpiredError once its time is over.
    """
    held = None if fresh else await ctx.cache.get(session_id, seen)
    if held is not None:
        return held
    asked_at = await ctx.cache.now()
    judged = await queries.get_session(ctx.pool, id=session_id)
    return await _settled(ctx, session_id, judged, asked_at)


async def write_session(ctx: Context, session_id: UUID, write: Write) -> Snapshot:
    """Merge the changes into a running session and, where the write completes it, end it in the same step.

    Without a version nothing conflicts: the changes are merged into whatever is there. A repeat of a
    keyed write, and completing a completed session, change nothing and return it.
    """
    asked_at = await ctx.cache.now()
    judged = await queries.write_session(
        ctx.pool,
        id=session_id,
        changes=write.changes,
        version=write.version,
        current_question=write.current_question,
        completes=write.operation == "complete_session",
        key=write.key,
        digest=wire.digest(write) if write.key else None,
    )
    return await _settled(ctx, session_id, judged, asked_at)


async def expire_sessions(ctx: Context) -> int:
    """Store `expired` in the sessions whose time is over and return how many; others may do so at once."""
    expired = 0
    while True:
        batch = await queries.expire_sessions(ctx.pool, count=SWEEP_BATCH)
        expired += batch
        if batch < SWEEP_BATCH:
            return expired


async def check_durability(ctx: Context) -> None:
    """Raise SettingError if the database would acknowledge what a crash takes back, or judge old rows."""
    durability = await queries.get_durability(ctx.pool)
    if durability.synchronous_commit == "off" or durability.fsync == "off":
        raise SettingError(
            "PostgreSQL has to have synchronous_commit and fsync on: an answer is told as saved"
        )
    if durability.isolation != "read committed":
        raise SettingError("PostgreSQL has to have default_transaction_isolation at read committed")


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


async def _start(ctx: Context, source: Connection | Pool, wanted: StartSession, key: str | None) -> Judged:
    # A start that loses the race for its key finds the winner's session when it runs again.
    for _ in range(2):
        judged = await queries.start_session(
            source,
            id=uuid4(),
            user_id=wanted.user_id,
            quiz_id=wanted.quiz_id,
            time_limit_seconds=wanted.time_limit_seconds or ctx.settings.session_timeout_seconds,
            key=key,
            digest=wire.digest(wanted) if key else None,
            resume=wanted.if_active == "resume",
        )
        if judged is not None:
            return judged
    raise ServiceUnavailableError("not_applied")


def _behind(last: SessionSummary) -> Cursor:
    return Cursor(round(last.created_at.timestamp() * 1000), last.id)


async def _settled(ctx: Context, session_id: UUID, judged: Judged | None, asked_at: int) -> Snapshot:
    """Return the session that a statement let pass, or raise the error that its verdict stands for."""
    if judged is None:
        raise SessionNotFoundError(session_id)
    snapshot = await _told(ctx, judged, asked_at)
    match judged.verdict:
        case "ok" | "repeated" | "resumed":
            return snapshot
        case "key_reused":
            raise IdempotencyKeyReusedError
        case "conflict":
            raise SessionConflictError(snapshot)
        case "completed":
            raise SessionCompletedError(snapshot)
        case "expired":
            raise SessionExpiredError(snapshot)
        case "too_large":
            raise PayloadTooLargeError


async def _told(ctx: Context, judged: Judged, asked_at: int) -> Snapshot:
    """Return the session as it will be told, once nothing older can be read from the cache.

    `asked_at` is Redis's clock before the database was asked: from there a running session is held until
    its time is over, by the database's clock, and any for CACHE_SECONDS. An expired one is not held: what
    was held of it before has become no good at its end.
    """
    snapshot = Snapshot(judged.id, judged.version, wire.encode_session(judged))
    life = float(ctx.settings.cache_seconds)
    if judged.status == "in_progress":
        life = min(life, (judged.expires_at - judged.judged_at).total_seconds())
    if judged.status != "expired":
        await ctx.cache.raise_to(snapshot, asked_at + int(life * 1000))
    return snapshot
