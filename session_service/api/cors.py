"""Adds CORS headers for the allowed origins and answers preflight requests (Fetch standard)."""

import re
from collections.abc import Iterable

from attrs import evolve
from starlette.types import Scope

from session_service.api.contract import Operation
from session_service.api.responses import Headers, Response

# Request headers that no operation declares.
_ALWAYS = {"authorization", "content-type", "traceparent", "tracestate", "x-request-id"}
# A comma-separated list of field names (RFC 9110, 5.6.2).
_NAMES = re.compile(rb"[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*)*")
_MAX_NAMES_BYTES = 4096  # size limit of such a list, in bytes
_MAX_AGE = b"7200"  # lifetime of a preflight response, in seconds: the longest that Chromium accepts

# Response headers that pages may read beside the CORS-safelisted ones (Fetch standard).
_EXPOSED = (
    b"allow",
    b"content-disposition",
    b"date",
    b"etag",
    b"location",
    b"preference-applied",
    b"retry-after",
    b"session-expires-at",
    b"session-now",
    b"www-authenticate",
    b"x-request-id",
)


class Cors:
    """CORS for the pages of some origins, without credentials mode.

    Pages set the Authorization header themselves, so browsers need not send cookies.
    """

    def __init__(self, origins: Iterable[str], operations: Iterable[Operation]) -> None:
        self._origins = {origin.lower().encode() for origin in origins}
        own = [operation.parameters["header"].schema["properties"] for operation in operations]
        names = _ALWAYS | {name.lower() for headers in own for name in headers}
        self._sent = ", ".join(sorted(names)).encode()

    def shared(self, scope: Scope, response: Response) -> Response:
        """Return the response with the headers that let a page of an allowed origin read it."""
        more: Headers = [(b"vary", b"Origin")]
        origin = self._origin(scope)
        if origin:
            more += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", b", ".join(_EXPOSED)),
            ]
        return evolve(response, headers=[*response.headers, *more])

    def preflight(self, scope: Scope, methods: str) -> Response | None:
        """Return the response to a preflight request, or None for other requests and other origins.

        `methods` are the methods of the path, as in Allow.
        """
        asked = any(name == b"access-control-request-method" for name, _ in scope["headers"])
        if scope["method"] != "OPTIONS" or not asked or not self._origin(scope):
            return None
        headers = [
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-allow-headers", self._allowed_headers(scope)),
            (b"access-control-max-age", _MAX_AGE),
        ]
        return Response(204, headers)

    def _allowed_headers(self, scope: Scope) -> bytes:
        """Return the allowed request headers: those of the preflight request if valid, else the contract's.

        Client libraries add headers (traceparent, sentry-trace, baggage). The service ignores them, but the
        browser would block a request with a header that is not allowed.
        """
        asked = [value for name, value in scope["headers"] if name == b"access-control-request-headers"]
        fits = len(asked) == 1 and len(asked[0]) <= _MAX_NAMES_BYTES and _NAMES.fullmatch(asked[0])
        return asked[0].strip() if fits else self._sent

    def _origin(self, scope: Scope) -> bytes | None:
        """Return the Origin header if it is present once and allowed, or None."""
        given = [value for name, value in scope["headers"] if name == b"origin"]
        return given[0] if len(given) == 1 and given[0] in self._origins else None
