"""Encodes domain values as JSON, and decodes JSON that the contract has accepted."""

import base64
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from session_service.sessions.events import EventCursor
from session_service.sessions.models import (
    Changes,
    Cursor,
    EncodedSession,
    ExternalId,
    Session,
    SessionSummary,
    StartSession,
    Write,
)
from session_service.sessions.order_models import Order, QuizOrder

MAX_EXTERNAL_INTEGER = 2**53 - 1  # the largest integer that I-JSON can be relied on to keep (RFC 7493, 2.2)

_CONTAINERS = (dict, list)
_CURSOR_FORMAT = b"\1"
_CURSOR_BYTES = 27
_FOREIGN = EventCursor(UUID(int=0), 0, 0)  # a cursor of no feed
_INTEGER = re.compile("0|[1-9][0-9]{0,15}")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')

_converter = make_converter(detailed_validation=False)
_converter.register_structure_hook_func(
    lambda kind: kind in (Changes, dict[str, Any]), lambda value, _: value
)
_converter.register_structure_hook(UUID, lambda text, _: UUID(text))
# In UTC: PostgreSQL knows no offset of 16 hours or more.
_converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text).astimezone(UTC))
_converter.register_unstructure_hook(orjson.Fragment, lambda fragment: fragment)
_converter.register_structure_hook_func(lambda kind: kind is ExternalId, lambda value, _: external_id(value))


@_converter.register_unstructure_hook
def timestamp(time: datetime) -> str:
    """Return the time as a timestamp of the contract."""
    return timestamp_of(milliseconds(time))


def timestamp_or_none(time: datetime | None) -> str:
    """Return the time as a timestamp of the contract, `none` for no time."""
    return timestamp(time) if time else "none"


def timestamp_of(milliseconds: int) -> str:
    """Return the time, in milliseconds since 1970, as a timestamp of the contract."""
    seconds, fraction = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{fraction:03}Z"


# A session has about eight timestamps, and those of one exam are in the same few hours.
@lru_cache(maxsize=10_000)
def _second(seconds: int) -> str:
    """Return the time, in seconds since 1970, as a timestamp without fraction and time zone."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def milliseconds(time: datetime) -> int:
    """Return the milliseconds since 1970, as a whole number."""
    return round(time.timestamp() * 1000)


def external_id(value: float | str) -> ExternalId:
    """Return the text of an id that the contract accepts: `7`, `7.0` and `"7"` are the same id."""
    return ExternalId(value if isinstance(value, str) else str(int(value)))


def shown_id(text: str) -> int | str:
    """Return the id as it is shown: as an integer if its text is the canonical decimal of one."""
    return int(text) if _INTEGER.fullmatch(text) and int(text) <= MAX_EXTERNAL_INTEGER else text


_converter.register_unstructure_hook_func(lambda kind: kind is ExternalId, shown_id)
# After the hooks of its fields.
_converter.register_unstructure_hook(
    SessionSummary,
    make_dict_unstructure_fn(
        SessionSummary,
        _converter,
        answers=override(omit_if_default=True),
        annotations=override(omit_if_default=True),
    ),
)


@_converter.register_unstructure_hook
def _cursor_text(cursor: Cursor) -> str:
    place = cursor.created_ms.to_bytes(6, "big") + cursor.id.bytes
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


@_converter.register_structure_hook
def _cursor(text: str, _: type) -> Cursor:
    place = base64.urlsafe_b64decode(text + "==")
    return Cursor(int.from_bytes(place[:6], "big"), UUID(bytes=place[6:]))


@_converter.register_unstructure_hook
def event_cursor_text(cursor: EventCursor) -> str:
    """Return the text of the cursor: its format, era, shard and position in base64url."""
    place = (
        _CURSOR_FORMAT
        + cursor.era.bytes
        + cursor.shard.to_bytes(2, "big")
        + cursor.position.to_bytes(8, "big")
    )
    return base64.urlsafe_b64encode(place).decode()


@_converter.register_structure_hook
def _event_cursor(text: str, _: type) -> EventCursor:
    place = base64.urlsafe_b64decode(text)
    if len(place) != _CURSOR_BYTES or not place.startswith(_CURSOR_FORMAT):
        return _FOREIGN
    position = int.from_bytes(place[19:], "big")
    # The database has no larger number.
    return EventCursor(UUID(bytes=place[1:17]), int.from_bytes(place[17:19], "big"), min(position, 2**63 - 1))


def register(into: Any, structure_hook: Callable[[str], Any]) -> None:
    """Register the hook that makes a value of the type from the text of a header."""
    _converter.register_structure_hook_func(lambda kind: kind is into, lambda text, _: structure_hook(text))


def parse(body: bytes) -> Any:
    """Return the JSON value in `body`; raise ValueError if it is not I-JSON (RFC 7493).

    The parser silently keeps the last of two members with the same name. They are detected by the number of
    colons: `{"1":"a","1":"b"}` has two, but only one member once it is parsed.
    """
    value = orjson.loads(body)
    colons = body.count(b":")
    members = _count_members(value) if colons else 0
    # Most bodies have no colon within a string: the first, cheap count is enough for them.
    if colons != members and _STRING.sub(b"", body).count(b":") != members:
        raise ValueError("a name occurs twice")
    return value


def containers_in(level: list[Any]) -> list[Any]:
    """Return the arrays and objects that are members of these arrays and objects."""
    # One comprehension, without a call for each: a body may have 100 000 arrays.
    return [
        member
        for node in level
        for member in (node.values() if isinstance(node, dict) else node)
        if isinstance(member, _CONTAINERS)
    ]


def structure(value: Any, into: Any) -> Any:
    """Convert a JSON value that the contract accepts to the type."""
    return _converter.structure(value, into)


def structurer(into: Any) -> Callable[[Any], Any]:
    """Return the function that converts JSON values that the contract accepts to the type."""
    hook = _converter.get_structure_hook(into)
    return lambda value: hook(value, into)


def encode_session(session: Session, read_at: datetime) -> EncodedSession:
    """Encode the session as the contract's `Session`, without the further columns of its row."""
    return EncodedSession(
        id=session.id,
        status=session.status,
        version=session.version,
        user_id=session.user_id,
        quiz_id=session.quiz_id,
        expires_at=timestamp_or_none(session.expires_at if session.status != "paused" else None),
        body=orjson.dumps(_converter.unstructure(session, Session)),
        read_at=milliseconds(read_at),
    )


