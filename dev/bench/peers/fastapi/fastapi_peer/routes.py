"""The operations on sessions."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, status
from pydantic import UUID4
from sqlalchemy import and_, case, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from fastapi_peer import cache, schemas
from fastapi_peer.database import QuizSession, get_session
from fastapi_peer.errors import ServiceError, refused
from fastapi_peer.schemas import Answer, Session, SessionPage, SessionSummary

Database = Annotated[AsyncSession, Depends(get_session)]

router = APIRouter(prefix="/api/sessions")


@router.post("/start", status_code=status.HTTP_201_CREATED)
async def start_session(body: schemas.StartSession, db: Database, response: Response) -> Session:
    """Start an attempt."""
    now = datetime.now(UTC)
    row = QuizSession(
        user_id=body.user_id,
        quiz_id=body.quiz_id,
        started_at=now,
        expires_at=now + timedelta(seconds=body.time_limit_seconds),
        last_saved_at=now,
        created_at=now,
        updated_at=now,
    )
    db.add(row)
    await db.commit()
    session = Session.model_validate(row)
    await cache.put(session)
    response.headers["location"] = f"/api/sessions/{session.id}"
    return session


@router.get("")
async def list_sessions(query: Annotated[schemas.Filter, Query()], db: Database) -> SessionPage:
    """Find attempts, newest first; the cursor is the id of the last one on the page before."""
    statement = (
        select(QuizSession)
        .options(defer(QuizSession.answers))
        .filter_by(**query.model_dump(include={"user_id", "quiz_id"}, exclude_none=True))
        .order_by(QuizSession.created_at.desc(), QuizSession.id.desc())
        .limit(query.limit + 1)
    )
    if query.status:
        over = and_(QuizSession.status == "in_progress", QuizSession.expires_at <= datetime.now(UTC))
        statement = statement.where(case((over, "expired"), else_=QuizSession.status) == query.status)
    if query.cursor:
        last = select(QuizSession.created_at, QuizSession.id).where(QuizSession.id == query.cursor)
        statement = statement.where(tuple_(QuizSession.created_at, QuizSession.id) < last.scalar_subquery())
    rows = (await db.scalars(statement)).all()
    items = [SessionSummary.model_validate(row) for row in rows[: query.limit]]
    return SessionPage(items=items, next_cursor=items[-1].id if len(rows) > query.limit else None)


@router.get("/{id}")
async def read_session(id: UUID4, db: Database) -> Session:
    """Read an attempt, from the cache if it is there."""
    session = await cache.get(id)
    if session is None:
        row = await db.get(QuizSession, id)
        if row is None:
            raise ServiceError("SESSION_NOT_FOUND", sessionId=str(id))
        session = Session.model_validate(row)
        await cache.put(session, replace=False)
    if session.status == "expired":
        raise refused("SESSION_EXPIRED", session)
    return session


@router.put("/{id}/progress")
async def save_answer(id: UUID4, body: schemas.SaveAnswer, db: Database) -> Session:
    """Save one answer."""
    return await _write(db, id, body, {str(body.question_id): body.answer}, body.question_id)


@router.patch("/{id}/progress")
async def save_answers(id: UUID4, body: schemas.SaveAnswers, db: Database) -> Session:
    """Save many answers."""
    return await _write(db, id, body, body.answers, body.current_question)


@router.post("/{id}/complete")
async def complete_session(id: UUID4, db: Database, body: schemas.CompleteSession | None = None) -> Session:
    """End an attempt."""
    body = body or schemas.CompleteSession()
    return await _write(db, id, body, body.answers or {}, None)


async def _write(
    db: AsyncSession,
    session_id: UUID,
    body: schemas.SaveAnswer | schemas.SaveAnswers | schemas.CompleteSession,
    changes: dict[str, Answer | None],
    current_question: int | None,
) -> Session:
    """Merge the changes into a running session, and end it if that is asked; its row is locked meanwhile."""
    completes = isinstance(body, schemas.CompleteSession)
    row = await db.get(QuizSession, session_id, with_for_update=True)
    if row is None:
        raise ServiceError("SESSION_NOT_FOUND", sessionId=str(session_id))
    session = Session.model_validate(row)
    if session.status == "completed" and completes:
        return session
    if session.status == "completed":
        raise refused("SESSION_COMPLETED", session)
    if session.status == "expired":
        raise refused("SESSION_EXPIRED", session)
    if body.version not in {None, session.version}:
        about = {"currentVersion": session.version, "retryable": True, "retryAfterSeconds": 1}
        raise refused("SESSION_CONFLICT", session, {"retry-after": "1"}, **about)

    merged = row.answers | changes
    row.answers = {question: answer for question, answer in merged.items() if answer is not None}
    if current_question is not None:
        row.current_question = current_question
    row.version += 1
    row.last_saved_at = row.updated_at = datetime.now(UTC)
    if completes:
        row.status = "completed"
        row.completed_at = row.updated_at
    await db.commit()
    session = Session.model_validate(row)
    await cache.put(session)
    return session
