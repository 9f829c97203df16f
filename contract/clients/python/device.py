"""An attempt on this device: the outbox of its owner, and the inbox of the others that use the same file."""

from collections.abc import Callable
from pathlib import Path
from threading import RLock
from time import time_ns

from .inbox import Entry, Inbox, is_of
from .json_values import Answer, Answers
from .kept import Assignment
from .limits import LimitedStore, TimeLimit
from .outbox import Outbox
from .ownership import FileOwnership, ownership_of
from .stores import FileStore, Store

Add = Callable[[Entry], None]


class Device:
    """The answers of an attempt in a file or another store, which `claim` makes this attempt's own."""

    def __init__(self, store: Path | Store, limit: TimeLimit) -> None:
        """Use a file, or a store whose functions have a time limit."""
        self.assignment: Assignment | None = None  # of the last `open`
        self.closed = False
        self._files: FileStore | None = None
        if isinstance(store, Path):
            # The process may change its folder later.
            file = store.absolute()
            self._ownership = ownership = ownership_of(file)
            self._files = FileStore(file, lambda: not ownership.was_replaced)
            self.outbox = Outbox(self._files)
            self.inbox = Inbox(file.with_name(f"{file.name}.inbox"))
        else:
            self.outbox, self._ownership, self.inbox = (
                Outbox(LimitedStore(store, limit)),
                FileOwnership(),
                Inbox(None),
            )

    @property
    def turn(self) -> RLock:
        """Return the lock of a thread that sends requests."""
        return self._ownership.turn

    @property
    def state(self) -> RLock:
        """Return the lock of a thread that reads or changes the state."""
        return self._ownership.state

    def owns(self) -> bool:
        """Return whether the outbox is this attempt's own, and was not taken while the process was frozen."""
        self._pass_on_replaced()
        return self._ownership.owner is self.outbox

    @property
    def is_free(self) -> bool:
        """Return whether no attempt of this process has the outbox."""
        return self._ownership.owner is None

    def claim(self) -> bool:
        """Take the outbox, also from an attempt of this process; return False if another process has it."""
        if self.closed:
            return False
        self._pass_on_replaced()
        previous, status = self._ownership.owner, self._ownership.lock()
        if previous is self.outbox and self.outbox.writable == (status == "locked") and status != "taken":
            if self.outbox.store_failed:
                self.outbox.read_again()
                self.outbox.keep()
            return True
        if previous:
            self._put_unstored(previous)
            previous.read_only()
        if status == "taken":
            self._ownership.owner = None
            self.outbox.read_only()
            self.inbox.store()
            return False
        self._ownership.owner = self.outbox
        if self._files and status == "locked":
            self._files.remove_unfinished()
        self.outbox.load(writable=status == "locked")
        return True

    def leave(self) -> None:
        """Give the outbox to another process or attempt, for good."""
        self.closed = True
        if self.owns():
            self._put_unstored(self.outbox)
            self._ownership.leave()
            self.outbox.read_only()

    def _put_unstored(self, outbox: Outbox) -> None:
        """Add the answers that an outbox has in memory only to the inbox: they may be another learner's."""
        if outbox.store_failed:
            self._put_unsaved(outbox)

    def _put_unsaved(self, outbox: Outbox) -> None:
        """Add the answers of an outbox to the inbox; its owner ignores those that it has, by their times."""
        outbox.requeue()
        for question, change in outbox.kept["unsent"].items():
            # Not 0: an answer of another device, in a new attempt, has no time.
            time = outbox.kept["times"].get(question, 1)
            self._put(question, change["answer"], change["seen"], time, outbox)
        if outbox.kept["completing"]:
            self._put(None, None, None, time_ns(), outbox)

    def _pass_on_replaced(self) -> None:
        """Leave an outbox that another process has taken, or whose folder is gone; its answers are kept."""
        outbox = self._ownership.owner
        if outbox and self._ownership.was_replaced:
            self._put_unsaved(outbox)
            self._ownership.leave()
            outbox.read_only()

    def put(self, question: str | None, answer: Answer, seen: Answer) -> None:
        """Add an entry to the inbox; with question None the wish to complete the attempt."""
        time = time_ns() if question is None else self.next_time(question)
        self._put(question, answer, seen, time, None)

    def _put(
        self, question: str | None, answer: Answer, seen: Answer, time: int, outbox: Outbox | None
    ) -> None:
        """Add an entry of an outbox; without one it is this attempt's."""
        assignment = outbox.assignment if outbox else self.assignment
        user_id, quiz_id = assignment or (None, None)
        source = outbox or self.outbox
        # The outbox may be that of another user.
        session_id = source.kept["id"] if assignment in {None, source.assignment} else None
        entry = Entry(
            question=question,
            answer=answer,
            seen=seen,
            time=time,
            user_id=user_id,
            quiz_id=quiz_id,
            session_id=session_id,
        )
        self.inbox.put(entry)

    def next_time(self, question: str) -> int:
        """Return the time of an answer given now: later than the last one, also if the date was set back."""
        entry = self._entries.get(question)
        return max(time_ns(), (entry["time"] if entry else self.outbox.kept["times"].get(question, 0)) + 1)

    def receive(self, add: Add) -> bool:
        """Move the entries of the inbox to the outbox, which stores them first; return whether any were."""
        if self.assignment and not self.outbox.belongs_to(self.assignment):
            return False
        taken = self.outbox.kept["taken"]
        before = len(taken)
        for name, entry in self.inbox.entries(taken):
            if isinstance(entry, bytes):
                if self.outbox.move_aside(entry):
                    self.inbox.remove([name])
            elif is_of(entry, self._known_assignment):
                add(entry)
                taken.append(name)
        if len(taken) > before:
            self.outbox.keep()
        after = len(taken)
        if taken:
            self._remove(taken)
        return after > before

    def _remove(self, taken: list[str]) -> None:
        """Remove entries that the outbox has stored."""
        if self.outbox.store_failed:
            return
        self.inbox.remove(taken)
        # A name whose entry cannot be removed stays: its answer may have been replaced by a later one.
        present = set(self.inbox.names())
        self.outbox.kept["taken"] = [name for name in taken if name in present]

    def last_answer(self, question: str, stored: Answer) -> Answer:
        """Return the device's last answer to a question; without one `stored`."""
        entry = self._entries.get(question)
        return entry["answer"] if entry else self.outbox.last_answer(question, stored)

    @property
    def unsaved(self) -> Answers:
        """Return the answers that the service has not acknowledged."""
        return self.outbox.unsaved | {name: entry["answer"] for name, entry in self._entries.items()}

    @property
    def completes(self) -> bool:
        """Return whether the completion was asked for."""
        asked = self.inbox.completes(self._applies, self.outbox.kept["taken"])
        return self.outbox.kept["completing"] or asked

    @property
    def _entries(self) -> dict[str, Entry]:
        """Return the entries of the inbox that are later than the answers of the outbox."""
        kept = self.outbox.kept
        latest = self.inbox.latest(self._applies, kept["taken"])
        return {name: entry for name, entry in latest.items() if entry["time"] > kept["times"].get(name, 0)}

    def _applies(self, entry: Entry) -> bool:
        """Return whether an entry is of this attempt."""
        return is_of(entry, self._known_assignment) and entry["session_id"] not in self.outbox.kept["past"]

    @property
    def _known_assignment(self) -> Assignment | None:
        """Return the user and the quiz of the answers, once they are known."""
        return self.assignment or self.outbox.assignment

    @property
    def store_failed(self) -> bool:
        """Return whether answers are in memory only."""
        return self.outbox.store_failed or bool(self.inbox.unstored)
