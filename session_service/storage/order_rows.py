"""The records and rows of statements about orders."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import attrs

from session_service.sessions.models import ClientId
from session_service.sessions.order_models import OrderKind


@attrs.define(slots=False)
class OrderInput:
    """A record of order_sessions: a change of the time of one session.

    A deadline has one of `expires_at`, `extra_seconds` and `time_limit_seconds`, where 0 is no end. With
    `brief` the row of the result has no answers. `must_queue` is as in a WriteInput.
    """

    id: UUID
    kind: OrderKind
    expires_at: datetime | None
    extra_seconds: int | None
    time_limit_seconds: int | None
    expected_versions: tuple[int, ...] | None
    reason: str | None
    key: str | None
    digest: str | None
    actor: Mapping[str, str] | None
    client_id: ClientId | None
    request_id: str | None
    trace_id: str | None
    brief: bool = False
    ordinality: int = 0
    must_queue: bool = False


@attrs.frozen
class QuizOrderRow:
    """An order for a quiz: the number of sessions that it has changed, and whether it has reached all."""

    digest: str
    began_at: datetime
    changed: int
    finished: bool


@attrs.frozen
class ChangedCount:
    """The number of sessions that an order for a quiz has changed."""

    changed: int


@attrs.frozen
class RunningSession:
    """A session that an order for a quiz has to reach: it ran or was paused when the order began."""

    id: UUID
    created_at: datetime
