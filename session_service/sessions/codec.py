"""Values to JSON and JSON to values; the contract has already said that the JSON is right."""

import base64
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from cattrs.preconf.orjson import make_converter

from session_service.sessions.models import (
    Answer,
    Changes,
    Cursor,
    Fresh,
    Health,
    IfMatch,
    Liveness,
    Probe,
    Readiness,
    Seen,
    Session,
    SessionPage,
    Snapshot,
    StartSession,
    Write,
)

# An entity tag that a proxy has made weak, or has marked with its compression, still names the version.
_ENTITY_TAGS = re.compile(r'[ \t,]*(?:W/)?"[^"]*"(?:[ \t]*,[ \t,]*(?:W/)?"[^"]*")*[ \t,]*')
_VERSION_TAG = re.compile(r'"([1-9][0-9]{0,9})(?:--?(?:br|deflate|gzip|zstd))?"')
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')

MOST = 2_147_483_647  # of what the contract counts

_converter = make_converter(detailed_validation=False)
_converter.register_structure_hook_func(lambda kind: kind in (Answer | None, Changes), lambda value, _: value)
_converter.register_structure_hook(UUID, lambda text, _: UUID(text))
_converter.register_unstructure_hook(orjson.Fragment, lambda fragment: fragment)


@_converter.register_unstructure_hook
def _timestamp(time: datetime) -> str:
    # PostgreSQL's are in UTC already: see sql/configure.sql.
    utc = time.astimezone(UTC) if time.utcoffset() else time
    return utc.isoformat(timespec="milliseconds")[:23] + "Z"


@_converter.register_unstructure_hook
def _cursor_text(cursor: Cursor) -> str:
    place = cursor.created_ms.to_bytes(6, "big") + cursor.id.bytes
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


@_converter.register_structure_hook
def _cursor(text: str, _: type) -> Cursor:
    place = base64.urlsafe_b64decode(text + "==")
    return Cursor(int.from_bytes(place[:6], "big"), UUID(bytes=place[6:]))


@_converter.register_structure_hook
def _seen(text: str, _: type) -> Seen:
    return Seen(frozenset(_versions(text)), text.strip() == "*")


def _if_match(text: str, _: type) -> IfMatch | None:
    return None if text.strip() == "*" else IfMatch(_versions(text))


def _versions(tags: str) -> tuple[int, ...]:
    """Return the versions in a list of entity tags (RFC 9110, 8.8.3), none if it is no such list."""
    if not _ENTITY_TAGS.fullmatch(tags):
        return ()
    versions = (int(version) for version in _VERSION_TAG.findall(tags))
    return tuple(version for version in versions if version <= MOST)


_converter.register_structure_hook_func(lambda kind: kind is IfMatch, _if_match)
_converter.register_structure_hook_func(
    lambda kind: kind is Fresh, lambda text, _: "no-cache" in text.lower()
)


def parse(body: bytes) -> Any:
    """Return the JSON value in `body`; raise ValueError if it is not I-JSON (RFC 7493).

    The parser keeps the last of two members of one name: then there are more colons than members.
    """
    value = orjson.loads(body)
    members = _members(value)
    # Most bodies have no colon within a string, and are done with the first look.
    if body.count(b":") != members and _STRING.sub(b"", body).count(b":") != members:
        raise ValueError("a name is there twice")
    return value


def structure(value: Any, into: Any) -> Any:
    """Return a JSON value that fits the contract as the value that the handlers take."""
    return _converter.structure(value, into)


def structurer(into: Any) -> Callable[[Any], Any]:
    """Return what makes such values out of JSON values that fit the contract."""
    hook = _converter.get_structure_hook(into)
    return lambda value: hook(value, into)


def encode_session(session: Session) -> bytes:
    """Return the session as the contract's `Session`, whatever else its row has told."""
    return orjson.dumps(_converter.unstructure(session, Session))


def is_of(snapshot: Snapshot, owner: str) -> bool:
    """Tell whether the session is the owner's, by the bytes with which `encode_session` begins."""
    return snapshot.body.startswith(
        b'{"id":"%b","user_id":%b,' % (str(snapshot.id).encode(), orjson.dumps(owner))
    )


def encode(value: Health | Liveness | Probe | Readiness | SessionPage) -> bytes:
    """Encode a value as the contract's component of the same name; a probe in the same way."""
    return orjson.dumps(_converter.unstructure(value))


class Digester:
    """Makes digests that two writes have in common if, and only if, one is a repeat of the other.

    A digest is an HMAC (RFC 2104): without the key, an answer cannot be found by trying. It begins with a
    fingerprint of the key, so that digests by different keys are not compared.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._fingerprint = hmac.digest(self._key, b"fingerprint", "sha256").hex()[:8]

    def __call__(self, write: StartSession | Write) -> str:
        """Return the write's digest."""
        text = orjson.dumps(_converter.unstructure(write), option=orjson.OPT_SORT_KEYS)
        return f"{self._fingerprint}.{hmac.digest(self._key, text, 'sha256').hex()}"


def encode_error(fields: dict[str, Any]) -> bytes:
    """Return an error's body; a session in it is set in as the bytes it already is."""
    return orjson.dumps(fields, default=_set_in)


def _members(value: Any) -> int:
    """Return how many members the objects in a JSON value have together, however deep it is."""
    count = 0
    waiting = [value] if isinstance(value, dict | list) else []
    while waiting:
        node = waiting.pop()
        count += len(node) if isinstance(node, dict) else 0
        inner = node.values() if isinstance(node, dict) else node
        waiting.extend(member for member in inner if isinstance(member, dict | list))
    return count


def _set_in(value: object) -> orjson.Fragment:
    if isinstance(value, Snapshot):
        return orjson.Fragment(value.body)
    raise TypeError(type(value))
