"""The state of an attempt: its answers on the device, and what the replies of the service make of it."""

from datetime import UTC, datetime

from .device import Device
from .events import Changed, Ended, Events, Refused, Restored, Saved
from .inbox import Entry
from .json_values import Answer, Answers
from .kept import Assignment
from .models import Session
from .pauses import Pauses
from .request import Reply, read_clocks
from .sessions import is_running

MAX_TOO_LARGE = 3  # replies of a proxy in a row, until a write is made smaller
WITH_SESSION = {"OK", "SESSION_CONFLICT", "SESSION_PAUSED", "SESSION_COMPLETED", "SESSION_EXPIRED"}


class State:
    """The session of the last reply, and the answers on the device."""

    def __init__(self, device: Device, events: Events, pauses: Pauses) -> None:
        self.session: Session | None = None
        self.ended = False
        # The service's time of the last reply, and the clocks when its request was sent.
        self.now, self.asked = datetime.now(UTC), read_clocks()
        self._device, self._events, self._pauses = device, events, pauses
        self._too_large = 0  # replies of a proxy in a row

    @property
    def answers(self) -> Answers:
        """Return the answers of the last session."""
        answers: Answers = self.session.answers.to_dict() if self.session else {}
        return answers

    @property
    def is_current(self) -> bool:
        """Return whether there is a session, and no other process that had the outbox has a later one."""
        return self.session is not None and self.session.version == self._device.outbox.kept["version"]

    def claim(self) -> bool:
        """Take the outbox, and the answers of other processes; return False if another one has the outbox."""
        with self._device.state:
            if not self._device.claim():
                return False
            # The content may be that of another process, with another attempt.
            if self.session and self._device.outbox.kept["id"] != str(self.session.id):
                self.session, self.ended = None, False
            # So may be answers in a store that could not be read before.
            if self.ended and self._device.outbox.unsaved:
                self._device.outbox.end(self.answers)
        self.receive()
        return True

    def receive(self) -> None:
        """Move the answers of other processes to the outbox."""
        with self._device.state:
            if self._device.owns() and self._device.receive(self._add):
                self._events.add(Changed())
        self._events.deliver()

    def answer(self, question: str, answer: Answer) -> None:
        """Store an answer for the next flush, of this process or of the one that owns the outbox."""
        with self._device.state:
            device, stored = self._device, self.answers.get(question)
            if device.owns():
                device.receive(self._add)
                self._add_answer(question, answer, stored, device.next_time(question))
                device.outbox.keep()
            else:
                device.outbox.read_only()
                device.put(question, answer, device.last_answer(question, stored))
            self._events.add(Changed())
        self._events.deliver()

    def complete(self) -> None:
        """Store the wish to complete the attempt, for this process's flush or that of the owner."""
        with self._device.state:
            if self._device.owns():
                self._device.outbox.kept["completing"] = not self.ended
                self._device.outbox.keep()
                return
            self._device.outbox.read_only()
            if not self._device.completes:
                self._device.put(None, None, None)

    def prepare(self, assignment: Assignment, *, anew: bool) -> bool:
        """Prepare the outbox for an assignment; return False if another one's cannot be moved aside."""
        outbox = self._device.outbox
        if not outbox.belongs_to(assignment) or (self.ended and anew):
            self.session = None
            if not outbox.clear():
                return False
            self.ended = False
        kept = outbox.kept
        kept["user_id"], kept["quiz_id"] = assignment
        kept["anew"] |= anew and not self.session
        return True

    def apply(self, reply: Reply, session: Session | None, *, saves: bool, completes: bool) -> float:
        """Apply a reply, with the session in it; return the seconds to wait before the next request."""
        outbox, code, was_ended = self._device.outbox, reply.code, self.ended
        if session and not self._is_own(session):
            session = None
        runs = is_running(session)
        if code in WITH_SESSION:
            if not session or (completes and code == "OK" and runs):
                return self._pauses.after_failure("NO_REPLY", reply.retry_after)
            self._adopt(session, reply)
        match code:
            case "OK" if runs:
                outbox.reopen()
                self._too_large = 0
                if saves:
                    self._tell(Saved(outbox.acknowledge()))
            case "OK" | "SESSION_COMPLETED" | "SESSION_EXPIRED":
                self._end(was_ended=was_ended)
            case "VALIDATION_ERROR" | "PAYLOAD_TOO_LARGE" if saves:
                self._tell(Refused(outbox.refuse()))
                outbox.keep()
                return self._pauses.after_refusal(code, reply.retry_after)
            case _:
                return self._recover(reply, saves=saves)
        outbox.keep()
        return self._pauses.none()

    def _add(self, entry: Entry) -> None:
        """Add an entry; an answer of an earlier attempt is lost, and its completion is ignored."""
        outbox, question = self._device.outbox, entry["question"]
        if entry["session_id"] in outbox.kept["past"]:
            if question is not None:
                outbox.lose_past(question, entry["answer"])
        elif question is None:
            outbox.kept["completing"] = not self.ended
        else:
            self._add_answer(question, entry["answer"], entry["seen"], entry["time"])

    def _add_answer(self, question: str, answer: Answer, seen: Answer, time: int) -> None:
        if self.ended:
            self._device.outbox.lose(question, answer, time)
        else:
            self._device.outbox.add(question, answer, seen, time)

    def _recover(self, reply: Reply, *, saves: bool) -> float:
        outbox = self._device.outbox
        self._too_large = self._too_large + 1 if saves and reply.too_large else 0
        if self._too_large == MAX_TOO_LARGE:
            self._too_large = 0
            outbox.shrink()
        else:
            outbox.recover(reply.code, self.answers, saves=saves)
        if reply.code == "SESSION_NOT_FOUND":
            self.session, self.ended = None, False
        outbox.keep()
        if reply.code in WITH_SESSION:
            return self._pauses.after_session(reply.code, reply.retry_after)
        return self._pauses.after_failure(reply.code, reply.retry_after)

    def _is_own(self, session: Session) -> bool:
        """Return whether a session is this attempt's."""
        outbox = self._device.outbox
        owned = outbox.belongs_to((session.user_id, session.quiz_id))
        return owned and outbox.kept["id"] in {None, str(session.id)}

    def _adopt(self, session: Session, reply: Reply) -> None:
        self.session, self.ended = session, False
        # The clocks of the request's start: the reply's time is later, so the time left is never too long.
        self.now, self.asked = reply.now, reply.asked
        self._tell(Restored(self._device.outbox.adopt(session)))

    def _end(self, *, was_ended: bool) -> None:
        outbox = self._device.outbox
        outbox.end(self.answers)
        self.ended = True
        if self.session and not was_ended:
            self._events.add(Ended(self.session, dict(outbox.kept["lost"])))

    def _tell(self, event: Saved | Refused | Restored) -> None:
        if event.answers:
            self._events.add(event)
