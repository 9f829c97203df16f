"""Reads the journals of sessions, and replays them into sessions."""

from typing import Any

from tests.support.service import Headers, Service

# Types of the lines of orders that let the session run, or pause it.
ORDERS = {"session.deadline_changed", "session.paused", "session.resumed", "session.reopened"}
KEEPING = {"session.saved", "session.fenced"}  # types of lines that leave the status as it is
JUMP = 1_000_000  # added to the version after a restore

Line = dict[str, Any]
Session = dict[str, Any]


def page(
    service: Service, session_id: object, headers: Headers | None = None, **query: int
) -> dict[str, Any]:
    """Return a page of the session's journal."""
    path = f"/api/sessions/{session_id}/events"
    response = service.client.get(path, params=query, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def lines(
    service: Service, session_id: object, headers: Headers | None = None, limit: int = 1000
) -> list[Line]:
    """Return all lines of the session's journal."""
    found: list[Line] = []
    after: int | None = 0
    while after is not None:
        part = page(service, session_id, headers, after=after, limit=limit)
        found += part["items"]
        after = part["next_after"]
    return found


def shown(service: Service, session_id: object) -> Session:
    """Return the session in the response to a read, also of an expired one."""
    session: Session = service.read(session_id).json()
    return dict(session.get("session", session))


def replayed(session_id: object, journal: list[Line]) -> Session:
    """Return the session that the lines give, by the rules in the description of listSessionEvents."""
    session: Session = {}
    for line in journal:
        at, data = line["at"], line["data"]
        if line["type"] == "session.started":
            session = _started(session_id, at, data)
        else:
            session = _changed(session, line, runs_on=line["type"] in ORDERS)
            session["status"] = _status(session, line["type"])
        assert session["version"] == line["version"]
    return session


def _status(session: Session, kind: str) -> str:
    """Return the status after a line of the type."""
    if kind in KEEPING or (kind == "session.deadline_changed" and session["status"] == "paused"):
        return str(session["status"])
    ends = {"session.completed": "completed", "session.expired": "expired", "session.paused": "paused"}
    return ends.get(kind, "in_progress")


def _started(session_id: object, at: str, data: dict[str, Any]) -> Session:
    fixed = ("user_id", "quiz_id", "attempt", "metadata", "expires_at", "closes_at", "on_expiry")
    return {
        "id": session_id,
        "status": "in_progress",
        "version": 1,
        "current_question": 0,
        "answers": {},
        "annotations": {},
        "late_saves": 0,
        "completed_at": None,
        "ended_by": None,
        "paused_at": None,
        **{name: data[name] for name in fixed},
        **dict.fromkeys(("started_at", "last_saved_at", "created_at", "updated_at"), at),
    }


def _changed(session: Session, line: Line, *, runs_on: bool) -> Session:
    at, data, step = line["at"], line["data"], JUMP if line["type"] == "session.fenced" else 1
    changed = {**session, "version": session["version"] + step, "updated_at": at}
    for name in ("answers", "annotations"):
        merged = session[name] | data.get(name, {})
        changed[name] = {question: value for question, value in merged.items() if value is not None}
    if data.keys() & {"answers", "annotations", "answer_digests", "annotation_digests"}:
        changed["last_saved_at"] = at
        # Timestamps of one format compare like their times.
        now = session["paused_at"] or at
        changed["late_saves"] += session["expires_at"] is not None and session["expires_at"] <= now
    if runs_on:
        changed |= {"ended_by": None, "completed_at": None}
    replaced = ("current_question", "expires_at", "closes_at", "paused_at", "ended_by", "completed_at")
    changed |= {name: data[name] for name in replaced if name in data}
    return changed
