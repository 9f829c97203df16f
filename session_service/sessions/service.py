"""The rules: what may happen to a session, for whom, and in which order the stores are asked and told."""

from uuid import UUID

from attrs import frozen

from session_service.api.auth.principal import Callers
from session_service.api.health import Vitals
from session_service.sessions.errors import (
    ForbiddenError,
    IdempotencyKeyReusedError,
    PayloadTooLargeError,
    ServiceUnavailableError,
    SessionCompletedError,
    SessionConflictError,
    SessionExpiredError,
    SessionNotFoundError,
)
from session_service.sessions.models import (
    Caller,
    Cursor,
    Filter,
    SessionPage,
    SessionSummary,
    Snapshot,
    Started,
    StartSession,
    Write,
)
from session_service.storage import queries
from session_service.storage.session_cache import Cache
from session_service.storage.session_store import Store, Told
from session_service.storage.statements import Pool
from session_service.traffic.rate_limiter import Limits

SWEEP_BATCH = 250  # rows: such a batch was seen to hold its locks for 91 ms at the most


@frozen
class Context:
    """What the service is made of: who asks and how often, the sessions, and behind them the stores."""

    pool: Pool
    cache: Cache
    store: Store
    health: Vitals
    callers: Callers
    limits: Limits
    learner_starts: bool


async def start_session(ctx: Context, caller: Caller, wanted: StartSession, key: str | None) -> Started:
    """Start an attempt, or return the one that the key or `resume` finds.

    Raise ForbiddenError if it would be another user's, or a learner chose what only a service may.
    """
    _check_user(caller, wanted.user_id)
    if caller.owner is not None:
        _check_learner_start(ctx, wanted)
    told = await ctx.store.start(wanted, key)
    if told.verdict == "key_reused":
        raise IdempotencyKeyReusedError
    return Started(told.session, new=told.verdict == "ok")


async def list_sessions(ctx: Context, caller: Caller, wanted: Filter) -> SessionPage:
    """Return the caller's sessions that the filter lets through, newest first, behind its cursor.

    Raise ForbiddenError if the filter asks for another user's.
    """
    if wanted.user_id is not None:
        _check_user(caller, wanted.user_id)
    found = await ctx.store.find(
        {
            "user_id": caller.owner or wanted.user_id,
            "quiz_id": wanted.quiz_id,
            "status": wanted.status,
            "before_ms": wanted.cursor.created_ms if wanted.cursor else None,
            "before_id": wanted.cursor.id if wanted.cursor else None,
            "count": wanted.limit + 1,
        }
    )
    items = found[: wanted.limit]
    return SessionPage(items, _behind(items[-1]) if len(found) > wanted.limit else None)


async def read_session(
    ctx: Context, caller: Caller, session_id: UUID, *, seen: int = 0, fresh: bool = False
) -> Snapshot:
    """Return the session, no older than a version seen and, if it has to be fresh, as the database has it.

    Raise SessionExpiredError once its time is over.
    """
    return _settled(session_id, await ctx.store.read(session_id, caller.owner, seen=seen, fresh=fresh))


async def write_session(ctx: Context, caller: Caller, session_id: UUID, write: Write) -> Snapshot:
    """Merge the changes into a running session and, where the write completes it, end it in the same step.

    Without a version nothing conflicts: the changes are merged into whatever is there. A repeat of a
    keyed write, and completing a completed session, change nothing and return it.
    """
    return _settled(session_id, await ctx.store.write(session_id, caller.owner, write))


async def expire_sessions(ctx: Context) -> int:
    """Store `expired` in the sessions whose time is over and return how many; others may do so at once."""
    expired = 0
    while True:
        batch = await queries.expire_sessions(ctx.pool, count=SWEEP_BATCH)
        expired += batch
        if batch < SWEEP_BATCH:
            return expired


def _check_user(caller: Caller, user_id: str) -> None:
    if caller.owner not in (None, user_id):
        raise ForbiddenError("The token is not for this user.")


def _check_learner_start(ctx: Context, wanted: StartSession) -> None:
    if not ctx.learner_starts:
        raise ForbiddenError("Only the token of a service may start a session.")
    if wanted.time_limit_seconds is not None:
        raise ForbiddenError("Only the token of a service may choose time_limit_seconds.")


def _behind(last: SessionSummary) -> Cursor:
    return Cursor(round(last.created_at.timestamp() * 1000), last.id)


def _settled(session_id: UUID, told: Told | None) -> Snapshot:
    """Return the session that a statement let pass, or raise the error that its verdict stands for."""
    if told is None:
        raise SessionNotFoundError(session_id)
    match told.verdict:
        case "key_reused":
            raise IdempotencyKeyReusedError
        case "conflict":
            raise SessionConflictError(told.session)
        case "completed":
            raise SessionCompletedError(told.session)
        case "expired":
            raise SessionExpiredError(told.session)
        case "too_large":
            raise PayloadTooLargeError("The session would have over 10000 answers, or 1048576 bytes of them.")
        case "busy":
            raise ServiceUnavailableError("not_applied")
        case _:
            return told.session
