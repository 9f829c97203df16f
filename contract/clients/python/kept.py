"""The stored content of an attempt."""

import json
from collections.abc import Collection, Mapping
from typing import TypedDict, TypeVar, cast
from uuid import UUID

from .json_values import Answer, Answers, as_mapping

Assignment = tuple[str, int | str]  # the user, and the quiz that the user works on


Value = TypeVar("Value")


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


def merge_kept(stored: Kept, kept: Kept) -> Kept:
    """Return stored content with what was added before it was read; raises for that of another attempt."""
    for name in ("id", "user_id", "quiz_id"):
        if None not in (stored[name], kept[name]) and stored[name] != kept[name]:
            raise ValueError(name)
    # An answer that was given since then replaces the stored one.
    later = kept["times"].keys()
    return Kept(
        id=kept["id"] or stored["id"],
        user_id=kept["user_id"] if kept["user_id"] is not None else stored["user_id"],
        quiz_id=kept["quiz_id"] if kept["quiz_id"] is not None else stored["quiz_id"],
        anew=kept["anew"] or (stored["anew"] and not kept["id"]),
        completing=kept["completing"] or stored["completing"],
        version=kept["version"] or stored["version"],
        saved=_without(stored["saved"], later) | kept["saved"],
        times=stored["times"]
        | {name: max(time, stored["times"].get(name, 0)) for name, time in kept["times"].items()},
        unsent=_without(_requeued(stored), later) | _requeued(kept),
        sent=None,
        refused=_without(stored["refused"], later) | kept["refused"],
        lost=_without(stored["lost"], later) | kept["lost"],
        taken=list(dict.fromkeys([*stored["taken"], *kept["taken"]])),
        past=list(dict.fromkeys([*stored["past"], *kept["past"]])),
    )


def _without(values: dict[str, Value], names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if name not in names}


def _requeued(kept: Kept) -> Changes:
    """Return the unsent changes, with those of the write in flight."""
    changes = dict(kept["unsent"])
    for question, change in changes_of(kept["sent"]).items():
        answer = changes.get(question, change)["answer"]
        changes[question] = {"answer": answer, "seen": change["seen"]}
    return changes


def answers_of(changes: Mapping[str, Change]) -> Answers:
    """Return the answers alone."""
    return {question: change["answer"] for question, change in changes.items()}


def changes_of(write: Write | None) -> Changes:
    """Return the changes of a write, if there is one."""
    return write["changes"] if write else {}


def _expect(kind: object, *values: object) -> None:
    if not all(isinstance(value, kind) for value in values):  # type: ignore[arg-type]
        raise TypeError(values)
