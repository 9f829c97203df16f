"""Reads the feed of events."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import attrs

from session_service.sessions import codec
from session_service.sessions.events import EventCursor
from session_service.sessions.ids import new_session_id
from session_service.sessions.models import ExternalId
from session_service.storage import statements
from session_service.storage.queries import StartInput
from session_service.storage.sql_files import FOLDER
from tests.support.service import Headers, Service
from tests.support.waiting import eventually

PATH = "/api/events"
Event = dict[str, Any]


def page(service: Service, headers: Headers | None = None, **query: object) -> dict[str, Any]:
    """Return a page of the feed."""
    response = service.client.get(PATH, params=query, headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def newest(service: Service, headers: Headers | None = None) -> str:
    """Return the cursor of the end of the feed."""
    return str(page(service, headers, limit=1)["newest"])


def follow(
    service: Service, after: str | None, headers: Headers | None = None, **query: object
) -> tuple[list[Event], str]:
    """Return the events after the cursor, and the cursor of the end of the feed."""
    found: list[Event] = []
    while True:
        cursor = {} if after is None else {"after": after}
        part = page(service, headers, **cursor, **query)
        found += part["items"]
        after = str(part["next"])
        if after == part["newest"]:
            return found, after


def of_sessions(events: Iterable[Event], *ids: object) -> list[tuple[int, int, str]]:
    """Return the index of the session, the version and the type of each event of these sessions."""
    return [
        (ids.index(event["session_id"]), event["version"], event["type"])
        for event in events
        if event["session_id"] in ids
    ]


def await_events(
    service: Service, after: str | None, ids: Sequence[object], count: int, headers: Headers | None = None
) -> list[Event]:
    """Follow the feed until it has so many events of the sessions; return all events after the cursor."""
    found: list[Event] = []

    def has_all() -> bool:
        nonlocal after
        more, after = follow(service, after, headers, limit=1000)
        found.extend(more)
        return len(of_sessions(found, *ids)) >= count

    eventually(has_all, lambda: found)
    return found


def changed_cursor(text: str, **fields: Any) -> str:
    """Return the cursor with other fields."""
    cursor: EventCursor = codec.structure(text, EventCursor)
    return codec.event_cursor_text(attrs.evolve(cursor, **fields))


def start_statement(seconds: int = 600, session_id: UUID | None = None) -> tuple[bytes, dict[str, object]]:
    """Return the service's own statement that starts a session, with its parameters."""
    record = StartInput(
        id=session_id or new_session_id("ada"),
        user_id="ada",
        quiz_id=ExternalId("7"),
        time_limit_seconds=seconds,
        grace_seconds=0,
        on_expiry="expire",
        time_factor=1.0,
        max_attempts=None,
        metadata={},
        key=None,
        digest=None,
        actor={"type": "anonymous"},
        client_id=None,
        request_id="r",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        shown={},
        resume=False,
        locked=False,
    )
    text = (FOLDER / "start_sessions.sql").read_bytes()
    return text, {"starts": statements.encode_records([record])}
