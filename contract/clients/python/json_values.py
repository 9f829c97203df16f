"""JSON values: copies, comparisons, ids."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

Answer = Any  # a JSON value; None clears the answer
Answers = dict[str, Answer]


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object; raises TypeError for other JSON."""
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def canonical_id(value: int | str) -> int | str:
    """Return an id as the service returns it: the decimal of an integer is that integer."""
    integer = isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,15}", value) and int(value) < 2**53
    return int(value) if integer else value


def copy_of(answer: Answer) -> Answer:
    """Return a copy, made by way of JSON; raises an exception if the value is not JSON."""
    return json.loads(json.dumps(answer, allow_nan=False))


def encode(value: Answer) -> bytes:
    """Return JSON in UTF-8; half a surrogate pair, which has none, is escaped."""
    with suppress(UnicodeEncodeError):
        return json.dumps(value, ensure_ascii=False).encode()
    return json.dumps(value).encode()


def same(one: Answer, other: Answer) -> bool:
    """Return whether two values are equal as JSON: `1` is `1.0`, but not `true`."""

    def canonical(value: Answer) -> str:
        return json.dumps(json.loads(json.dumps(value), parse_int=float), sort_keys=True)

    return canonical(one) == canonical(other)
