"""Errors that only HTTP has: a request that does not fit, or that no operation can take."""

from typing import Any

from session_service.sessions.errors import ServiceError

Detail = dict[str, str]


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


class UriTooLongError(ServiceError):
    """A path and query of over 4 KiB."""

    status, code, message = 414, "URI_TOO_LONG", "The path and the query have over 4096 bytes."


class UnsupportedMediaTypeError(ServiceError):
    """A body that is not plain `application/json`."""

    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"

    def __init__(self, message: str) -> None:
        self.message = message


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
