"""The part of life.py with the orders of a teacher."""

from datetime import UTC, datetime, timedelta
from typing import Literal, assert_type

from session_service_client import Client
from session_service_client.api.orders import (
    change_deadline,
    pause_session,
    reopen_session,
    resume_sessions,
)
from session_service_client.api.sessions import start_session, update_progress
from session_service_client.models import (
    ChangeDeadline,
    EndedBy,
    OrderReport,
    PauseSession,
    ReopenSession,
    ResumeSessions,
    SaveAnswer,
    Session,
    SessionPausedError,
    SessionStatus,
    StartSession,
)


def orders(client: Client, user: str) -> None:
    """A teacher pauses, extends, resumes, ends and reopens the session of a room."""
    room = f"{user}-room"
    started = start_session.sync(client=client, body=StartSession(f"{user}-ordered", room))
    assert isinstance(started, Session)
    assert started.paused_at is None
    paused = pause_session.sync(
        started.id, client=client, idempotency_key="pause", body=PauseSession(reason="Fire alarm")
    )
    assert isinstance(paused, Session)
    assert (paused.status, paused.closes_at) == (SessionStatus.PAUSED, None)
    assert isinstance(paused.paused_at, datetime)
    refused = update_progress.sync(started.id, client=client, body=SaveAnswer(1, "x"))
    assert isinstance(refused, SessionPausedError)
    assert_type(refused.error_code, Literal["SESSION_PAUSED"])
    assert refused.session == paused
    more = ChangeDeadline(extra_seconds=600, reason="The projector failed")
    extended = change_deadline.sync(started.id, client=client, idempotency_key="more", body=more)
    assert isinstance(extended, Session)
    assert isinstance(extended.expires_at, datetime)
    assert isinstance(started.expires_at, datetime)
    assert extended.expires_at - started.expires_at == timedelta(seconds=600)
    report = resume_sessions.sync(client=client, idempotency_key="on", body=ResumeSessions(room))
    assert isinstance(report, OrderReport)
    assert (report.changed, report.unchanged, report.unfinished) == (1, [], False)
    past = datetime(2000, 1, 1, tzinfo=UTC)
    ended = change_deadline.sync(started.id, client=client, body=ChangeDeadline(expires_at=past))
    assert isinstance(ended, Session)
    assert (ended.status, ended.ended_by) == (SessionStatus.EXPIRED, EndedBy.PROCTOR)
    again = reopen_session.sync(
        started.id, client=client, idempotency_key="again", body=ReopenSession(60, "A mistake")
    )
    assert isinstance(again, Session)
    assert (again.status, again.ended_by) == (SessionStatus.IN_PROGRESS, None)
