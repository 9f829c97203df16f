"""Domain values; field names match the contract and the table."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NewType
from uuid import UUID

from attrs import field, frozen
from orjson import Fragment

ExternalId = NewType("ExternalId", str)
"""An id of the platform as text; an integer's is its decimal. It is returned as the integer."""

IdempotencyKey = NewType("IdempotencyKey", str)
"""An idempotency key without the quotes that it may have in the header."""

Changes = Mapping[str, Any]
"""New JSON values by question id; None clears one."""

Actor = Mapping[str, str]
"""The cause of a change as the journal shows it: `type`, and `subject` and `acting` of a token."""

ClientId = NewType("ClientId", str)
"""The name of the tab, device or program that sends a write, by its own account."""

Status = Literal["in_progress", "completed", "expired", "paused"]
OnExpiry = Literal["expire", "complete"]
EndedBy = Literal["learner", "deadline", "proctor"]
Verdict = Literal[
    "ok",
    "resumed",
    "repeated",
    "unchanged",
    "key_reused",
    "exhausted",
    "completed",
    "expired",
    "paused",
    "overdue",
    "conflict",
    "too_large",
    "busy",
]


@frozen
class StartSession:
    """A request for a new attempt; the service has defaults for the fields that are None."""

    user_id: str
    quiz_id: ExternalId
    time_limit_seconds: int | None = None
    grace_seconds: int | None = None
    on_expiry: OnExpiry | None = None
    time_factor: float | None = None
    max_attempts: int | None = None
    metadata: dict[str, Any] | None = None
    if_active: Literal["new", "resume"] | None = None


@frozen
class SaveAnswer:
    """A request to save one answer, only onto `version` if it is given; None clears the answer."""

    question_id: ExternalId
    answer: Any
    annotation: Any = None
    version: int | None = None


@frozen
class SaveAnswers:
    """A request to save answers, annotations and the position in one step."""

    answers: Changes | None = None
    annotations: Changes | None = None
    current_question: ExternalId | None = None
    version: int | None = None


@frozen
class CompleteSession:
    """A request to end an attempt, with last answers and annotations to save in the same step."""

    answers: Changes | None = None
    annotations: Changes | None = None
    version: int | None = None


@frozen
class Write:
    """A change of a running session by one operation; a repeat is recognised by the key.

    It is applied only to one of `expected_versions`, to any version if that is None.
    """

    operation: Literal["update_progress", "save_answers", "complete_session"]
    answers: Changes = field(factory=dict)
    annotations: Changes = field(factory=dict)
    current_question: ExternalId | None = None
    expected_versions: tuple[int, ...] | None = None
    key: str | None = None


@frozen
class Provenance:
    """The source of a change, which its line in the journal has: actor, client, request and trace."""

    actor: Actor
    client_id: ClientId | None
    request_id: str
    trace_id: str | None = None


@frozen
class Session:
    """An attempt as clients see it; the fields of type Fragment are unparsed JSON text from PostgreSQL.

    `status` is the second field: the cache reads it at the begin of the encoded session.
    """

    id: UUID
    status: Status
    version: int
    user_id: str
    quiz_id: ExternalId
    current_question: ExternalId
    answers: Fragment
    annotations: Fragment
    attempt: int | None
    metadata: Fragment
    started_at: datetime
    expires_at: datetime | None
    closes_at: datetime | None
    on_expiry: OnExpiry
    late_saves: int
    last_saved_at: datetime
    completed_at: datetime | None
    ended_by: EndedBy | None
    created_at: datetime
    updated_at: datetime
    paused_at: datetime | None


@frozen
class EncodedSession:
    """One version of a session as the bytes of its response, which are cached and sent unchanged.

    `expires_at` is a timestamp of the contract, or `none` without an end and in a pause. `read_at` is the
    database's time at which the session was read, in milliseconds since 1970.
    """

    id: UUID
    status: Status
    version: int
    user_id: str
    quiz_id: ExternalId
    expires_at: str
    body: bytes
    read_at: int


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
    """A session in a list; an overdue one, whose end is not stored yet, has no version.

    It has answers and annotations if the filter includes answers, and if it fits into the page.
    """

    id: UUID
    user_id: str
    quiz_id: ExternalId
    current_question: ExternalId
    status: Status
    started_at: datetime
    expires_at: datetime | None
    last_saved_at: datetime
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int | None
    answered: int
    late_saves: int
    paused_at: datetime | None
    ended_by: EndedBy | None
    attempt: int | None
    metadata: Fragment
    client_ids: list[str]
    answers: Fragment | None = None
    annotations: Fragment | None = None


@frozen
class StatusCounts:
    """The number of sessions with each status."""

    in_progress: int
    paused: int
    completed: int
    expired: int


@frozen
class Cursor:
    """The last session of a page; the next page starts behind it."""

    created_ms: int
    id: UUID

    @classmethod
    def behind(cls, created_at: datetime, session_id: UUID) -> "Cursor":
        """Return the cursor of the page that begins behind this session."""
        return cls(round(created_at.timestamp() * 1000), session_id)


@frozen
class SessionPage:
    """Sessions, newest first, and the cursor of the next page, None on the last one.

    `counts` are those of all sessions of the quiz that the caller may see, None in a list of several quizzes.
    """

    items: list[SessionSummary]
    next_cursor: Cursor | None
    counts: StatusCounts | None


@frozen
class ReadPage:
    """A page of sessions, and the database's time at which it was read, in milliseconds since 1970."""

    page: SessionPage
    read_at: int


@frozen
class EventPage:
    """Lines of a session's journal, oldest first, as unparsed JSON text.

    `next_after` is the version behind which the next page starts, None on the last one. `version` is the
    session's, `first_version` that of its first line, None without a line.
    """

    items: Fragment
    next_after: int | None
    version: int
    first_version: int | None


@frozen
class History:
    """A page of a session's journal; the other fields are as in an EncodedSession."""

    page: EventPage
    expires_at: str
    read_at: int


@frozen
class Filter:
    """The filters of a list, its page size, its cursor, and whether it includes answers."""

    user_id: str | None
    quiz_id: ExternalId | None
    status: Status | None
    limit: int
    cursor: Cursor | None
    with_answers: bool


@frozen
class Reach:
    """The sessions that a request may touch: those of `owner` and of `quizzes`, all if the owner is None."""

    owner: str | None
    quizzes: frozenset[ExternalId] = frozenset()

    def covers(self, session: EncodedSession) -> bool:
        """Return whether the request may touch the session."""
        return self.owner in (None, session.user_id) or session.quiz_id in self.quizzes
