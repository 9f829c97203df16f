"""A teacher changes the time of an attempt while a learner works: python teaching.py URL SCENARIO."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from time import sleep
from uuid import UUID, uuid4

from harness import (
    CLIENT,
    QUIZ,
    clock,
    device,
    finish,
    made,
    new_user,
    requests,
    run,
    save,
    script,
    state,
    until,
)
from session_service_client.api.orders import change_deadline, pause_session, reopen_session, resume_session
from session_service_client.api.sessions import start_session
from session_service_client.attempt import Attempt
from session_service_client.autosave import Autosave
from session_service_client.models import (
    ChangeDeadline,
    OnExpiry,
    PauseSession,
    ReopenSession,
    ResumeSession,
    Session,
    StartSession,
)

PAST = datetime(2000, 1, 1, tzinfo=UTC)
LATER = count(120, 120)  # seconds


def paused() -> None:
    """A pause keeps the answers and the completion; each try waits as asked; the time stands still."""
    user = new_user()
    attempt = device("paused", user)
    pause(attempt)
    assert not attempt.paused  # no reply has said so
    script()
    attempt.answer(1, "one")
    for _ in range(4):
        assert 5 <= attempt.complete() <= 7.5
        assert (attempt.problem, attempt.paused, attempt.ended) == ("SESSION_PAUSED", True, False)
        assert (attempt.pending, attempt.unsaved) == (True, {"1": "one"})
    keys = [request["key"] for request in requests("PATCH")]
    assert (len(keys), len(set(keys))) == (4, 1)
    session = attempt.session
    assert session
    assert session.expires_at
    assert session.paused_at
    left = (session.expires_at - session.paused_at).total_seconds()
    with clock(asleep=1200):
        assert attempt.seconds_left() == left
    attempt.close()
    again = device("paused", user)
    assert (again.paused, again.seconds_left(), again.unsaved) == (True, left, {"1": "one"})
    resume(again)
    finish(again.flush)
    assert (again.paused, again.ended, again.lost) == (False, True, {})
    assert state(again) == ("completed", {"1": "one"})


def idle() -> None:
    """A program that answers nothing sees a pause, an extension, a resumption, an end and a reopening."""
    attempt = kept("idle")
    pause(attempt)
    until_later(lambda: attempt.paused)
    left = attempt.seconds_left()
    extend(attempt)
    until_later(lambda: attempt.seconds_left() > left)
    assert round(attempt.seconds_left() - left) == 600
    resume(attempt)
    until_later(lambda: not attempt.paused)
    end(attempt)
    until_later(lambda: attempt.ended)
    reopen(attempt)
    until_later(lambda: not attempt.ended)


def extended() -> None:
    """Each reply shows an extension, without a further request."""
    attempt = device("extended", new_user())
    left = attempt.seconds_left()
    extend(attempt)
    script()
    save(attempt, {1: "one"})
    assert attempt.seconds_left() > left + 500
    assert (len(requests("GET")), len(requests("PATCH"))) == (0, 2)


def extended_late() -> None:
    """More time after the end lets an attempt, expired or completed, go on with its late answers."""
    for on_expiry in OnExpiry:
        user = new_user()
        start_session.sync(client=CLIENT, body=StartSession(user, QUIZ, on_expiry=on_expiry))
        attempt = device(f"extended-late-{on_expiry}", user)
        end(attempt)
        save(attempt, {1: "too late"})
        assert (attempt.ended, attempt.lost) == (True, {"1": "too late"})
        limit = ChangeDeadline(time_limit_seconds=7200)
        assert isinstance(change_deadline.sync(session_id(attempt), client=CLIENT, body=limit), Session)
        finish(partial(attempt.open, user, QUIZ))
        assert (attempt.ended, attempt.lost, attempt.seconds_left() > 3600) == (False, {}, True)
        finish(attempt.flush)
        assert state(attempt) == ("in_progress", {"1": "too late"})


def reopened() -> None:
    """A session that a teacher has ended and opens again goes on with the answers that came too late."""
    attempt = device("reopened", new_user())
    assert attempt.session
    open_again = partial(attempt.open, attempt.session.user_id, QUIZ)
    end(attempt)
    save(attempt, {1: "too late"})
    assert (attempt.ended, attempt.lost, attempt.seconds_left()) == (True, {"1": "too late"}, 0)
    reopen(attempt)
    finish(open_again)
    assert (attempt.ended, attempt.pending) == (False, True)
    finish(attempt.complete)
    assert state(attempt) == ("completed", {"1": "too late"})
    reopen(attempt)
    finish(open_again)
    assert (attempt.ended, attempt.seconds_left() > 500) == (False, True)
    save(attempt, {2: "more"})
    assert state(attempt) == ("in_progress", {"1": "too late", "2": "more"})


def few_requests() -> None:
    """A program in which nothing happens sends few requests."""
    attempt = kept("few")
    script()
    for minute in range(1, 4):
        with clock(asleep=60 * minute):
            until(lambda: attempt.seconds_since_reply() < 30)
        with clock(asleep=60 * minute + 25):
            sleep(2)  # the thread looks each second
    assert len(requests("GET")) == 3


def kept(name: str) -> Attempt:
    """Return an attempt that a thread saves in the background."""
    attempt = made(name)
    Autosave(attempt, new_user(), QUIZ).start()
    until(lambda: attempt.session is not None and attempt.problem is None)
    return attempt


def until_later(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, by the clocks two minutes later than the last time."""
    with clock(asleep=next(LATER)):
        until(condition)


def session_id(attempt: Attempt) -> UUID:
    """Return the id of the attempt's session."""
    assert attempt.session
    return attempt.session.id


def pause(attempt: Attempt) -> None:
    """Pause the session."""
    reply = pause_session.sync(
        session_id(attempt), client=CLIENT, idempotency_key="pause", body=PauseSession()
    )
    assert isinstance(reply, Session)


def resume(attempt: Attempt) -> None:
    """Resume the session."""
    reply = resume_session.sync(
        session_id(attempt), client=CLIENT, idempotency_key="on", body=ResumeSession()
    )
    assert isinstance(reply, Session)


def extend(attempt: Attempt) -> None:
    """Give ten minutes more."""
    more = ChangeDeadline(extra_seconds=600)
    reply = change_deadline.sync(session_id(attempt), client=CLIENT, idempotency_key="more", body=more)
    assert isinstance(reply, Session)


def end(attempt: Attempt) -> None:
    """End the session."""
    reply = change_deadline.sync(session_id(attempt), client=CLIENT, body=ChangeDeadline(expires_at=PAST))
    assert isinstance(reply, Session)


def reopen(attempt: Attempt) -> None:
    """Let the session run again."""
    reply = reopen_session.sync(
        session_id(attempt),
        client=CLIENT,
        idempotency_key=str(uuid4()),
        body=ReopenSession(600, "A mistake"),
    )
    assert isinstance(reply, Session)


if __name__ == "__main__":
    run(paused, idle, extended, extended_late, reopened, few_requests)
