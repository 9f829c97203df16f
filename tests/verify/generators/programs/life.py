"""OpenAPI Generator's python: python life.py URL."""

import json
import sys
import time
from importlib import import_module
from typing import Any
from uuid import uuid4

# The client is made where this program runs.
sys.path.insert(0, "client")
client: Any = import_module("openapi_client")
errors: Any = import_module("openapi_client.exceptions")

API = client.ApiClient(client.Configuration(host=sys.argv[1]))
SESSIONS = client.SessionsApi(API)
USER = f"python-{uuid4()}"
QUIZ = str(uuid4())
DRAWING = {"row": 2, "points": [0.5, 1, None], "labels": {"": []}}


def main() -> None:
    """Live through a session that is completed and one that expires."""
    assert client.HealthApi(API).get_health().status == "healthy"
    session_id = start()
    answers = save(session_id)
    refuse(session_id, answers)
    page = SESSIONS.list_sessions(user_id=USER, quiz_id=QUIZ)
    assert [(item.id, item.quiz_id) for item in page.items] == [(session_id, QUIZ)]
    complete(session_id, answers)
    teach(session_id)
    expire()


def start() -> Any:
    """Start a session, and resume it."""
    body = client.StartSession(user_id=USER, quiz_id=QUIZ, time_limit_seconds=0, metadata={"course": "B12"})
    started = SESSIONS.start_session_with_http_info(body, idempotency_key=str(uuid4()))
    session = started.data
    assert (started.status_code, session.quiz_id, session.current_question) == (201, QUIZ, 0)
    assert session.expires_at is None
    body = client.StartSession(user_id=USER, quiz_id=QUIZ, if_active="resume")
    resumed = SESSIONS.start_session_with_http_info(body)
    assert (resumed.status_code, resumed.data.id) == (200, session.id)
    return session.id


def save(session_id: Any) -> dict[str, Any]:
    """Save answers of several types, and clear two."""
    body = client.SaveAnswer(question_id="q1_1", answer=DRAWING, annotation={"review": True})
    drawn = SESSIONS.update_progress(session_id, body)
    assert (drawn.answers, drawn.annotations) == ({"q1_1": DRAWING}, {"q1_1": {"review": True}})
    number = SESSIONS.update_progress(session_id, client.SaveAnswer(question_id=3, answer=2.5))
    assert (number.answers["3"], number.current_question) == (2.5, 3)
    cleared = SESSIONS.update_progress(session_id, client.SaveAnswer(question_id=3, answer=None))
    assert cleared.answers == {"q1_1": DRAWING}
    changes = {"q1_1": None, "q9": ["a", "c"], "q10": False}
    many = SESSIONS.save_answers(session_id, client.SaveAnswers(answers=changes))
    assert many.answers == {"q9": ["a", "c"], "q10": False}
    assert SESSIONS.get_session(session_id) == many
    answers: dict[str, Any] = many.answers
    return answers


def refuse(session_id: Any, answers: dict[str, Any]) -> None:
    """Cause a conflict, and ask for a session that does not exist."""
    body = client.SaveAnswer(question_id=5, answer="mine", version=1)
    conflict = refused(409, SESSIONS.update_progress, session_id, body)
    assert (conflict.error_code, conflict.session.answers) == ("SESSION_CONFLICT", answers)
    assert refused(404, SESSIONS.get_session, uuid4()).error_code == "SESSION_NOT_FOUND"


def complete(session_id: Any, answers: dict[str, Any]) -> None:
    """Complete the session twice, and save too late."""
    last = client.CompleteSession(answers={"5": ""})
    completed = SESSIONS.complete_session(session_id, complete_session=last)
    assert (completed.status, completed.ended_by) == ("completed", "learner")
    assert SESSIONS.complete_session(session_id) == completed
    late = refused(410, SESSIONS.update_progress, session_id, client.SaveAnswer(question_id=5, answer="late"))
    assert (late.error_code, late.session.answers) == ("SESSION_COMPLETED", answers | {"5": ""})


def teach(completed_id: Any) -> None:
    """Pause, extend and resume the session of a quiz as a teacher, and reopen the completed one."""
    orders, room = client.OrdersApi(API), str(uuid4())
    session_id = SESSIONS.start_session(client.StartSession(user_id=USER, quiz_id=room)).id
    reason = client.PauseSession(reason="fire alarm")
    paused = orders.pause_session(session_id, "pause", pause_session=reason)
    assert paused.status == "paused"
    save = client.SaveAnswer(question_id=1, answer="x")
    refusal = refused(423, SESSIONS.update_progress, session_id, save)
    assert (refusal.error_code, refusal.session) == ("SESSION_PAUSED", paused)
    more = client.ChangeDeadline(extra_seconds=600)
    extended = orders.change_deadline(session_id, more, idempotency_key="more")
    assert (extended.expires_at - paused.expires_at).total_seconds() == 600
    report = orders.resume_sessions("on", client.ResumeSessions(quiz_id=room))
    assert (report.changed, report.unfinished) == (1, False)
    types = [line.type for line in SESSIONS.list_session_events(session_id).items]
    assert types == ["session.started", "session.paused", "session.deadline_changed", "session.resumed"]
    items: list[Any] = []
    while not items:
        items = client.EventsApi(API).list_events(quiz_id=room, wait=4).items
    assert (items[0].type, items[0].session_id) == ("session.started", session_id)
    again = client.ReopenSession(time_limit_seconds=60, reason="a mistake")
    reopened = orders.reopen_session(completed_id, "again", again)
    assert (reopened.status, reopened.ended_by) == ("in_progress", None)


def expire() -> None:
    """Read a session after its end."""
    short = SESSIONS.start_session(client.StartSession(user_id=USER, quiz_id="7", time_limit_seconds=1))
    assert short.quiz_id == 7
    time.sleep(1.2)
    expired = refused(410, SESSIONS.get_session, short.id)
    assert (expired.error_code, expired.session.status) == ("SESSION_EXPIRED", "expired")


def refused(status: int, call: Any, *arguments: Any) -> Any:
    """Return the error's body, in the class that the client has for it."""
    try:
        call(*arguments)
    except errors.ApiException as error:
        refusal = error
    else:
        raise AssertionError(status)
    assert (refusal.status, json.loads(refusal.body)["statusCode"]) == (status, status)
    return refusal.data


if __name__ == "__main__":
    main()
