"""One function for each operationId, in the contract's order; its parameters are the operation's."""

from uuid import UUID

from session_service.sessions import service
from session_service.sessions.models import (
    Caller,
    CompleteSession,
    Cursor,
    Filter,
    Fresh,
    Health,
    IfMatch,
    Liveness,
    Readiness,
    SaveAnswer,
    SaveAnswers,
    Seen,
    SessionPage,
    Snapshot,
    Started,
    StartSession,
    Status,
    Write,
)
from session_service.sessions.service import Context


async def start_session(
    ctx: Context, caller: Caller, *, body: StartSession, idempotency_key: str | None = None
) -> Started:
    return await service.start_session(ctx, caller, body, idempotency_key)


async def list_sessions(
    ctx: Context,
    caller: Caller,
    *,
    user_id: str | None = None,
    quiz_id: int | None = None,
    status: Status | None = None,
    limit: int = 20,
    cursor: Cursor | None = None,
) -> SessionPage:
    return await service.list_sessions(ctx, caller, Filter(user_id, quiz_id, status, limit, cursor))


async def get_session(
    ctx: Context,
    caller: Caller,
    *,
    id: UUID,
    if_none_match: Seen | None = None,
    cache_control: Fresh | None = None,
) -> Snapshot:
    seen = if_none_match.newest if if_none_match else 0
    return await service.read_session(ctx, caller, id, seen=seen, fresh=bool(cache_control))


async def update_progress(
    ctx: Context,
    caller: Caller,
    *,
    id: UUID,
    body: SaveAnswer,
    idempotency_key: str | None = None,
    if_match: IfMatch | None = None,
) -> Snapshot:
    changes = {str(body.question_id): body.answer}
    expected = _expected_versions(body.version, if_match)
    write = Write("update_progress", changes, expected, body.question_id, idempotency_key)
    return await service.write_session(ctx, caller, id, write)


async def save_answers(
    ctx: Context,
    caller: Caller,
    *,
    id: UUID,
    body: SaveAnswers,
    idempotency_key: str | None = None,
    if_match: IfMatch | None = None,
) -> Snapshot:
    expected = _expected_versions(body.version, if_match)
    write = Write("save_answers", body.answers, expected, body.current_question, idempotency_key)
    return await service.write_session(ctx, caller, id, write)


async def complete_session(
    ctx: Context,
    caller: Caller,
    *,
    id: UUID,
    body: CompleteSession | None,
    idempotency_key: str | None = None,
    if_match: IfMatch | None = None,
) -> Snapshot:
    last = body or CompleteSession()
    expected = _expected_versions(last.version, if_match)
    write = Write("complete_session", last.answers, expected, key=idempotency_key)
    return await service.write_session(ctx, caller, id, write)


async def get_health(ctx: Context) -> Health:
    return await ctx.health.health()


async def get_liveness(ctx: Context) -> Liveness:
    return ctx.health.liveness()


async def get_readiness(ctx: Context) -> Readiness:
    return await ctx.health.readiness()


def _expected_versions(version: int | None, if_match: IfMatch | None) -> tuple[int, ...] | None:
    """Return the versions that a write may land on, None for any; the body's takes precedence."""
    return if_match if version is None else (version,)
