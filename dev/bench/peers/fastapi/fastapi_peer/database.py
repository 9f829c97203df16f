"""PostgreSQL: the engine, the table, and a database session for each request."""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import DateTime, Index, String, make_url
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_peer.schemas import Answer, Status

engine = create_async_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg"),
    pool_size=int(os.environ.get("DATABASE_POOL_SIZE", "10")),
    max_overflow=0,
)
session_maker = async_sessionmaker(engine, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    """Lend a database session; what was not committed is rolled back."""
    async with session_maker() as session:
        yield session


class Base(DeclarativeBase):
    """What the tables have in common."""

    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - as SQLAlchemy documents it


class QuizSession(Base):
    """One attempt of a user at a quiz."""

    __tablename__ = "quiz_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[str] = mapped_column(String(255))
    quiz_id: Mapped[int]
    current_question: Mapped[int] = mapped_column(default=0)
    answers: Mapped[dict[str, Answer]] = mapped_column(JSONB, default=dict)
    status: Mapped[Status] = mapped_column(String(20), default="in_progress")
    version: Mapped[int] = mapped_column(default=1)
    started_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_saved_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


_newest = (QuizSession.created_at.desc(), QuizSession.id.desc())
Index("quiz_sessions_user_quiz_newest", QuizSession.user_id, QuizSession.quiz_id, *_newest)
Index("quiz_sessions_user_newest", QuizSession.user_id, *_newest)
Index("quiz_sessions_quiz_newest", QuizSession.quiz_id, *_newest)
Index("quiz_sessions_newest", *_newest)
Index(
    "quiz_sessions_running_by_end",
    QuizSession.expires_at,
    postgresql_where=QuizSession.status == "in_progress",
)
