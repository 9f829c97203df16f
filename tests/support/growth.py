"""Growth of replies: what a later version 2.x may send."""

import json
from typing import Any

# Objects whose names are those of the platform, and not of the contract.
_FREE = {"answers", "annotations", "answer_digests", "annotation_digests", "metadata"}


def grown(content: bytes) -> bytes:
    """Return a JSON reply with one more field in each object that the contract describes."""
    return json.dumps(_grown(json.loads(content))).encode() if content else content


def _grown(value: Any) -> Any:
    if isinstance(value, list):
        return [_grown(member) for member in value]
    if isinstance(value, dict):
        fields = {name: field if name in _FREE else _grown(field) for name, field in value.items()}
        return {**fields, "added_later": {"of": ["a later version", 2, None]}}
    return value
