"""Everything that can go wrong for a client: one class for each error that openapi.yaml declares."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from session_service.sessions.models import Health, Readiness, Snapshot

Outcome = Literal["not_applied", "unknown"]
Detail = dict[str, str]


class ServiceError(Exception):
    """An error of the contract: `status` and `code` are the same for each of its kind.

    So is `message`, unless the kind has several causes.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    message: str

    def __str__(self) -> str:
        return self.message

    def fields(self) -> dict[str, Any]:
        """Return what the body holds beside the five fields that all errors have."""
        return {}

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to this error alone."""
        return {}


class ValidationError(ServiceError):
    """The request is not what the contract says; `details` name the places, never the values."""

    status, code, message = 400, "VALIDATION_ERROR", "The request does not fit the contract."

    def __init__(self, details: list[Detail]) -> None:
        self.details = details

    def fields(self) -> dict[str, Any]:
        return {"details": self.details}


class UnauthenticatedError(ServiceError):
    """No bearer token, or an invalid one; `reason` is for the log, no reply has it."""

    status, code = 401, "UNAUTHENTICATED"
    message = "The request needs a valid bearer token."

    def __init__(self, reason: str, *, given: bool = True) -> None:
        self.reason = reason
        self.given = given

    def headers(self) -> dict[str, str]:
        # RFC 6750, 3: a request that brought no token is not told of an error.
        return {"www-authenticate": 'Bearer error="invalid_token"' if self.given else "Bearer"}


class ForbiddenError(ServiceError):
    """A request that the token does not allow; the message says which part of it."""

    status, code = 403, "FORBIDDEN"

    def __init__(self, message: str) -> None:
        self.message = message


class RouteNotFoundError(ServiceError):
    """No path of the contract."""

    status, code, message = 404, "ROUTE_NOT_FOUND", "The service has no such path."


class MethodNotAllowedError(ServiceError):
    """A path of the contract, but not with this method."""

    status, code, message = 405, "METHOD_NOT_ALLOWED", "The path does not take this method; see Allow."

    def __init__(self, allow: str) -> None:
        self.allow = allow

    def headers(self) -> dict[str, str]:
        return {"allow": self.allow}


class RequestTimeoutError(ServiceError):
    """A request that did not come whole in time."""

    status, code, message = 408, "REQUEST_TIMEOUT", "The request did not arrive in time."

    def headers(self) -> dict[str, str]:
        return {"connection": "close"}


class PayloadTooLargeError(ServiceError):
    """A body over 256 KiB, or a save that would take the session over its bounds."""

    status, code = 413, "PAYLOAD_TOO_LARGE"

    def __init__(self, message: str) -> None:
        self.message = message


class UriTooLongError(ServiceError):
    """A path and query of over 4 KiB."""

    status, code, message = 414, "URI_TOO_LONG", "The path and the query have over 4096 bytes."


class UnsupportedMediaTypeError(ServiceError):
    """A body that is not plain `application/json`."""

    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"

    def __init__(self, message: str) -> None:
        self.message = message


class IdempotencyKeyReusedError(ServiceError):
    """A key that stands for another write already."""

    status, code = 422, "IDEMPOTENCY_KEY_REUSED"
    message = "The Idempotency-Key was used for something else before."


class RateLimitedError(ServiceError):
    """A caller that asks more often than it may; nothing was done."""

    status, code, message = 429, "RATE_LIMITED", "There were too many requests from this caller."

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after

    def fields(self) -> dict[str, Any]:
        return {"retryable": True, "retryAfterSeconds": self.retry_after}

    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_after)}


class HeadersTooLargeError(ServiceError):
    """A head of over 16 KiB or 100 header lines."""

    status, code, message = (
        431,
        "HEADERS_TOO_LARGE",
        "The request has over 16384 bytes or 100 lines of header.",
    )

    def headers(self) -> dict[str, str]:
        return {"connection": "close"}


class InternalServerError(ServiceError):
    """A bug; what it was stands in the log only."""

    status, code, message = 500, "INTERNAL_SERVER_ERROR", "The service failed; the log has the reason."


class ServiceUnavailableError(ServiceError):
    """PostgreSQL is out of reach, or there is no room; `outcome` says whether a write may have landed."""

    status, code, message = (
        503,
        "SERVICE_UNAVAILABLE",
        "The service cannot reach its database, or has too much to do.",
    )

    def __init__(self, outcome: Outcome, retry_after: int = 1) -> None:
        self.outcome = outcome
        self.retry_after = retry_after

    def fields(self) -> dict[str, Any]:
        return {"retryable": True, "outcome": self.outcome}

    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_after)}


class ServiceUnhealthyError(ServiceUnavailableError):
    """The answer of `getHealth` while PostgreSQL is out of reach: the same status, told as `Health`."""

    def __init__(self, health: Health) -> None:
        super().__init__("not_applied")
        self.told = health


class ServiceNotReadyError(ServiceUnavailableError):
    """The answer of `getReadiness` while no requests are wanted: the same status, told as `Readiness`."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__("not_applied")
        self.told = readiness


class SessionNotFoundError(ServiceError):
    """No session has this id, or it is not the caller's: which of the two, nobody can tell."""

    status, code, message = 404, "SESSION_NOT_FOUND", "There is no such session."

    def __init__(self, session_id: UUID) -> None:
        self.session_id = session_id

    def fields(self) -> dict[str, Any]:
        return {"sessionId": self.session_id}


class RefusedError(ServiceError):
    """A request that the session's state refuses; the reply carries the session as it is."""

    def __init__(self, session: Snapshot) -> None:
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


class SessionExpiredError(RefusedError):
    """Anything asked of a session whose time is over."""

    status, code, message = (
        410,
        "SESSION_EXPIRED",
        "The session's time is over; what was saved is in `session`.",
    )
