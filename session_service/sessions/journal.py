"""The journal's view of a write: its changes or, of a large one, the sizes and the digests of its values."""

from typing import Any

from session_service.sessions import codec
from session_service.sessions.codec import Digester
from session_service.sessions.models import Write

MAX_KEPT = 8 * 1024  # bytes of a change as JSON that a line of the journal keeps

_VALUES = (("answers", "answer_digests"), ("annotations", "annotation_digests"))

Change = dict[str, Any]
"""`answers`, `annotations` and `current_question` as the contract has them, but the unchanged ones."""


def change_of(write: Write) -> Change:
    """Return the changes of a write."""
    change: Change = {}
    if write.answers:
        change["answers"] = write.answers
    if write.annotations:
        change["annotations"] = write.annotations
    if write.current_question is not None:
        change["current_question"] = codec.shown_id(write.current_question)
    return change


def summarize(change: Change, digester: Digester) -> Change:
    """Return a change with the size and the digest of each value; cleared values are named as such."""
    summary = {name: value for name, value in change.items() if name == "current_question"}
    for name, digests in _VALUES:
        values = change.get(name, {})
        cleared = {question: None for question, value in values.items() if value is None}
        kept = {question: digester.of_value(value) for question, value in values.items() if value is not None}
        summary |= {field: entries for field, entries in ((name, cleared), (digests, kept)) if entries}
    return summary
