"""The errors that a request may end with, and the reply for each."""

from fastapi import Request
from fastapi.responses import JSONResponse

from fastapi_peer.schemas import Session

# errorCode -> status, error, message
KINDS = {
    "VALIDATION_ERROR": (400, "ValidationError", "The request does not fit the contract."),
    "ROUTE_NOT_FOUND": (404, "RouteNotFoundError", "The service has no such path."),
    "SESSION_NOT_FOUND": (404, "SessionNotFoundError", "There is no such session."),
    "METHOD_NOT_ALLOWED": (405, "MethodNotAllowedError", "The path does not take this method; see Allow."),
    "SESSION_CONFLICT": (409, "SessionConflictError", "The session has another version by now."),
    "SESSION_EXPIRED": (410, "SessionExpiredError", "The session's time is over."),
    "SESSION_COMPLETED": (410, "SessionCompletedError", "The session was completed."),
    "PAYLOAD_TOO_LARGE": (413, "PayloadTooLargeError", "The body is too large."),
    "INTERNAL_SERVER_ERROR": (500, "InternalServerError", "The service failed; the log has the reason."),
}


class ServiceError(Exception):
    """Something that the client is told, with whatever fields it has of its own."""

    def __init__(self, code: str, headers: dict[str, str] | None = None, **fields: object) -> None:
        super().__init__(code)
        self.code = code
        self.headers = headers
        self.fields = fields


def refused(
    code: str, session: Session, headers: dict[str, str] | None = None, **fields: object
) -> ServiceError:
    """Return the error of a request that the session's state forbids; it carries the session."""
    shown = session.model_dump(mode="json")
    return ServiceError(code, headers, sessionId=shown["id"], session=shown, **fields)


def error_response(request: Request, error: ServiceError) -> JSONResponse:
    """Return the reply to an error."""
    status, name, message = KINDS[error.code]
    body = {
        "error": name,
        "message": message,
        "errorCode": error.code,
        "statusCode": status,
        "requestId": request.state.request_id,
    }
    return JSONResponse(body | error.fields, status, error.headers)
