"""The inbox: answers of processes that do not own an attempt, each in a file until the owner takes it."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, cast
from uuid import uuid4

from .json_values import Answer, as_mapping
from .kept import Assignment
from .stores import sync_folder, write_file


class Entry(TypedDict):
    """An answer of the user to the quiz, or with `question` None their wish to complete the attempt.

    `seen` is the stored answer that the learner saw, `time` in nanoseconds of the device's date, `session_id`
    the session that it was given in; None if that was not known.
    """

    question: str | None
    answer: Answer
    seen: Answer
    time: int
    user_id: str | None  # None before the first `open`
    quiz_id: int | str | None
    session_id: str | None


Applies = Callable[[Entry], bool]


def is_of(entry: Entry, assignment: Assignment | None) -> bool:
    """Return whether the entry may be of this user and quiz."""
    return entry["user_id"] is None or (entry["user_id"], entry["quiz_id"]) == assignment


class Inbox:
    """The entries: each has its own name; one process writes it, the owner removes it."""

    def __init__(self, folder: Path | None) -> None:
        """Use the folder; None: only this process has answers."""
        self._folder = folder
        self.unstored: dict[str, Entry] = {}  # entries of this process that could not be written

    def put(self, entry: Entry) -> None:
        """Add an entry of this process."""
        self.unstored[f"{entry['time']:020d}-{uuid4()}"] = entry
        self.store()

    def store(self) -> None:
        """Write the entries that could not be written before."""
        if not self._folder:
            return
        with suppress(OSError):
            for name, entry in list(self.unstored.items()):
                self._folder.mkdir(exist_ok=True)
                write_file(self._folder / name, json.dumps(entry).encode())
                del self.unstored[name]

    def names(self) -> list[str]:
        """Return the names of all entries in the order of their times."""
        stored: list[str] = []
        if self._folder:
            with suppress(OSError):
                stored = [file.name for file in self._folder.iterdir() if file.suffix != ".new"]
        return sorted({*stored, *self.unstored})

    def entry(self, name: str) -> Entry | bytes | None:
        """Return an entry; its content if that is not one; None if it cannot be read now, or was taken."""
        if name in self.unstored:
            return self.unstored[name]
        if not self._folder:
            return None
        try:
            content = (self._folder / name).read_bytes()
        except OSError:
            return None
        with suppress(Exception):
            return _parse_entry(content)
        return content

    def remove(self, names: list[str]) -> None:
        """Remove entries that the outbox has stored."""
        for name in names:
            self.unstored.pop(name, None)
            if self._folder:
                with suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
        if self._folder:
            sync_folder(self._folder)

    def entries(self, taken: list[str]) -> Iterator[tuple[str, Entry | bytes]]:
        """Yield the entries that have not been taken, with their names; unreadable ones as bytes."""
        for name in self.names():
            entry = self.entry(name) if name not in taken else None
            if entry is not None:
                yield name, entry

    def latest(self, applies: Applies, taken: list[str]) -> dict[str, Entry]:
        """Return the last answer of an attempt to each question among those that have not been taken."""
        entries = self._of(applies, taken)
        return {entry["question"]: entry for entry in entries if entry["question"] is not None}

    def completes(self, applies: Applies, taken: list[str]) -> bool:
        """Return whether the completion of an attempt was asked for, and has not been taken."""
        return any(entry["question"] is None for entry in self._of(applies, taken))

    def _of(self, applies: Applies, taken: list[str]) -> Iterator[Entry]:
        for _, entry in self.entries(taken):
            if not isinstance(entry, bytes) and applies(entry):
                yield entry


def _parse_entry(content: bytes) -> Entry:
    """Parse an entry; raises an exception for other content."""
    # Entries of older versions of the class have no session.
    entry = cast(Entry, {"session_id": None, **as_mapping(json.loads(content))})
    question, time = entry["question"], entry["time"]
    if entry.keys() != Entry.__annotations__.keys() or not isinstance(question, str | None):
        raise TypeError(content)
    if not isinstance(time, int):
        raise TypeError(content)
    return entry
