"""The contract for readers: a page to read and try it on, the file itself, and the same as JSON."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from session_service import contract
from session_service.errors import MethodNotAllowedError

_PAGE = Path(__file__).parent / "page"

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
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "; ".join(_POLICY),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class File:
    """Bytes that stay the same while the service runs; whoever has them is told so."""

    def __init__(self, body: bytes, media_type: str) -> None:
        self._body = body
        self._media_type = media_type
        self._etag = f'"{hashlib.sha256(body).hexdigest()}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowedError("GET, HEAD")
        headers = {**_HEADERS, "etag": self._etag}
        if self._is_known(scope):
            response = Response(None, 304, headers)
        else:
            response = Response(self._body, 200, headers, self._media_type)
        await response(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = [value.strip() for name, value in scope["headers"] if name == b"if-none-match"]
        return b"*" in given or any(self._etag.encode() in value for value in given)


def files() -> dict[str, File]:
    """Return what is served about the contract, by its path, read once."""
    library = _library()
    document = json.dumps(contract.read(), ensure_ascii=False).encode()
    return {
        "/openapi.yaml": File(contract.FILE.read_bytes(), "application/yaml"),
        "/openapi.json": File(document, "application/json"),
        "/docs": File((_PAGE / "index.html").read_bytes(), "text/html"),
        "/docs/page.css": File((_PAGE / "page.css").read_bytes(), "text/css"),
        "/docs/page.js": File((_PAGE / "page.js").read_bytes(), "text/javascript"),
        "/docs/swagger-ui.css": File((library / "swagger-ui.css").read_bytes(), "text/css"),
        "/docs/swagger-ui-bundle.js": File(
            (library / "swagger-ui-bundle.js").read_bytes(), "text/javascript"
        ),
    }


def _library() -> Path:
    """Return the folder of Swagger UI in the installed package, which is never imported."""
    package = find_spec("swagger_ui")
    folders = (package.submodule_search_locations if package else None) or []
    for folder in folders:
        return Path(folder, "static")
    raise ModuleNotFoundError("the page at /docs needs swagger-ui-py")
