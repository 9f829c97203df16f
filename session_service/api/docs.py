"""Serves the contract: Swagger UI at /docs, openapi.yaml, and the same document as openapi.json."""

import json
from importlib.util import find_spec
from pathlib import Path

from session_service.api import contract
from session_service.api.static_files import File

_PAGE = Path(__file__).parent / "swagger"


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
