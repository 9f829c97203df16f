"""Domain values; field names match the contract and the table."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from attrs import field, frozen
from orjson import Fragment

Answer = str | list[str]
Changes = dict[str, Answer | None]
Status = Literal["in_progress", "completed", "expired"]
Verdict = Literal[
    "ok", "resumed", "repeated", "key_reused", "completed", "expired", "conflict", "too_large", "busy"
]


@frozen
class StartSession:
    """A request for a new attempt; without `time_limit_seconds` the service's default applies."""

    user_id: str
    quiz_id: int
    time_limit_seconds: int | None = None
    if_active: Literal["new", "resume"] = "new"


@frozen
class SaveAnswer:
    """A request to save one answer, only onto `version` if it is given; None clears the answer."""

    question_id: int
    answer: Answer | None
    version: int | None = None


@frozen
class SaveAnswers:
    """A request to save several answers in one step."""

    answers: Changes
    current_question: int | None = None
    version: int | None = None


@frozen
class CompleteSession:
    """A request to end an attempt, with last answers to save in the same step."""

    answers: Changes = field(factory=dict)
    version: int | None = None


@frozen
class Write:
    """A change of a running session by one operation; a repeat is recognised by the key.

    It is applied only to one of `expected_versions`, to any version if that is None.
    """

    operation: Literal["update_progress", "save_answers", "complete_session"]
    changes: Changes
    expected_versions: tuple[int, ...] | None = None
    current_question: int | None = None
    key: str | None = None


@frozen
class Session:
    """An attempt as clients see it; `answers` is the unparsed JSON text from PostgreSQL."""

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
class EncodedSession:
    """One version of a session as the bytes of its response, which are cached and sent unchanged.

    `expires_ms` is `expires_at` in milliseconds since 1970.
    """

    id: UUID
    version: int
    user_id: str
    quiz_id: int
    expires_ms: int
    body: bytes


@frozen
class WriteResult:
    """A session after a statement, with the statement's verdict on the request."""

    verdict: Verdict
    session: EncodedSession


@frozen
class StartResult:
    """The session of a start; `new` is False if a key or `if_active: resume` found it."""

    session: EncodedSession
    new: bool


@frozen
class SessionSummary:
    """A session in a list."""

    id: UUID
    user_id: str
    quiz_id: int
    current_question: int
    status: Status
    started_at: datetime
    expires_at: datetime
    last_saved_at: datetime
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@frozen
class Cursor:
    """The last session of a page; the next page starts behind it."""

    created_ms: int
    id: UUID


@frozen
class SessionPage:
    """Sessions, newest first, and the cursor of the next page, None on the last one."""

    items: list[SessionSummary]
    next_cursor: Cursor | None


@frozen
class Filter:
    """The filters of a list, its page size and its cursor."""

    user_id: str | None
    quiz_id: int | None
    status: Status | None
    limit: int
    cursor: Cursor | None
