"""Access log: one line for each request, as text or as a JSON object (LOG_FORMAT), or none (LOG_REQUESTS).

Neither form has a query, a body, an address or the name of a user.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from urllib.parse import quote

import orjson
from attrs import define, frozen
from starlette.types import Scope

from session_service.api.request import trace_id_of

_HARMLESS = re.compile(rb"[A-Za-z0-9/_.-]*")
_USERINFO = re.compile(rb"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")


@frozen
class Entry:
    """A request and its response; times in seconds. Status 0: the client was gone before the response."""

    scope: Scope
    status: int
    duration: float
    queued: float


@define
class AccessLog:
    """Writes the line of each request; `key` is the key of the callers' hashes.

    `requests` is `all`, `errors` or `none`, as in the settings.
    """

    write: Callable[[str], None]
    is_json: bool = False
    requests: str = "all"
    key: bytes = b""

    def add(self, entry: Entry) -> None:
        """Write the line of a request."""
        if self._is_wanted(entry.status):
            self.write(_text(entry) if not self.is_json else self._json(entry))

    def add_rejected(self, request_id: str, status: int) -> None:
        """Write the line of a request that was rejected before it was read."""
        if not self._is_wanted(status):
            return
        if not self.is_json:
            self.write(f"[session-service] {request_id} - - {status} 0.0ms\n")
        else:
            self.write(
                _line({"request_id": request_id, "status": status, "duration_ms": 0.0, "queue_ms": 0.0})
            )

    def _is_wanted(self, status: int) -> bool:
        return self.requests == "all" or (self.requests == "errors" and not 200 <= status < 400)

    def _json(self, entry: Entry) -> str:
        scope = entry.scope
        caller = scope.get("caller")
        fields = {
            "request_id": scope["request_id"],
            "trace_id": trace_id_of(scope),
            "operation": scope.get("operation"),
            "method": scope["method"],
            "path": _path(scope),
            "status": entry.status,
            "duration_ms": round(entry.duration * 1000, 1),
            "queue_ms": round(entry.queued * 1000, 1),
            "session_id": scope.get("session_id"),
            "caller": blake2b(caller.encode(), key=self.key, digest_size=8).hexdigest() if caller else None,
        }
        return _line({name: value for name, value in fields.items() if value is not None})


def _line(fields: dict[str, object]) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"time": now, "level": "info", "logger": "session_service.access"}
    return orjson.dumps({**head, **fields}, option=orjson.OPT_APPEND_NEWLINE).decode()


def _text(entry: Entry) -> str:
    scope = entry.scope
    request = f"{scope['request_id']} {scope['method']} {_path(scope)}"
    return f"[session-service] {request} {entry.status} {entry.duration * 1000:.1f}ms\n"


def _path(scope: Scope) -> str:
    """Return the path as it was sent, escaping every character that could forge a log line.

    The query, which may contain a user id, and a password in an absolute-form target are omitted.
    """
    raw: bytes = _USERINFO.sub(rb"\1", scope["raw_path"])
    return raw.decode() if _HARMLESS.fullmatch(raw) else quote(raw, safe="/=%:@!$'()*+,;~")
