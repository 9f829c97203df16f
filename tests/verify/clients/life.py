"""The life of a session through the generated Python client: python life.py URL."""

import sys
import time
from datetime import datetime
from typing import Any, Literal, assert_type
from uuid import UUID, uuid4

import exam_room
from session_service_client import Client
from session_service_client.api.events import list_events
from session_service_client.api.health import get_health
from session_service_client.api.sessions import (
    complete_session,
    get_session,
    list_session_events,
    list_sessions,
    save_answers,
    start_session,
    update_progress,
)
from session_service_client.models import (
    AnnotationChanges,
    AnswerChanges,
    CompleteSession,
    EndedBy,
    EventsGoneError,
    FeedPage,
    Health,
    HealthStatus,
    IdempotencyKeyReusedError,
    IfActive,
    Metadata,
    OnExpiry,
    SaveAnswer,
    SaveAnswers,
    ServiceUnavailableError,
    Session,
    SessionConflictError,
    SessionEndedError,
    SessionEndedErrorCode,
    SessionEventPage,
    SessionNotFoundError,
    SessionPage,
    SessionStatus,
    StartForbiddenError,
    StartForbiddenErrorCode,
    StartSession,
    ValidationError,
)

USER = f"python-{uuid4()}"
QUIZ = "9f1c2b3a-0d4e-4f5a-8b6c-7d8e9f0a1b2c"
DRAWING = {"strokes": [[0.5, None, {"": True}]], "__proto__": "", "\u00e4 \U0001f600": []}


def main() -> None:
    """Call every operation, and cause most errors."""
    with Client(base_url=sys.argv[1]) as client:
        health(client)
        session = life(client)
        history(client, session)
        feed(client, session)
        without_end(client)
        exam_room.orders(client, USER)
        attempts(client)
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
    started = start_session.sync(client=client, body=StartSession(USER, QUIZ), idempotency_key="start-1")
    assert isinstance(started, Session)
    assert_type(started.id, UUID)
    assert_type(started.quiz_id, int | str)
    assert_type(started.expires_at, datetime | None)
    assert_type(started.completed_at, datetime | None)
    assert (started.quiz_id, started.current_question, started.attempt) == (QUIZ, 0, None)
    assert started.expires_at is not None
    assert (started.expires_at - started.started_at).total_seconds() == 1800
    assert started.status is SessionStatus.IN_PROGRESS
    resumed = start_session.sync(client=client, body=StartSession(USER, QUIZ, if_active=IfActive.RESUME))
    assert resumed == started

    body = SaveAnswer("q-\u00fc", DRAWING, annotation={"review": True})
    saved = update_progress.sync(started.id, client=client, body=body, idempotency_key="1", client_id="tab-1")
    assert isinstance(saved, Session)
    assert_type(saved.answers["q-\u00fc"], Any)
    assert (saved.answers["q-\u00fc"], saved.version, saved.current_question) == (DRAWING, 2, "q-\u00fc")
    assert saved.annotations.to_dict() == {"q-\u00fc": {"review": True}}
    changes = AnswerChanges.from_dict({"q-\u00fc": None, "4": 1.5, "5": "", "6": False})
    brief = save_answers.sync_detailed(
        started.id,
        client=client,
        body=SaveAnswers(changes, AnnotationChanges.from_dict({"4": 12}), current_question="007"),
        prefer="return=minimal",
    )
    assert (brief.status_code, brief.parsed, brief.headers["etag"]) == (204, None, '"3"')
    assert brief.headers["session-expires-at"] > brief.headers["session-now"]
    unchanged = get_session.sync_detailed(started.id, client=client, if_none_match='"3"')
    assert (unchanged.status_code, unchanged.parsed) == (304, None)
    read = get_session.sync(started.id, client=client)
    assert isinstance(read, Session)
    assert read.answers.to_dict() == {"4": 1.5, "5": "", "6": False}
    assert (read.annotations.to_dict(), read.current_question) == (
        {"q-\u00fc": {"review": True}, "4": 12},
        "007",
    )

    last = CompleteSession(AnswerChanges.from_dict({"5": ["Lima", None]}), version=3)
    completed = complete_session.sync(started.id, client=client, body=last)
    assert isinstance(completed, Session)
    assert completed.completed_at is not None
    assert completed.completed_at.tzinfo is not None
    assert completed.ended_by is EndedBy.LEARNER
    assert complete_session.sync(started.id, client=client) == completed
    late = update_progress.sync(started.id, client=client, body=SaveAnswer(3, "Rome"))
    assert isinstance(late, SessionEndedError)
    assert late.error_code is SessionEndedErrorCode.SESSION_COMPLETED
    assert late.session == completed
    return completed


