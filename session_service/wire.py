"""Values to JSON and JSON to values; the contract has already said that the JSON is right."""

from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson
from cattrs.preconf.orjson import make_converter

from session_service.models import Answer, Changes, Health, Session, Snapshot

T = TypeVar("T")

_converter = make_converter(detailed_validation=False)
_converter.register_structure_hook_func(lambda kind: kind in (Answer | None, Changes), lambda value, _: value)
_converter.register_structure_hook(UUID, lambda text, _: UUID(text))
_converter.register_unstructure_hook(orjson.Fragment, lambda fragment: fragment)


@_converter.register_unstructure_hook
def _timestamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse(body: bytes) -> Any:
    """Return the JSON value in `body`; raise ValueError if it is not JSON."""
    return orjson.loads(body)


def structure(value: Any, into: type[T]) -> T:
    """Return a JSON value that fits the contract as the value that the handlers take."""
    return _converter.structure(value, into)


def encode_session(session: Session) -> bytes:
    """Return the session as the contract's `Session`, whatever else its row has told."""
    return orjson.dumps(_converter.unstructure(session, Session))


def encode_health(health: Health) -> bytes:
    """Return the health as the contract's `Health`."""
    return orjson.dumps(_converter.unstructure(health))


def encode_error(fields: dict[str, Any]) -> bytes:
    """Return an error's body; a session in it is set in as the bytes it already is."""
    return orjson.dumps(fields, default=_set_in)


def _set_in(value: object) -> orjson.Fragment:
    if isinstance(value, Snapshot):
        return orjson.Fragment(value.body)
    raise TypeError(type(value))
