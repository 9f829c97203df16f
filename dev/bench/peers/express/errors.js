// The errors that a request may end with, and the reply for each.

// errorCode -> status, error, message
const KINDS = {
  VALIDATION_ERROR: [400, "ValidationError", "The request does not fit the contract."],
  ROUTE_NOT_FOUND: [404, "RouteNotFoundError", "The service has no such path."],
  SESSION_NOT_FOUND: [404, "SessionNotFoundError", "There is no such session."],
  SESSION_CONFLICT: [409, "SessionConflictError", "The session has another version by now."],
  SESSION_EXPIRED: [410, "SessionExpiredError", "The session's time is over."],
  SESSION_COMPLETED: [410, "SessionCompletedError", "The session was completed."],
  PAYLOAD_TOO_LARGE: [413, "PayloadTooLargeError", "The body is too large."],
  INTERNAL_SERVER_ERROR: [500, "InternalServerError", "The service failed; the log has the reason."],
};

/** Something that the client is told, with whatever fields it has of its own. */
export class ServiceError extends Error {
  constructor(code, fields = {}) {
    super(code);
    this.code = code;
    this.fields = fields;
  }
}

/** Express's error handler: its four parameters are how Express knows it. */
export function answerError(error, req, res, next) {
  if (res.headersSent) return next(error);
  const { code, fields } = toServiceError(error);
  const [statusCode, name, message] = KINDS[code];
  if (code === "INTERNAL_SERVER_ERROR") console.error(`request ${req.id} failed`, error);
  if (code === "SESSION_CONFLICT") res.set("retry-after", "1");
  const body = { error: name, message, errorCode: code, statusCode, requestId: req.id, ...fields };
  res.status(statusCode).json(body);
}

function toServiceError(error) {
  if (error instanceof ServiceError) return error;
  if (error.status === 413) return new ServiceError("PAYLOAD_TOO_LARGE");
  // What express.json and the router refuse: broken JSON, a broken escape in the path.
  if (error.status >= 400 && error.status < 500) {
    return new ServiceError("VALIDATION_ERROR", { details: [{ path: "request", message: "is malformed" }] });
  }
  return new ServiceError("INTERNAL_SERVER_ERROR");
}
