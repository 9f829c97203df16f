"""The values that the floors hand to each other; their fields are the contract's and the table's."""

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, NewType
from uuid import UUID

from attrs import field, frozen
from orjson import Fragment

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request at work, for whatever reports on it."""

Answer = str | list[str]
Changes = dict[str, Answer | None]
Status = Literal["in_progress", "completed", "expired"]
Verdict = Literal[
    "ok", "resumed", "repeated", "key_reused", "completed", "expired", "conflict", "too_large", "busy"
]

IfMatch = NewType("IfMatch", tuple[int, ...])
"""The versions that `If-Match` names; empty where none of its entity tags is one."""

Fresh = NewType("Fresh", bool)
"""Whether `Cache-Control` asks for the database's word."""


@frozen
class Caller:
    """Who asks: `name` is what its requests are counted under.

    `owner` is the only user whose sessions it may touch, None where it may touch anyone's. A platform's
    back-end that acts for many users, known by its token, is a `service`.
    """

    name: str
    owner: str | None
    service: bool = False


@frozen
class Seen:
    """The versions that `If-None-Match` names, and whether it names any that there may be."""

    versions: frozenset[int] = frozenset()
    any: bool = False

    @property
    def newest(self) -> int:
        """The newest version that the client has seen."""
        return max(self.versions, default=0)

    def has(self, version: int) -> bool:
        """Tell whether the client has this version."""
        return self.any or version in self.versions


@frozen
class StartSession:
    """What a new attempt needs; `time_limit_seconds` left out means the service's default."""

    user_id: str
    quiz_id: int
    time_limit_seconds: int | None = None
    if_active: Literal["new", "resume"] = "new"


@frozen
class SaveAnswer:
    """One answer to save (`None` clears it), landing only on `version` where that is given."""

    question_id: int
    answer: Answer | None
    version: int | None = None


@frozen
class SaveAnswers:
    """Answers to save in one step."""

    answers: Changes
    current_question: int | None = None
    version: int | None = None


@frozen
class CompleteSession:
    """The last answers of an attempt, saved in the same step that ends it."""

    answers: Changes = field(factory=dict)
    version: int | None = None


@frozen
class Write:
    """A change of a running session by one operation; a repeat is recognised by the key.

    It is written only onto one of `expected_versions`, onto any version where that is None.
    """

    operation: Literal["update_progress", "save_answers", "complete_session"]
    changes: Changes
    expected_versions: tuple[int, ...] | None = None
    current_question: int | None = None
    key: str | None = None


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
    """A session as a statement found or left it, with its verdict on a request, by the database's clock.

    `position` is the request's place among those that the statement was given.
    """

    verdict: Verdict
    judged_at: datetime
    position: int


@frozen
class Lock:
    """The place of a start, among those that were to be locked, whose lock was free."""

    position: int


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
class Liveness:
    """The word of a process that runs."""

    requestId: str  # noqa: N815 - the contract's name
    status: Literal["alive"] = "alive"
    service: Literal["session-service"] = "session-service"


@frozen
class Readiness:
    """Whether the service wants requests: not while it cannot save, and not once it was told to end."""

    status: Literal["ready", "unavailable", "draining"]
    requestId: str  # noqa: N815 - the contract's name
    service: Literal["session-service"] = "session-service"


@frozen
class Started:
    """What a start answers with: a session that it made, or one that was there."""

    session: Snapshot
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
    """The last session of a page: the next page starts behind it."""

    created_ms: int
    id: UUID


@frozen
class SessionPage:
    """Sessions, newest first, and where the next page starts."""

    items: list[SessionSummary]
    next_cursor: Cursor | None


@frozen
class Filter:
    """What a list is narrowed to, and how much of it is wanted."""

    user_id: str | None
    quiz_id: int | None
    status: Status | None
    limit: int
    cursor: Cursor | None


@frozen
class Migration:
    """A file of sql/schema with the SHA-256 of its bytes, applied or to be applied."""

    name: str
    checksum: str


@frozen
class DigestKey:
    """The installation's own key for the digests of keyed writes."""

    value: str


@frozen
class UnfitSetting:
    """A setting of PostgreSQL with a value that the service cannot work with, and the value that it needs."""

    name: str
    value: str
    needed: str


@frozen
class Probe:
    """A value of each type that the statements use."""

    text: str
    number: int
    moment: datetime
    id: UUID
    document: Fragment


PROBE = Probe(
    text="Zoë 😀",
    number=2_147_483_647,
    moment=datetime(2001, 2, 3, 4, 5, 6, 789_000, UTC),
    id=UUID("fedcba98-7654-4321-8fed-cba987654321"),
    document=Fragment('{"1": "Zoë 😀"}'.encode()),
)
"""Values that another encoding, date format or time zone would change."""
