"""One function for each operationId, in the contract's order; its parameters are the operation's."""

from uuid import UUID

from session_service import sessions
from session_service.models import CompleteSession, Health, Reply, SaveAnswer, Snapshot, StartSession, Write
from session_service.sessions import Context


async def start_session(ctx: Context, *, body: StartSession) -> Reply:
    session = await sessions.start_session(ctx, body)
    return Reply(session, {"location": f"/api/sessions/{session.id}"})


async def get_session(ctx: Context, *, id: UUID) -> Snapshot:
    return await sessions.read_session(ctx, id)


async def update_progress(ctx: Context, *, id: UUID, body: SaveAnswer) -> Snapshot:
    changes = {str(body.question_id): body.answer}
    return await sessions.write_session(ctx, id, Write(changes, body.version, body.question_id))


async def complete_session(ctx: Context, *, id: UUID, body: CompleteSession | None) -> Snapshot:
    last = body or CompleteSession()
    return await sessions.write_session(ctx, id, Write(last.answers, last.version, completes=True))


async def get_health(ctx: Context) -> Health:
    return await sessions.check_health(ctx)
