"""Hooks of schemathesis for generated requests."""

from typing import Any

import orjson
import schemathesis

MAX_METADATA = 2048  # bytes, `x-max-bytes` of Metadata


@schemathesis.hook
def filter_body(_context: schemathesis.HookContext, body: Any) -> bool:
    """Leave out metadata that are too long: JSON Schema has no keyword for a length in bytes."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    return not isinstance(metadata, dict) or _size(metadata) <= MAX_METADATA


def _size(value: dict[str, Any]) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        # Surrogates, which a schema does not forbid.
        return 0
