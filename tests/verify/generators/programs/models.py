"""The models of datamodel-code-generator: python models.py URL.

They build every request and parse every reply.
"""

import sys
import time
from datetime import datetime
from importlib import import_module
from typing import Any
from uuid import uuid4

import urllib3

# The models are made where this program runs.
models: Any = import_module("client")

URL = sys.argv[1]
USER = f"models-{uuid4()}"
QUIZ = str(uuid4())
DRAWING = {"row": 2, "points": [0.5, 1, None], "labels": {"": []}}


def main() -> None:
    """Live through a session that is completed and one that expires."""
    assert get("/health", 200, models.Health).status.value == "healthy"
    asked = models.StartSession(user_id=USER, quiz_id=QUIZ, time_limit_seconds=0)
    started = send("POST", "/api/sessions/start", asked, 201, models.Session)
    assert (plain(started.quiz_id), plain(started.current_question)) == (QUIZ, 0)
    assert started.expires_at is None
    asked = models.StartSession(user_id=USER, quiz_id=QUIZ, if_active="resume")
    assert send("POST", "/api/sessions/start", asked, 200, models.Session) == started
    path = f"/api/sessions/{plain(started.id)}"
    saved = save(path)
    refuse(path, saved)
    page = get(f"/api/sessions?user_id={USER}&quiz_id={QUIZ}", 200, models.SessionPage)
    assert [(item.id, plain(item.quiz_id)) for item in page.items] == [(started.id, QUIZ)]
    complete(path, saved)
    teach(path)
    expire()


def save(path: str) -> Any:
    """Save answers of several types, and clear two."""
    asked = models.SaveAnswer(question_id="q1_1", answer=DRAWING, annotation={"review": True})
    drawn = send("PUT", f"{path}/progress", asked, 200, models.Session)
    assert plain(drawn.answers) == {"q1_1": DRAWING}
    assert plain(drawn.annotations) == {"q1_1": {"review": True}}
    number = send(
        "PUT", f"{path}/progress", models.SaveAnswer(question_id=3, answer=2.5), 200, models.Session
    )
    assert (plain(number.answers)["3"], plain(number.current_question)) == (2.5, 3)
    cleared = send(
        "PUT", f"{path}/progress", models.SaveAnswer(question_id=3, answer=None), 200, models.Session
    )
    assert plain(cleared.answers) == {"q1_1": DRAWING}
    asked = models.SaveAnswers(answers={"q1_1": None, "q9": ["a", "c"], "q10": False})
    many = send("PATCH", f"{path}/progress", asked, 200, models.Session)
    assert plain(many.answers) == {"q9": ["a", "c"], "q10": False}
    assert get(path, 200, models.Session) == many
    return many


def refuse(path: str, saved: Any) -> None:
    """Cause a conflict, and ask for a session that does not exist."""
    asked = models.SaveAnswer(question_id=5, answer="mine", version=1)
    conflict = send("PUT", f"{path}/progress", asked, 409, models.SessionConflictError)
    assert conflict.session == saved
    missing = get(f"/api/sessions/{uuid4()}", 404, models.SessionNotFoundError)
    assert missing.errorCode == "SESSION_NOT_FOUND"


def complete(path: str, saved: Any) -> None:
    """Complete the session twice, and save too late."""
    asked = models.CompleteSession(answers={"5": ""})
    completed = send("POST", f"{path}/complete", asked, 200, models.Session)
    assert (completed.status.value, completed.ended_by.value) == ("completed", "learner")
    assert send("POST", f"{path}/complete", None, 200, models.Session) == completed
    late = send(
        "PUT",
        f"{path}/progress",
        models.SaveAnswer(question_id=5, answer="late"),
        410,
        models.SessionEndedError,
    )
    assert late.errorCode.value == "SESSION_COMPLETED"
    assert plain(late.session.answers) == plain(saved.answers) | {"5": ""}


def teach(completed: str) -> None:
    """Pause, extend and resume the session of a quiz as a teacher, and reopen the completed one."""
    room = str(uuid4())
    asked = models.StartSession(user_id=USER, quiz_id=room)
    started = send("POST", "/api/sessions/start", asked, 201, models.Session)
    path = f"/api/sessions/{plain(started.id)}"
    paused = send("POST", f"{path}/pause", models.PauseSession(reason="fire alarm"), 200, models.Session)
    assert paused.status.value == "paused"
    asked = models.SaveAnswer(question_id=1, answer="x")
    refused = send("PUT", f"{path}/progress", asked, 423, models.SessionPausedError)
    assert (refused.errorCode, refused.session) == ("SESSION_PAUSED", paused)
    extended = send("PUT", f"{path}/deadline", models.ChangeDeadline(extra_seconds=600), 200, models.Session)
    ends = [datetime.fromisoformat(plain(session.expires_at)) for session in (paused, extended)]
    assert (ends[1] - ends[0]).total_seconds() == 600
    asked = models.ResumeSessions(quiz_id=room)
    report = send("POST", "/api/sessions/resume", asked, 200, models.OrderReport)
    assert (report.changed, report.unfinished) == (1, False)
    types = [plain(line.type) for line in get(f"{path}/events", 200, models.SessionEventPage).items]
    assert types == ["session.started", "session.paused", "session.deadline_changed", "session.resumed"]
    items: list[Any] = []
    while not items:
        items = get(f"/api/events?quiz_id={room}&wait=4", 200, models.FeedPage).items
    assert (plain(items[0].type), items[0].session_id) == ("session.started", started.id)
    again = models.ReopenSession(time_limit_seconds=60, reason="a mistake")
    reopened = send("POST", f"{completed}/reopen", again, 200, models.Session)
    assert (reopened.status.value, reopened.ended_by) == ("in_progress", None)


def expire() -> None:
    """Read a session after its end."""
    asked = models.StartSession(user_id=USER, quiz_id="7", time_limit_seconds=1)
    short = send("POST", "/api/sessions/start", asked, 201, models.Session)
    assert plain(short.quiz_id) == 7
    time.sleep(1.2)
    expired = get(f"/api/sessions/{plain(short.id)}", 410, models.SessionEndedError)
    assert (expired.errorCode.value, expired.session.status.value) == ("SESSION_EXPIRED", "expired")


def get(path: str, status: int, kind: Any) -> Any:
    """Send a request without a body, and parse the reply."""
    return send("GET", path, None, status, kind)


def send(method: str, path: str, asked: Any, status: int, kind: Any) -> Any:
    """Send the model as JSON, and parse the reply as another."""
    body = asked and asked.model_dump_json(by_alias=True, exclude_unset=True)
    headers = {"content-type": "application/json", "idempotency-key": str(uuid4())} if body else {}
    reply = urllib3.request(method, URL + path, body=body, headers=headers)
    assert reply.status == status, reply.data
    return kind.model_validate_json(reply.data)


def plain(value: Any) -> Any:
    """Return the JSON of a model; a type with a name is a model with one value."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


if __name__ == "__main__":
    main()
