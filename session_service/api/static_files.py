"""Static files of the pages, and their security headers."""

import hashlib

from starlette.types import Scope

from session_service.api.responses import Response

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_SECURITY = [
    (b"content-security-policy", "; ".join(_POLICY).encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class File:
    """A static file with an ETag; If-None-Match gets 304 Not Modified (RFC 9110, 13.1.2)."""

    sheddable = False
    operation = "page"

    def __init__(self, body: bytes, media_type: str) -> None:
        self._etag = b'"%b"' % hashlib.sha256(body).hexdigest().encode()
        headers = [(b"cache-control", b"no-cache"), (b"etag", self._etag)]
        self._whole = Response(200, headers, body, media_type.encode(), _SECURITY)
        self._unchanged = Response(304, headers, security=_SECURITY)

    async def handle(self, scope: Scope, _path: dict[str, str]) -> Response:
        """Return the file, or 304 if the client has this version."""
        return self._unchanged if self._is_known(scope) else self._whole

    def _is_known(self, scope: Scope) -> bool:
        given = [value.strip() for name, value in scope["headers"] if name == b"if-none-match"]
        return b"*" in given or any(self._etag in value for value in given)
