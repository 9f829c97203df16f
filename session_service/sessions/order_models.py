"""Values of orders, which move the time of sessions; field names match the contract."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from attrs import frozen

from session_service.sessions.models import ExternalId


@frozen
class ChangeDeadline:
    """A request to change the end of an attempt by one of the first three fields; 0 is no end as a limit."""

    expires_at: datetime | None = None
    extra_seconds: int | None = None
    time_limit_seconds: int | None = None
    reason: str | None = None
    version: int | None = None


@frozen
class PauseSession:
    """A request to pause an attempt."""

    reason: str | None = None
    version: int | None = None


@frozen
class ResumeSession:
    """A request to resume a paused attempt."""

    reason: str | None = None
    version: int | None = None


@frozen
class ReopenSession:
    """A request to let an ended attempt run again, for a limit of seconds from now; 0 is no end."""

    time_limit_seconds: int
    reason: str
    version: int | None = None


OrderKind = Literal["deadline", "pause", "resume", "reopen"]


@frozen
class Order:
    """A change of the time of a session by a teacher; a repeat is recognised by the key.

    It is given only to one of `expected_versions`, to any version if that is None.
    """

    kind: OrderKind
    expires_at: datetime | None = None
    extra_seconds: int | None = None
    time_limit_seconds: int | None = None
    reason: str | None = None
    expected_versions: tuple[int, ...] | None = None
    key: str | None = None


@frozen
class ChangeDeadlines:
    """A request to change the ends of all running attempts at a quiz, or of those of some users."""

    quiz_id: ExternalId
    user_ids: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    extra_seconds: int | None = None
    time_limit_seconds: int | None = None
    reason: str | None = None


@frozen
class PauseSessions:
    """A request to pause all running attempts at a quiz, or those of some users."""

    quiz_id: ExternalId
    user_ids: tuple[str, ...] | None = None
    reason: str | None = None


@frozen
class ResumeSessions:
    """A request to resume all paused attempts at a quiz, or those of some users."""

    quiz_id: ExternalId
    user_ids: tuple[str, ...] | None = None
    reason: str | None = None


@frozen
class QuizOrder:
    """An order for all running attempts at a quiz, or for those of some users, but not for one user's."""

    quiz_id: ExternalId
    user_ids: tuple[str, ...] | None
    order: Order
    except_user: str | None = None


@frozen
class UnchangedSession:
    """A session that an order for a quiz has not changed; `errorCode` is None if it has the wanted state."""

    id: UUID
    errorCode: str | None  # noqa: N815 - the contract's name


@frozen
class OrderReport:
    """The effect of an order for a quiz: the number of sessions changed by all calls, and the others."""

    changed: int
    unchanged: list[UnchangedSession]
    unfinished: bool
