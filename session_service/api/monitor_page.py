"""Serves the page at /monitor, and the settings that its scripts read."""

import json
from collections.abc import Collection
from pathlib import Path

from session_service.api.static_files import File

_FOLDER = Path(__file__).parent / "monitor"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def files(origins: Collection[str], *, authenticated: bool) -> dict[str, File]:
    """Read the files and return them by their paths.

    A window of one of the origins may hand a token over to the page, which needs one if requests are
    authenticated.
    """
    settings = json.dumps({"needsToken": authenticated, "origins": sorted(origins)}).encode()
    parts = {
        f"/monitor/{file.name}": File(file.read_bytes(), _TYPES[file.suffix])
        for file in sorted(_FOLDER.iterdir())
        if file.suffix in _TYPES
    }
    return {
        "/monitor": File((_FOLDER / "index.html").read_bytes(), "text/html; charset=utf-8"),
        "/monitor/settings.json": File(settings, "application/json"),
        **parts,
    }
