"""Serves the contract: Swagger UI at /docs, openapi.yaml, and the same document as openapi.json."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

from starlette.types import Scope

from session_service.api import contract
from session_service.api.responses import Response

_PAGE = Path(__file__).parent / "swagger"

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
    operation = "docs"

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


def files(root_path: str) -> dict[str, File]:
    """Read the files and return them by their paths.

    `root_path` is the path prefix of the service, which becomes the server URL in the contract.
    """
    library = _library()
    text = contract.FILE.read_text()
    if root_path:
        text = text.replace("\nservers:\n  - url: /\n", f"\nservers:\n  - url: {root_path}\n")
    document = json.dumps(contract.parse(text), ensure_ascii=False).encode()
    return {
        "/openapi.yaml": File(text.encode(), "application/yaml"),
        "/openapi.json": File(document, "application/json"),
        "/docs": File((_PAGE / "index.html").read_bytes(), "text/html; charset=utf-8"),
        "/docs/page.css": File((_PAGE / "page.css").read_bytes(), "text/css; charset=utf-8"),
        "/docs/page.js": File((_PAGE / "page.js").read_bytes(), "text/javascript; charset=utf-8"),
        "/docs/swagger-ui.css": File((library / "swagger-ui.css").read_bytes(), "text/css; charset=utf-8"),
        "/docs/swagger-ui-bundle.js": File(
            (library / "swagger-ui-bundle.js").read_bytes(), "text/javascript; charset=utf-8"
        ),
    }


def _library() -> Path:
    """Return the folder of Swagger UI in the installed package, without importing it."""
    package = find_spec("swagger_ui")
    folders = (package.submodule_search_locations if package else None) or []
    for folder in folders:
        return Path(folder, "static")
    raise ModuleNotFoundError("the page at /docs needs swagger-ui-py")
