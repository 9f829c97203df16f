"""Errors of the domain: one class for each error of the contract that is not about HTTP alone."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from session_service.sessions.events import EventCursor
from session_service.sessions.models import EncodedSession

Outcome = Literal["not_applied", "unknown"]


class ServiceError(Exception):
    """An error of the contract; each class has one `status` and one `code`.

    Each class has one `message`, too, unless it has several causes.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    message: str
    reason: str | None = None

    def __str__(self) -> str:
        return self.message

    def fields(self) -> dict[str, Any]:
        """Return the fields of the body in addition to the five that all errors have."""
        return {}

    def headers(self) -> dict[str, str]:
        """Return the headers that only this error has."""
        return {}


class ForbiddenError(ServiceError):
    """A request that the token does not allow; the message names the part that is not allowed."""

    status, code = 403, "FORBIDDEN"

    def __init__(self, message: str) -> None:
        self.message = message


class AttemptsExhaustedError(ServiceError):
    """A start beyond the number of attempts that the user has at the quiz."""

    status, code = 403, "ATTEMPTS_EXHAUSTED"
    message = "The user has had all attempts at this quiz."


class PayloadTooLargeError(ServiceError):
    """A body over 256 KiB, or a save after which the session would exceed its size limits."""

    status, code = 413, "PAYLOAD_TOO_LARGE"

    def __init__(self, message: str) -> None:
        self.message = message


class IdempotencyKeyReusedError(ServiceError):
    """An idempotency key that another write has used."""

    status, code = 422, "IDEMPOTENCY_KEY_REUSED"
    message = "The Idempotency-Key was used for something else before."


class RateLimitedError(ServiceError):
    """A request over the caller's rate limit; it was not executed."""

    status, code, message = 429, "RATE_LIMITED", "There were too many requests from this caller."

    reason = "rate_limit"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after

    def fields(self) -> dict[str, Any]:
        return {"retryable": True, "retryAfterSeconds": self.retry_after}

    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_after)}


class ServiceUnavailableError(ServiceError):
    """PostgreSQL is unavailable, or the request was shed; `unknown`: a write may have been applied.

    `reason` is a label of the metric `rejected_requests`.
    """

    status, code, message = (
        503,
        "SERVICE_UNAVAILABLE",
        "The service cannot reach its database, or has too much to do.",
    )

    def __init__(
        self, outcome: Outcome, retry_after: int = 1, *, reason: str | None = None, shed: bool = False
    ) -> None:
        self.reason = reason
        self.outcome = outcome
        self.retry_after = retry_after
        self.shed = shed

    def fields(self) -> dict[str, Any]:
        return {"retryable": True, "outcome": self.outcome}

    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_after)}


class SessionNotFoundError(ServiceError):
    """No session has this id, or it is another user's; the response does not say which."""

    status, code, message = 404, "SESSION_NOT_FOUND", "There is no such session."

    def __init__(self, session_id: UUID) -> None:
        self.session_id = session_id

    def fields(self) -> dict[str, Any]:
        return {"sessionId": self.session_id}


class QuizNotFoundError(ServiceError):
    """An order for a quiz whose sessions the token does not reach."""

    status, code, message = 404, "QUIZ_NOT_FOUND", "The token gives no access to the sessions of this quiz."


class EventsGoneError(ServiceError):
    """A cursor with which events would be missed: of another era, ahead of the feed, or trimmed."""

    status, code = 410, "EVENTS_GONE"
    message = (
        "The feed does not have all events after this cursor; `oldest` is before the oldest one that it has."
    )

    def __init__(self, oldest: EventCursor) -> None:
        self.oldest = oldest

    def fields(self) -> dict[str, Any]:
        return {"oldest": self.oldest}


class RefusedError(ServiceError):
    """A request that the session's state does not allow; the response has the current session."""

    def __init__(self, session: EncodedSession) -> None:
        self.session = session

    def fields(self) -> dict[str, Any]:
        return {"sessionId": self.session.id, "session": self.session}


class SessionConflictError(RefusedError):
    """A write that named a version other than the current one."""

    status, code, message = 409, "SESSION_CONFLICT", "The session has another version by now."

    def fields(self) -> dict[str, Any]:
        retry = {"currentVersion": self.session.version, "retryable": True, "retryAfterSeconds": 1}
        return super().fields() | retry

    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"}


class SessionCompletedError(RefusedError):
    """A write to a session that was completed."""

    status, code, message = (
        410,
        "SESSION_COMPLETED",
        "The session was completed; nothing is written after that.",
    )


class SessionPausedError(RefusedError):
    """A write to a session that is paused; it may be repeated until the session is resumed."""

    status, code, message = (
        423,
        "SESSION_PAUSED",
        "The session is paused; repeat the write once it is resumed.",
    )

    def fields(self) -> dict[str, Any]:
        return super().fields() | {"retryable": True, "retryAfterSeconds": 5}

    def headers(self) -> dict[str, str]:
        return {"retry-after": "5"}


class SessionExpiredError(RefusedError):
    """A request for a session whose time is over."""

    status, code, message = (
        410,
        "SESSION_EXPIRED",
        "The session's time is over; what was saved is in `session`.",
    )
