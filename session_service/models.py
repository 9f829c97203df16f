"""The values that the floors hand to each other; their fields are the contract's and the table's."""

from contextvars import ContextVar
from datetime import datetime
from typing import Literal
from uuid import UUID

from attrs import field, frozen
from orjson import Fragment

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request at work, for whatever reports on it."""

Answer = str | list[str]
Changes = dict[str, Answer | None]
Status = Literal["in_progress", "completed", "expired"]
Verdict = Literal["ok", "completed", "expired", "conflict", "too_large"]


@frozen
class StartSession:
    """What a new attempt needs; `time_limit_seconds` left out means the service's default."""

    user_id: str
    quiz_id: int
    time_limit_seconds: int | None = None


@frozen
class SaveAnswer:
    """One answer to save (`None` clears it), landing only on `version` where that is given."""

    question_id: int
    answer: Answer | None
    version: int | None = None


@frozen
class CompleteSession:
    """The last answers of an attempt, saved in the same step that ends it."""

    answers: Changes = field(factory=dict)
    version: int | None = None


@frozen
class Write:
    """A change of a running session: answers to merge, where to resume, and whether it ends there."""

    changes: Changes
    version: int | None = None
    current_question: int | None = None
    completes: bool = False


@frozen
class Session:
    """An attempt as clients see it; `answers` stays the JSON text that PostgreSQL wrote."""

    id: UUID
    user_id: str
    quiz_id: int
    current_question: int
    answers: Fragment
    status: Status
    version: int
    started_at: datetime
    expires_at: datetime
    last_saved_at: datetime
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@frozen
class Judged(Session):
    """A session as a statement found or left it, with its verdict on the request, by the database's clock."""

    verdict: Verdict
    judged_at: datetime


@frozen
class Snapshot:
    """One version of a session as the bytes of its reply: what is cached and what is sent."""

    id: UUID
    version: int
    body: bytes


@frozen
class Checks:
    """Which of the service's stores answer."""

    postgres: Literal["up", "down"]
    redis: Literal["up", "down"]


@frozen
class Health:
    """The service's word on itself: `degraded` serves from PostgreSQL alone, `unhealthy` serves nothing."""

    status: Literal["healthy", "degraded", "unhealthy"]
    checks: Checks
    timestamp: datetime
    requestId: str  # noqa: N815 - the contract's name
    service: Literal["session-service"] = "session-service"


@frozen
class Reply:
    """A value with headers of its own, for the operations whose reply has more than a body."""

    value: Snapshot
    headers: dict[str, str]


@frozen
class Migration:
    """A file of sql/schema with the SHA-256 of its bytes, applied or to be applied."""

    name: str
    checksum: str
