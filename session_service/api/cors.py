"""Pages of other origins: which may call the service, and what their browsers are told (Fetch standard)."""

import re
from collections.abc import Iterable

from attrs import evolve
from starlette.types import Scope

from session_service.api.contract import Operation
from session_service.api.responses import Headers, Response

_ALWAYS = {"authorization", "content-type", "x-request-id"}  # request headers that are no operation's own
# A list of field names (RFC 9110, 5.6.2).
_NAMES = re.compile(rb"[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*(?:,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*)*")
_NAMES_LIMIT = 4096  # bytes of such a list
_SECONDS = b"7200"  # for which a preflight is good: Chromium keeps none for longer

# What a page may read beside the few headers that it always may.
_EXPOSED = (
    b"allow",
    b"date",
    b"etag",
    b"location",
    b"preference-applied",
    b"retry-after",
    b"www-authenticate",
    b"x-request-id",
)


class Cors:
    """The origins whose pages may call the service and read what it replies.

    A token is a header that the page itself sends: browsers are not asked for cookies or the like.
    """

    def __init__(self, origins: Iterable[str], operations: Iterable[Operation]) -> None:
        self._origins = {origin.lower().encode() for origin in origins}
        own = [operation.parameters["header"].schema["properties"] for operation in operations]
        names = _ALWAYS | {name.lower() for headers in own for name in headers}
        self._sent = ", ".join(sorted(names)).encode()

    def shared(self, scope: Scope, reply: Response) -> Response:
        """Return the reply with the word to the browser on whether the page may read it."""
        more: Headers = [(b"vary", b"Origin")]
        origin = self._origin(scope)
        if origin:
            more += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", b", ".join(_EXPOSED)),
            ]
        return evolve(reply, headers=[*reply.headers, *more])

    def preflight(self, scope: Scope, methods: str) -> Response | None:
        """Return the reply to a browser that asks whether its page may send a request to a path.

        `methods` are those that the path takes. None if nobody asks that, or the page is not allowed to.
        """
        asked = any(name == b"access-control-request-method" for name, _ in scope["headers"])
        if scope["method"] != "OPTIONS" or not asked or not self._origin(scope):
            return None
        headers = [
            (b"access-control-allow-methods", methods.encode()),
            (b"access-control-allow-headers", self._allowed_headers(scope)),
            (b"access-control-max-age", _SECONDS),
        ]
        return Response(204, headers)

    def _allowed_headers(self, scope: Scope) -> bytes:
        """Return the header names that a page may send: those that it asks for, or the contract's.

        Libraries add headers of their own to each request (traceparent, sentry-trace, baggage): one that is
        not allowed blocks the request in the browser, although the service ignores it.
        """
        asked = [value for name, value in scope["headers"] if name == b"access-control-request-headers"]
        fits = len(asked) == 1 and len(asked[0]) <= _NAMES_LIMIT and _NAMES.fullmatch(asked[0])
        return asked[0].strip() if fits else self._sent

    def _origin(self, scope: Scope) -> bytes | None:
        """Return the origin of the page behind the request if it is one of those allowed."""
        given = [value for name, value in scope["headers"] if name == b"origin"]
        return given[0] if len(given) == 1 and given[0] in self._origins else None
