"""Defines the errors of HTTP itself: requests that are rejected before the domain sees them."""

from typing import Any

from session_service.sessions.errors import ServiceError

Detail = dict[str, str]


class ValidationError(ServiceError):
    """Violations of the contract; `details` have the path and the message of each, never a value."""

    status, code, message = 400, "VALIDATION_ERROR", "The request does not fit the contract."

    def __init__(self, details: list[Detail]) -> None:
        self.details = details

    def fields(self) -> dict[str, Any]:
        return {"details": self.details}


class UnauthenticatedError(ServiceError):
    """A missing or invalid bearer token; `reason` is for the log only.

    `given` is false if the request has no credentials.
    """

    status, code = 401, "UNAUTHENTICATED"
    message = "The request needs a valid bearer token."

    def __init__(self, reason: str, *, given: bool = True) -> None:
        self.reason = reason
        self.given = given

    def headers(self) -> dict[str, str]:
        # RFC 6750, 3.1: without credentials there is no error code.
        return {"www-authenticate": 'Bearer error="invalid_token"' if self.given else "Bearer"}


class RouteNotFoundError(ServiceError):
    """A path that the contract does not have."""

    status, code, message = 404, "ROUTE_NOT_FOUND", "The service has no such path."


class MethodNotAllowedError(ServiceError):
    """A method that the contract does not have for the path; `allow` lists the valid methods."""

    status, code, message = 405, "METHOD_NOT_ALLOWED", "The path does not take this method; see Allow."

    def __init__(self, allow: str) -> None:
        self.allow = allow

    def headers(self) -> dict[str, str]:
        return {"allow": self.allow}


class RequestTimeoutError(ServiceError):
    """A request that did not arrive completely within the time limit."""

    status, code, message = 408, "REQUEST_TIMEOUT", "The request did not arrive in time."

    def headers(self) -> dict[str, str]:
        return {"connection": "close"}


class UriTooLongError(ServiceError):
    """A request target (path and query) of more than 4 KiB."""

    status, code, message = 414, "URI_TOO_LONG", "The path and the query have over 4096 bytes."


class UnsupportedMediaTypeError(ServiceError):
    """A body with a content encoding, or with a media type other than `application/json`."""

    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"

    def __init__(self, message: str) -> None:
        self.message = message


class HeadersTooLargeError(ServiceError):
    """A header section of more than 16 KiB or 100 lines (RFC 6585, 5)."""

    status, code, message = (
        431,
        "HEADERS_TOO_LARGE",
        "The request has over 16384 bytes or 100 lines of header.",
    )

    def headers(self) -> dict[str, str]:
        return {"connection": "close"}


class InternalServerError(ServiceError):
    """An unexpected exception; its details are in the log only."""

    status, code, message = 500, "INTERNAL_SERVER_ERROR", "The service failed; the log has the reason."