def encode(value: object) -> bytes:
    """Encode a value as the contract's component of the same name."""
    return orjson.dumps(unstructure(value))


def encode_summary(session: SessionSummary) -> bytes:
    """Encode the session as the contract's `SessionSummary`, without the further columns of its row."""
    return orjson.dumps(unstructure_summary(session))


def unstructure_summary(session: SessionSummary) -> dict[str, Any]:
    """Convert the session to the fields of the contract's `SessionSummary`."""
    fields: dict[str, Any] = _converter.unstructure(session, SessionSummary)
    return fields


def size(value: object) -> int:
    """Return the number of bytes of a JSON value."""
    return len(orjson.dumps(value))


def unstructure(value: object) -> Any:
    """Convert a value to types that JSON has."""
    return _converter.unstructure(value)


def encode_error(fields: dict[str, Any]) -> bytes:
    """Encode an error's body; a session in it is embedded as its encoded bytes, a cursor as its text."""
    return orjson.dumps(fields, default=_embed)


class Digester:
    """Computes digests of writes: two are equal if, and only if, one write is a repeat of the other.

    A digest is an HMAC (RFC 2104): without the key, an answer cannot be guessed from it. It covers the fields
    that the client sent, not defaults, so that a repeat is also one after a change of a default. It begins
    with its format and a fingerprint of the key, so that digests of different formats or keys are not
    compared.
    """

    _FORMAT = "2"

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        fingerprint = hmac.digest(self._key, b"fingerprint", "sha256").hex()[:8]
        self._prefix = f"{self._FORMAT}-{fingerprint}"

    def __call__(self, write: StartSession | Write | Order | QuizOrder) -> str:
        """Return the write's digest."""
        sent = {name: value for name, value in _converter.unstructure(write).items() if value is not None}
        return self._digest(orjson.dumps(sent, option=orjson.OPT_SORT_KEYS))

    def of_value(self, value: object) -> dict[str, int | str]:
        """Return the size of a JSON value in bytes, and its digest, which is not that of any write."""
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return {"bytes": len(text), "digest": self._digest(b"value " + text)}

    def _digest(self, text: bytes) -> str:
        return f"{self._prefix}.{hmac.digest(self._key, text, 'sha256').hex()}"


def _count_members(value: Any) -> int:
    """Return the number of members of all objects in a JSON value, at any depth."""
    count = 0
    level = [value] if isinstance(value, dict | list) else []
    while level:
        count += sum(len(node) for node in level if isinstance(node, dict))
        level = containers_in(level)
    return count


def _embed(value: object) -> orjson.Fragment | str:
    if isinstance(value, EncodedSession):
        return orjson.Fragment(value.body)
    if isinstance(value, EventCursor):
        return event_cursor_text(value)
    raise TypeError(type(value))
