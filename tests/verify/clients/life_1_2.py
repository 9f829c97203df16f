"""The life of a session through the Python client of contract 1.2: python life_1_2.py URL."""

import sys
import time
from datetime import datetime
from typing import Literal, assert_type
from uuid import UUID, uuid4

from session_service_client import Client
from session_service_client.api.health import get_health
from session_service_client.api.sessions import (
    complete_session,
    get_session,
    list_sessions,
    save_answers,
    start_session,
    update_progress,
)
from session_service_client.models import (
    AnswerChanges,
    CompleteSession,
    Health,
    HealthStatus,
    IdempotencyKeyReusedError,
    IfActive,
    SaveAnswer,
    SaveAnswers,
    ServiceUnavailableError,
    Session,
    SessionCompletedError,
    SessionConflictError,
    SessionExpiredError,
    SessionNotFoundError,
    SessionPage,
    SessionStatus,
    StartSession,
    ValidationError,
)

USER = f"python-{uuid4()}"


def main() -> None:
    """Call every operation, and cause most errors."""
    with Client(base_url=sys.argv[1]) as client:
        health(client)
        session = life(client)
        conflict(client)
        errors(client, session.id)
        expired = expiry(client)
        pages(client, [expired, session.id])


def health(client: Client) -> None:
    """The service is healthy."""
    health = get_health.sync(client=client)
    assert isinstance(health, Health)
    assert health.status is HealthStatus.HEALTHY


def life(client: Client) -> Session:
    """Start, resume, save one answer and several, read, complete, save too late."""
    started = start_session.sync(client=client, body=StartSession(USER, 7), idempotency_key="start-1")
    assert isinstance(started, Session)
    assert_type(started.id, UUID)
    assert_type(started.expires_at, datetime)
    assert_type(started.completed_at, datetime | None)
    assert (started.expires_at - started.started_at).total_seconds() == 1800
    assert started.status is SessionStatus.IN_PROGRESS
    resumed = start_session.sync(client=client, body=StartSession(USER, 7, if_active=IfActive.RESUME))
    assert resumed == started

    saved = update_progress.sync(started.id, client=client, body=SaveAnswer(3, "Paris"), idempotency_key="1")
    assert isinstance(saved, Session)
    assert_type(saved.answers["3"], list[str] | str)
    assert (saved.answers["3"], saved.version, saved.current_question) == ("Paris", 2, 3)
    brief = save_answers.sync_detailed(
        started.id,
        client=client,
        body=SaveAnswers(AnswerChanges.from_dict({"3": None, "4": ["a", "c"]}), current_question=4),
        prefer="return=minimal",
    )
    assert (brief.status_code, brief.parsed, brief.headers["etag"]) == (204, None, '"3"')
    unchanged = get_session.sync_detailed(started.id, client=client, if_none_match='"3"')
    assert (unchanged.status_code, unchanged.parsed) == (304, None)
    read = get_session.sync(started.id, client=client)
    assert isinstance(read, Session)
    assert read.answers.to_dict() == {"4": ["a", "c"]}

    last = CompleteSession(AnswerChanges.from_dict({"5": "Lima"}), version=3)
    completed = complete_session.sync(started.id, client=client, body=last)
    assert isinstance(completed, Session)
    assert completed.completed_at is not None
    assert completed.completed_at.tzinfo is not None
    assert complete_session.sync(started.id, client=client) == completed
    late = update_progress.sync(started.id, client=client, body=SaveAnswer(3, "Rome"))
    assert isinstance(late, SessionCompletedError)
    assert_type(late.error_code, Literal["SESSION_COMPLETED"])
    assert late.session == completed
    return completed


def conflict(client: Client) -> None:
    """A save onto an old version is a conflict, and succeeds onto the current version."""
    started = start_session.sync(client=client, body=StartSession(f"{USER}-conflict", 8))
    assert isinstance(started, Session)
    update_progress.sync(started.id, client=client, body=SaveAnswer(1, "theirs"))
    body = SaveAnswer(2, "mine", version=started.version)
    refused = update_progress.sync(started.id, client=client, body=body)
    assert isinstance(refused, SessionConflictError)
    assert_type(refused.error_code, Literal["SESSION_CONFLICT"])
    assert_type(refused.session, Session)
    assert "2" not in refused.session.answers
    body.version = refused.current_version
    landed = update_progress.sync(started.id, client=client, body=body)
    assert isinstance(landed, Session)
    assert landed.answers.to_dict() == {"1": "theirs", "2": "mine"}


def errors(client: Client, completed: UUID) -> None:
    """Each error has a class with its code."""
    wrong = start_session.sync(client=client, body=StartSession("", 0))
    assert isinstance(wrong, ValidationError)
    assert_type(wrong.error_code, Literal["VALIDATION_ERROR"])
    assert {detail.path for detail in wrong.details} == {"body.user_id", "body.quiz_id"}
    missing = get_session.sync(uuid4(), client=client)
    assert isinstance(missing, SessionNotFoundError)
    assert_type(missing.session_id, UUID)
    keyed = StartSession(f"{USER}-keys", 8)
    assert isinstance(start_session.sync(client=client, body=keyed, idempotency_key="key"), Session)
    keyed.quiz_id = 9
    reused = start_session.sync(client=client, body=keyed, idempotency_key="key")
    assert isinstance(reused, IdempotencyKeyReusedError)
    late = save_answers.sync(completed, client=client, body=SaveAnswers(AnswerChanges.from_dict({"1": "x"})))
    assert not isinstance(late, Session | ServiceUnavailableError)


def expiry(client: Client) -> UUID:
    """An expired session is returned with all its answers."""
    body = StartSession(USER, 7, time_limit_seconds=1)
    started = start_session.sync(client=client, body=body)
    assert isinstance(started, Session)
    update_progress.sync(started.id, client=client, body=SaveAnswer(1, "in time"))
    time.sleep(1.1)
    for response in (
        update_progress.sync(started.id, client=client, body=SaveAnswer(2, "late")),
        complete_session.sync(started.id, client=client),
        get_session.sync(started.id, client=client),
    ):
        assert isinstance(response, SessionExpiredError)
        assert_type(response.error_code, Literal["SESSION_EXPIRED"])
        assert response.session.status is SessionStatus.EXPIRED
        assert response.session.answers.to_dict() == {"1": "in time"}
    return started.id


def pages(client: Client, newest_first: list[UUID]) -> None:
    """A list is read page by page."""
    first = list_sessions.sync(client=client, user_id=USER, limit=1)
    assert isinstance(first, SessionPage)
    assert_type(first.next_cursor, str | None)
    assert first.next_cursor is not None
    second = list_sessions.sync(client=client, user_id=USER, limit=1, cursor=first.next_cursor)
    assert isinstance(second, SessionPage)
    assert second.next_cursor is None
    assert [summary.id for page in (first, second) for summary in page.items] == newest_first
    done = list_sessions.sync(client=client, user_id=USER, status=SessionStatus.COMPLETED)
    assert isinstance(done, SessionPage)
    assert [summary.id for summary in done.items] == newest_first[1:]


if __name__ == "__main__":
    main()
