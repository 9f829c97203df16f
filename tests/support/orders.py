"""Orders for the tests: requests that move the time of sessions."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx

from tests.support.service import Service

METHODS = {"deadline": "PUT", "pause": "POST", "resume": "POST", "reopen": "POST"}
AGAIN: dict[str, Any] = {"time_limit_seconds": 900, "reason": "Handed in by mistake"}


def order(
    service: Service,
    kind: str,
    session_id: object,
    body: Mapping[str, Any] | None = None,
    key: str | None = "",
    **headers: str,
) -> httpx.Response:
    """Give an order, with a new key unless there is one; a key of None is none."""
    if key is not None:
        headers["idempotency-key"] = key or f"order-{uuid4()}"
    path = f"/api/sessions/{session_id}/{kind}"
    return service.client.request(METHODS[kind], path, json=body, headers=headers)


def given(service: Service, kind: str, session_id: object, **body: Any) -> dict[str, Any]:
    """Give an order that must succeed, and return the session."""
    if kind == "reopen":
        body = {**AGAIN, **body}
    response = order(service, kind, session_id, body)
    assert response.status_code == 200, response.text
    session: dict[str, Any] = response.json()
    return session


def moment(session: Mapping[str, Any], name: str) -> datetime:
    """Return a time of the session."""
    return datetime.fromisoformat(session[name])


def seconds(session: Mapping[str, Any], name: str, since: str) -> float:
    """Return the seconds between two times of the session."""
    return (moment(session, name) - moment(session, since)).total_seconds()


def from_now(seconds: float) -> str:
    """Return the time that is so many seconds ahead."""
    time = datetime.now(UTC) + timedelta(seconds=seconds)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def order_quiz(
    service: Service, kind: str, body: object, key: str | None = "", **headers: str
) -> httpx.Response:
    """Give an order for a quiz, with a new key unless there is one; a key of None is none."""
    if key is not None:
        headers["idempotency-key"] = key or f"order-{uuid4()}"
    return service.client.post(f"/api/sessions/{kind}", json=body, headers=headers)
