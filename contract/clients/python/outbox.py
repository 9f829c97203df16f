"""The outbox: an attempt's answers, on the device before they are sent and until the attempt has ended."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from .json_values import Answer, Answers, same
from .kept import Assignment, Changes, Write, answers_of, changes_of, merge_kept, nothing_kept, parse_kept
from .models import Session
from .stores import Store

MAX_ANSWERS = 500  # in a request
MAX_PAST = 100  # ids of sessions of earlier attempts
# After a restore an operator adds a million to the versions. No client makes half as many writes in between.
RESTORED = 500_000


class Outbox:
    """The answers in a store. Its caller holds the lock of the store's state."""

    def __init__(self, store: Store) -> None:
        self.kept = nothing_kept()
        self.store_failed = False
        self.set_aside: Path | None = None
        self.batch = MAX_ANSWERS
        self._store = store
        self._stored: bytes | None = None  # the content that was written last
        self.writable = False  # only by its owner
        self._unread = False  # the store has content that is not in memory: never overwrite it

    def read_only(self) -> None:
        """Read the content that another owner has written; the store stays as it is."""
        self.writable = self.store_failed = False
        with suppress(Exception):
            content = self._store.read()
            self.kept = nothing_kept() if content is None else parse_kept(content)

    def load(self, *, writable: bool) -> None:
        """Read the content as its owner, and move it aside if it cannot be used."""
        self.kept, self._stored, content = nothing_kept(), None, b""
        self.writable, self._unread, self.store_failed = writable, True, True
        with suppress(Exception):
            stored = self._store.read()
            self._unread, self.store_failed = False, not writable
            if stored is None:
                return
            content = stored
            self.kept = parse_kept(stored)
            return
        self._unread = self._unread or not (writable and self.move_aside(content))
        self.keep()

    def read_again(self) -> None:
        """Read content again that could not be read before, and add what was added meanwhile."""
        if not (self._unread and self.writable):
            return
        with suppress(Exception):
            stored = self._store.read()
            if stored is not None and not self._merge(stored) and not self.move_aside(stored):
                return
            self._unread = False

    def _merge(self, stored: bytes) -> bool:
        """Return False if the content cannot be used."""
        with suppress(Exception):
            self.kept = merge_kept(parse_kept(stored), self.kept)
            return True
        return False

    @property
    def unsaved(self) -> Answers:
        """Return the answers that the service has not acknowledged."""
        return answers_of(changes_of(self.kept["sent"])) | answers_of(self.kept["unsent"])

    @property
    def assignment(self) -> Assignment | None:
        """Return the user and the quiz; None before the first `open`, and in files of older versions."""
        user_id, quiz_id = self.kept["user_id"], self.kept["quiz_id"]
        return None if user_id is None or quiz_id is None else (user_id, quiz_id)

    def belongs_to(self, assignment: Assignment) -> bool:
        """Return whether the answers are of this user and quiz; those without a user were never sent."""
        return self.assignment in {None, assignment}

    def add(self, question: str, answer: Answer, stored: Answer, time: int) -> None:
        """Add an answer of a time, unless there is a later one; `stored` is the one that the learner saw."""
        if not self._is_latest(question, time):
            return
        sent = changes_of(self.kept["sent"])
        if before := self.kept["unsent"].get(question):
            seen = before["seen"]
        elif question in sent:
            seen = sent[question]["answer"]
        else:
            # Another process of this device may have saved one since the learner saw the stored one.
            seen = self.kept["saved"].get(question, stored)
        self.kept["unsent"][question] = {"answer": answer, "seen": seen}

    def lose(self, question: str, answer: Answer, time: int) -> None:
        """Add an answer that came after the end, unless there is a later one."""
        if self._is_latest(question, time):
            self.kept["lost"][question] = answer

    def lose_past(self, question: str, answer: Answer) -> None:
        """Add an answer of an earlier attempt, unless this attempt has one to the question."""
        if question not in self.kept["times"]:
            self.kept["lost"][question] = answer

    def _is_latest(self, question: str, time: int) -> bool:
        """Return whether an answer is the latest to the question; refused and lost ones are forgotten."""
        if time <= self.kept["times"].get(question, 0):
            return False
        self.kept["times"][question] = time
        for replaced in (self.kept["refused"], self.kept["lost"]):
            replaced.pop(question, None)
        return True

    def last_answer(self, question: str, stored: Answer) -> Answer:
        """Return the device's last answer to a question; without one `stored`."""
        return self.unsaved.get(question, self.kept["saved"].get(question, stored))

    def make_write(self, merged: Changes, read: Changes, version: int) -> Write | None:
        """Make a write of changes that were merged; None if each of them was changed after it was `read`."""
        unsent = self.kept["unsent"]
        changes = {name: change for name, change in merged.items() if unsent.get(name) is read[name]}
        if not changes:
            return None
        # Set together, after every step that can fail.
        self.kept["sent"] = {"key": str(uuid4()), "changes": changes, "version": version}
        self.kept["unsent"] = {name: change for name, change in unsent.items() if name not in changes}
        self.keep()
        return self.kept["sent"]

    def adopt(self, session: Session) -> Answers:
        """Adopt the id, the user, the quiz and the version from a session of the service.

        A version that is lower than the last one, or higher by RESTORED, is that of a restored database:
        saved answers that it lacks are unsent again, and are returned. A saved answer that another device has
        replaced is forgotten.
        """
        kept, stored, again = self.kept, session.answers.to_dict(), Answers()
        last = kept["version"]
        restored = session.version < last or (last > 0 and session.version >= last + RESTORED)
        for question, answer in list(kept["saved"].items()):
            if same(stored.get(question), answer):
                continue
            del kept["saved"][question]
            if restored and not self._has_later(question, answer, stored.get(question)):
                again[question] = answer
                kept["unsent"][question] = {"answer": answer, "seen": stored.get(question)}
        kept["id"], kept["version"], kept["anew"] = str(session.id), session.version, False
        kept["user_id"], kept["quiz_id"] = session.user_id, session.quiz_id
        return again

    def _has_later(self, question: str, saved: Answer, stored: Answer) -> bool:
        """Return whether an answer replaces a saved one that was lost; `stored` is no conflict with it."""
        groups = (changes_of(self.kept["sent"]), self.kept["unsent"])
        later = [changes[question] for changes in groups if question in changes]
        for change in later:
            if same(change["seen"], saved):
                change["seen"] = stored
        return bool(later)

    def acknowledge(self) -> Answers:
        """Move the write in flight to the saved answers; return them."""
        answers = answers_of(changes_of(self.kept["sent"]))
        self.kept["saved"] |= answers
        self.kept["sent"], self.batch = None, MAX_ANSWERS
        return answers

    def requeue(self) -> Changes:
        """Put the answers of the write back among the unsent ones, except replaced ones; return all."""
        changes = changes_of(self.kept["sent"])
        for question, change in changes.items():
            answer = self.kept["unsent"].get(question, change)["answer"]
            self.kept["unsent"][question] = {"answer": answer, "seen": change["seen"]}
        self.kept["sent"] = None
        return changes

    def shrink(self) -> None:
        """Requeue the write, and make the next one half as large."""
        self.batch = max(1, len(self.requeue()) // 2)

    def refuse(self) -> Answers:
        """Halve a refused write, until the answer that causes the refusal is found; return that one.

        An answer that the learner has corrected since then is not refused.
        """
        answers = answers_of(changes_of(self.kept["sent"]))
        self.shrink()
        unsent = self.kept["unsent"]
        if len(answers) > 1:
            return {}
        refused = {name: answer for name, answer in answers.items() if same(unsent[name]["answer"], answer)}
        for question in refused:
            del unsent[question]
        self.kept["refused"] |= refused
        return refused

    def end(self, stored: Answers) -> None:
        """Collect the answers that came too late: a write whose reply was lost may have been applied."""
        self.requeue()
        for question, answer in self.unsaved.items():
            if not same(stored.get(question), answer):
                self.kept["lost"][question] = answer
        self.kept["unsent"], self.kept["saved"], self.kept["completing"] = {}, {}, False

    def reopen(self) -> None:
        """Put the answers that came after the end back, because the session runs again."""
        later = self.unsaved
        for question, answer in list(self.kept["lost"].items()):
            # Those of an earlier attempt have no time.
            if question in self.kept["times"]:
                del self.kept["lost"][question]
                if question not in later:
                    self.kept["unsent"][question] = {"answer": answer, "seen": None}

    def restart(self, stored: Answers) -> None:
        """Prepare a new attempt after the service has lost this one, with every answer that is known."""
        self.requeue()
        known = stored | self.kept["saved"] | self.unsaved
        self.kept["unsent"] = {name: {"answer": answer, "seen": None} for name, answer in known.items()}
        self.kept["id"], self.kept["anew"], self.kept["version"], self.kept["saved"] = None, True, 0, {}

    def recover(self, code: str, stored: Answers, *, saves: bool) -> None:
        """Prepare the next try after an error that allows one; other requests are repeated unchanged."""
        match code:
            case "SESSION_CONFLICT":
                self.requeue()
            case "IDEMPOTENCY_KEY_REUSED" if saves:
                self.requeue()
            case "REQUEST_TIMEOUT" if saves:
                # Nothing was written. A slow network needs smaller requests.
                self.shrink()
            case "SESSION_NOT_FOUND":
                self.restart(stored)

    def clear(self) -> bool:
        """Remove the content; answers in it are moved aside. Return False if that fails."""
        answers = self.unsaved | self.kept["refused"] | self.kept["lost"]
        if answers and not self.move_aside(json.dumps(self.kept).encode()):
            return False
        taken, past, session_id = self.kept["taken"], self.kept["past"], self.kept["id"]
        past = [*past, session_id] if session_id else past
        self.kept = nothing_kept() | {"taken": taken, "past": past[-MAX_PAST:]}
        return True

    def keep(self) -> None:
        """Write the content, unless the store has it."""
        content = json.dumps(self.kept).encode()
        if content == self._stored:
            return
        allowed = self.writable and not self._unread
        self.store_failed = not (allowed and _succeeds(lambda: self._store.write(content)))
        self._stored = None if self.store_failed else content

    def move_aside(self, content: bytes) -> bool:
        """Store a content under a new name; return False if that fails."""

        def move() -> None:
            self.set_aside = Path(self._store.set_aside(content))

        moved = _succeeds(move)
        self.store_failed |= not moved
        return moved


def _succeeds(call: Callable[[], None]) -> bool:
    """Return whether a function of the store raises no exception."""
    with suppress(Exception):
        call()
        return True
    return False
