"""The sender: opens an attempt, sends its outbox, completes it; one request at a time."""

import json
from datetime import UTC, datetime
from random import SystemRandom

from .device import Device
from .events import Changed, Ended, Events, Refused, Restored, Saved, Waiting
from .inbox import Entry
from .json_values import Answer, Answers
from .kept import Changes, Owner, Write, answers_of
from .merging import Merge, merge_change
from .models import (
    AnswerChanges,
    IfActive,
    SaveAnswers,
    Session,
    StartSession,
)
from .request import Reply, Request, ServiceClient, ask, read_clocks
from .sessions import is_running, latest_in, session_in

RANDOM = SystemRandom()
MAX_BACKOFF = 30.0  # seconds
OWNER_CHECK = 1.0  # seconds after which a call that has no owner is made again
WITH_SESSION = {"OK", "SESSION_CONFLICT", "SESSION_COMPLETED", "SESSION_EXPIRED"}


class Sender:
    """The requests of an attempt, and the state that their replies make."""

    def __init__(self, client: ServiceClient, device: Device, merge: Merge, events: Events) -> None:
        self.client, self.merge = client, merge
        self.token: str | None = None
        self.session: Session | None = None
        self.ended = False
        self.problem: str | None = None
        # The service's time of the last reply, and the clocks when its request was sent.
        self.now, self.asked = datetime.now(UTC), read_clocks()
        self._device, self._events = device, events
        self._failures = 0

    @property
    def answers(self) -> Answers:
        """Return the answers of the last session."""
        answers: Answers = self.session.answers.to_dict() if self.session else {}
        return answers

    def claim(self) -> bool:
        """Take the outbox, and the answers of other processes; return False if another one has the outbox."""
        with self._device.state:
            if not self._device.claim():
                return False
            # The content may be that of another process, with another attempt.
            if self.session and self._device.outbox.kept["id"] != str(self.session.id):
                self.session, self.ended = None, False
        self.take()
        return True

    def take(self) -> None:
        """Move the answers of other processes to the outbox."""
        with self._device.state:
            if self._device.owns and self._device.take(self._add):
                self._events.add(Changed())
        self._events.deliver()

    def answer(self, question: str, answer: Answer) -> None:
        """Store an answer for the next flush, of this process or of the one that owns the outbox."""
        with self._device.state:
            device, stored = self._device, self.answers.get(question)
            if device.owns:
                device.take(self._add)
                self._add_answer(question, answer, stored)
                device.outbox.keep()
            else:
                device.outbox.look()
                device.put(question, answer, device.last_answer(question, stored))
            self._events.add(Changed())
        self._events.deliver()

    def open(self, owner: Owner, *, anew: bool) -> float:
        """Continue the owner's attempt, or start one; return the seconds to wait before the next call."""
        outbox = self._device.outbox
        session_id = outbox.kept["id"]
        if session_id and outbox.belongs_to(owner):
            wait = self._read(session_id)
            # After a 404 there is no id any more, and a new attempt is started below.
            if wait and outbox.kept["id"]:
                return wait
        with self._device.state:
            if not self._prepare(owner, anew=anew):
                return self.pause("STORE_FAILED")
            find = not outbox.kept["id"] and not outbox.kept["anew"]
        if find and (wait := self._find(owner)):
            return wait
        if session_id := outbox.kept["id"]:
            return 0 if self.session else self._read(session_id)
        body = StartSession(*owner, if_active=IfActive.RESUME)
        return self._took(Request("POST", "/api/sessions/start", _json(body.to_dict())))

    def flush(self) -> float:
        """Send every unsaved answer, then the completion if it was asked for; return as `open` does."""
        if not self.session:
            if not self._device.owner:
                return self.pause("NOT_OPEN")
            if wait := self.open(self._device.owner, anew=False):
                return wait
        unmerged: set[str] = set()
        while session := self._unsent():
            if wait := self._save(session, unmerged):
                return wait
        if self.session and not self.ended and self._device.outbox.kept["completing"]:
            path = f"/api/sessions/{self.session.id}/complete"
            return self._took(Request("POST", path), completes=True)
        return self._done()

    def complete(self) -> None:
        """Store the wish to complete the attempt, for this process's flush or that of the owner."""
        with self._device.state:
            if self._device.owns:
                self._device.outbox.kept["completing"] = not self.ended
                self._device.outbox.keep()
            else:
                self._device.put(None, None, None)

    def pause(self, problem: str, retry_after: float = 0) -> float:
        """Return the seconds to wait: exponential backoff with jitter, and at least `retry_after`."""
        backoff = min(MAX_BACKOFF, 2.0 ** min(self._failures, 10))
        self._failures += 1
        return self._wait(problem, RANDOM.uniform(1, 1.5) * max(backoff, retry_after))

    def wait_for_owner(self) -> float:
        """Return the seconds after which the outbox may be free."""
        return self._wait("OTHER_PROCESS", RANDOM.uniform(1, 1.5) * OWNER_CHECK)

    def _wait(self, problem: str, seconds: float) -> float:
        self.problem = problem
        self._events.add(Waiting(problem, seconds))
        self._events.add(Changed())
        return seconds

    def _done(self) -> float:
        self.problem, self._failures = None, 0
        self._events.add(Changed())
        return 0

    def _add(self, entry: Entry) -> None:
        if entry["question"] is None:
            self._device.outbox.kept["completing"] = not self.ended
        else:
            self._add_answer(entry["question"], entry["answer"], entry["seen"])

    def _add_answer(self, question: str, answer: Answer, seen: Answer) -> None:
        if self.ended:
            self._device.outbox.kept["lost"][question] = answer
        else:
            self._device.outbox.add(question, answer, seen)

    def _prepare(self, owner: Owner, *, anew: bool) -> bool:
        """Prepare the outbox for the owner; return False if another's answers cannot be moved aside."""
        outbox = self._device.outbox
        if not outbox.belongs_to(owner) or (self.ended and anew):
            self.session = None
            if not outbox.clear():
                return False
            self.ended = False
        kept = outbox.kept
        kept["user_id"], kept["quiz_id"] = owner
        kept["anew"] |= anew and not self.session
        return True

    def _unsent(self) -> Session | None:
        """Return the session if answers are to be sent, also those of other processes."""
        self.take()
        return self.session if not self.ended and self._device.outbox.unsaved else None

    def _read(self, session_id: str) -> float:
        return self._took(Request("GET", f"/api/sessions/{session_id}"))

    def _find(self, owner: Owner) -> float:
        """Look for attempts made on other devices: take the one that runs, else the newest."""
        reply = self._ask(Request("GET", "/api/sessions", query={"user_id": owner[0], "quiz_id": owner[1]}))
        if reply.code != "OK":
            return self.pause(reply.code, reply.retry_after)
        found = latest_in(reply.content, owner)
        if not found:
            return self.pause("NO_REPLY")
        (self._device.outbox.kept["id"],) = found
        return self._done()

    def _save(self, session: Session, unmerged: set[str]) -> float:
        write = self._next_write(session, unmerged)
        if not write:
            return self.pause("UNDECIDED")
        changes = AnswerChanges.from_dict(answers_of(write["changes"]))
        body = SaveAnswers(changes, version=write["version"]).to_dict()
        request = Request("PATCH", f"/api/sessions/{session.id}/progress", _json(body), key=write["key"])
        return self._took(request, saves=True)

    def _next_write(self, session: Session, unmerged: set[str]) -> Write | None:
        """Return the write in flight, or make one; None if no answer can be merged."""
        outbox = self._device.outbox
        with self._device.state:
            if outbox.kept["sent"]:
                return outbox.kept["sent"]
            unsent = dict(outbox.kept["unsent"])
        merged, stored = Changes(), session.answers.to_dict()
        for question, change in unsent.items():
            if len(merged) == outbox.batch:
                break
            # Without the lock: this may take long, and the learner goes on answering.
            if question in unmerged:
                continue
            result = merge_change(self.merge, question, change, stored.get(question))
            if result:
                merged[question], event = result
                if event:
                    self._events.add(event)
            else:
                unmerged.add(question)
        if not merged:
            return None
        with self._device.state:
            write = outbox.make_write(merged, unsent, session.version)
        # Answers that were changed meanwhile are merged again.
        return write or self._next_write(session, unmerged)

    def _ask(self, request: Request) -> Reply:
        self._events.deliver()
        return ask(self.client, request, self.token)

    def _took(self, request: Request, *, saves: bool = False, completes: bool = False) -> float:
        """Send a request and apply its reply; return the seconds to wait before the next one."""
        reply = self._ask(request)
        session = session_in(reply.content)
        with self._device.state:
            # The next owner of the outbox sends the same write with the same key.
            if not self._device.owns:
                return self.wait_for_owner()
            # A listener may have sent it, and the write after it, during the request.
            sent = self._device.outbox.kept["sent"]
            saves = saves and sent is not None and sent["key"] == request.key
            return self._apply(reply, session, saves=saves, completes=completes)

    def _apply(self, reply: Reply, session: Session | None, *, saves: bool, completes: bool) -> float:
        outbox, code, was_ended = self._device.outbox, reply.code, self.ended
        if session and not self._is_own(session):
            session = None
        runs = is_running(session)
        if code in WITH_SESSION:
            if not session or (completes and code == "OK" and runs):
                return self.pause("NO_REPLY", reply.retry_after)
            self._adopt(session, reply)
        match code:
            case "OK" if runs:
                if saves:
                    self._tell(Saved(outbox.acknowledge()))
            case "OK" | "SESSION_COMPLETED" | "SESSION_EXPIRED":
                self._end(was_ended=was_ended)
            case "VALIDATION_ERROR" | "PAYLOAD_TOO_LARGE" if saves:
                self._tell(Refused(outbox.refuse()))
            case _:
                return self._retry(reply, saves=saves)
        outbox.keep()
        return self._done()

    def _retry(self, reply: Reply, *, saves: bool) -> float:
        outbox = self._device.outbox
        outbox.recover(reply.code, self.answers, saves=saves)
        if reply.code == "SESSION_NOT_FOUND":
            self.session = None
        if reply.code == "SESSION_CONFLICT":
            self._failures = 0
        outbox.keep()
        return self.pause(reply.code, reply.retry_after)

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


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
