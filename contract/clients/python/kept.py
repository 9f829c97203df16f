"""The stored content of an attempt."""

import json
from collections.abc import Mapping
from typing import TypedDict, cast
from uuid import UUID

from .json_values import Answer, Answers, as_mapping

Owner = tuple[str, int | str]  # the user and the quiz


class Change(TypedDict):
    """A change of one answer; `seen` is the stored answer that the learner saw when giving it."""

    answer: Answer
    seen: Answer


Changes = dict[str, Change]


class Write(TypedDict):
    """A write that was sent, or will be: it is repeated unchanged, with the same idempotency key."""

    key: str
    changes: Changes
    version: int


class Kept(TypedDict):
    """The stored content.

    `anew` ignores earlier attempts at the next start, `saved` are acknowledged answers, `times` those of the
    device's last answers, `past` the ids of sessions of earlier attempts.
    """

    id: str | None
    user_id: str | None
    quiz_id: int | str | None
    anew: bool
    completing: bool
    version: int  # of the last session
    saved: Answers
    times: dict[str, int]  # nanoseconds of the device's date
    unsent: Changes
    sent: Write | None
    refused: Answers
    lost: Answers
    taken: list[str]  # names of entries of the inbox that are in this content
    past: list[str]


def nothing_kept() -> Kept:
    """Return the content of a new store."""
    return Kept(
        id=None,
        user_id=None,
        quiz_id=None,
        anew=False,
        completing=False,
        version=0,
        saved={},
        times={},
        unsent={},
        sent=None,
        refused={},
        lost={},
        taken=[],
        past=[],
    )


def parse_kept(content: bytes) -> Kept:
    """Parse stored content, also that of older versions; raises an exception if it is not an attempt's."""
    kept = cast(Kept, {**nothing_kept(), **as_mapping(json.loads(content))})
    sent = kept["sent"] or {"key": "", "changes": {}, "version": 0}
    for changes in (kept["unsent"], sent["changes"]):
        if not all(change.keys() >= {"answer", "seen"} for change in changes.values()):
            raise ValueError(changes)
    _expect(str, sent["key"], *kept["taken"], *kept["past"])
    _expect(dict, kept["saved"], kept["times"], kept["refused"], kept["lost"])
    _expect(int, sent["version"], kept["version"], kept["anew"], kept["completing"], *kept["times"].values())
    _expect(str | None, kept["user_id"])
    _expect(int | str | None, kept["quiz_id"])
    if kept["id"] is not None:
        UUID(kept["id"])
    return kept


def answers_of(changes: Mapping[str, Change]) -> Answers:
    """Return the answers alone."""
    return {question: change["answer"] for question, change in changes.items()}


def changes_of(write: Write | None) -> Changes:
    """Return the changes of a write, if there is one."""
    return write["changes"] if write else {}


def _expect(kind: object, *values: object) -> None:
    if not all(isinstance(value, kind) for value in values):  # type: ignore[arg-type]
        raise TypeError(values)