def history(client: Client, session: Session) -> None:
    """Read the journal of the session in two pages."""
    first = list_session_events.sync(session.id, client=client, limit=2)
    assert isinstance(first, SessionEventPage)
    assert (first.next_after, first.version, first.first_version) == (2, session.version, 1)
    start, save = first.items
    assert (start.type_, start.data.quiz_id, start.at) == ("session.started", QUIZ, session.started_at)
    assert (save.client_id, save.data.current_question) == ("tab-1", "q-\u00fc")
    assert isinstance(save.data.answers, AnswerChanges)
    assert save.data.answers.to_dict() == {"q-\u00fc": DRAWING}
    last = list_session_events.sync(session.id, client=client, after=2)
    assert isinstance(last, SessionEventPage)
    assert [line.type_ for line in last.items] == ["session.saved", "session.completed"]
    assert last.items[1].data.ended_by is EndedBy.LEARNER


def feed(client: Client, session: Session) -> None:
    """Follow the feed of two types to the end of the session; a cursor of another feed is refused."""
    found: list[tuple[str, int]] = []
    types = ["session.started", "session.completed"]
    page = list_events.sync(client=client, types=types, quiz_id=QUIZ)
    while len(found) < 2:
        assert isinstance(page, FeedPage)
        found += [(event.type_, event.version) for event in page.items if event.session_id == session.id]
        page = list_events.sync(client=client, types=types, quiz_id=QUIZ, after=page.next_, wait=1)
    assert found == [("session.started", 1), ("session.completed", session.version)]
    gone = list_events.sync(client=client, after="AAAA")
    assert isinstance(gone, EventsGoneError)
    assert_type(gone.oldest, str)


def without_end(client: Client) -> None:
    """A session without an end, with a position alone; 7 and "7" are one question."""
    started = start_session.sync(
        client=client, body=StartSession(f"{USER}-practice", 8, time_limit_seconds=0)
    )
    assert isinstance(started, Session)
    assert (started.expires_at, started.closes_at) == (None, None)
    moved = save_answers.sync(started.id, client=client, body=SaveAnswers(current_question="7"))
    assert isinstance(moved, Session)
    assert (moved.current_question, moved.last_saved_at) == (7, started.last_saved_at)


def attempts(client: Client) -> None:
    """The second attempt of an exam with one is refused."""
    metadata = Metadata.from_dict({"course": "B12"})
    body = StartSession(
        f"{USER}-exam",
        "exam",
        grace_seconds=10,
        on_expiry=OnExpiry.COMPLETE,
        max_attempts=1,
        metadata=metadata,
    )
    started = start_session.sync(client=client, body=body)
    assert isinstance(started, Session)
    assert (started.attempt, started.metadata.to_dict()) == (1, {"course": "B12"})
    refused = start_session.sync(client=client, body=body)
    assert isinstance(refused, StartForbiddenError)
    assert refused.error_code is StartForbiddenErrorCode.ATTEMPTS_EXHAUSTED


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
    body = StartSession(f"{USER}-keys", 8)
    assert isinstance(start_session.sync(client=client, body=body, idempotency_key="key"), Session)
    body.quiz_id = 9
    reused = start_session.sync(client=client, body=body, idempotency_key='"key"')
    assert isinstance(reused, IdempotencyKeyReusedError)
    late = save_answers.sync(completed, client=client, body=SaveAnswers(AnswerChanges.from_dict({"1": "x"})))
    assert not isinstance(late, Session | ServiceUnavailableError)


def expiry(client: Client) -> UUID:
    """An expired session is returned with all its answers."""
    body = StartSession(USER, "7", time_limit_seconds=1)
    started = start_session.sync(client=client, body=body)
    assert isinstance(started, Session)
    update_progress.sync(started.id, client=client, body=SaveAnswer(1, "in time"))
    time.sleep(1.1)
    for response in (
        update_progress.sync(started.id, client=client, body=SaveAnswer(2, "late")),
        complete_session.sync(started.id, client=client),
        get_session.sync(started.id, client=client),
    ):
        assert isinstance(response, SessionEndedError)
        assert response.error_code is SessionEndedErrorCode.SESSION_EXPIRED
        assert response.session.status is SessionStatus.EXPIRED
        assert response.session.answers.to_dict() == {"1": "in time"}
        assert response.session.quiz_id == 7
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
    done = list_sessions.sync(client=client, user_id=USER, quiz_id=QUIZ, status=SessionStatus.COMPLETED)
    assert isinstance(done, SessionPage)
    assert [summary.id for summary in done.items] == newest_first[1:]


if __name__ == "__main__":
    main()
