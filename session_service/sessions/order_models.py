"""Values of orders, which move the time of sessions; field names match the contract."""

from datetime import datetime
from typing import Literal

from attrs import frozen


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
    """A change of the time of a session by a teacher; a repeat is recognised by the key."""

    kind: OrderKind
    expires_at: datetime | None = None
    extra_seconds: int | None = None
    time_limit_seconds: int | None = None
    reason: str | None = None
    version: int | None = None
    key: str | None = None
