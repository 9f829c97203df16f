"""The sender: opens an attempt, sends its outbox, completes it; one request at a time."""

from .device import Device
from .events import Events
from .json_values import Answers, encode
from .kept import Assignment, Changes, Write, answers_of
from .merging import Merger
from .models import AnswerChanges, IfActive, SaveAnswers, Session, StartSession
from .pauses import Pauses
from .request import Reply, Request, ServiceClient, ask
from .sessions import latest_in, session_in
from .state import State

MAX_BYTES = 256 * 1024 - 100  # of the answers in a request; the body has its version, too


class Sender:
    """The requests of an attempt; each function returns the seconds to wait before it is called again."""

    def __init__(self, client: ServiceClient, device: Device, merger: Merger, events: Events) -> None:
        self.client = client
        self.token: str | None = None
        self.pauses = Pauses(events)
        self.state = State(device, events, self.pauses)
        self._device, self._events = device, events
        self._merger = merger

    def open(self, assignment: Assignment, *, anew: bool) -> float:
        """Continue the user's attempt, or start one."""
        outbox = self._device.outbox
        session_id = outbox.kept["id"]
        if session_id and outbox.belongs_to(assignment):
            wait = self._read(session_id)
            # After a 404 there is no id any more, and a new attempt is started below.
            if wait and outbox.kept["id"]:
                return wait
        with self._device.state:
            if not self.state.prepare(assignment, anew=anew):
                return self.pauses.after_failure("STORE_FAILED")
            find = not outbox.kept["id"] and not outbox.kept["anew"]
        if find and (wait := self._find(assignment)):
            return wait
        if session_id := outbox.kept["id"]:
            return 0 if self.state.session else self._read(session_id)
        body = StartSession(*assignment, if_active=IfActive.RESUME)
        return self._request(Request("POST", "/api/sessions/start", encode(body.to_dict())))

    def flush(self) -> float:
        """Send every unsaved answer, then the completion if it was asked for."""
        if not self.state.is_current:
            if not self._device.assignment:
                return self.pauses.after_failure("NOT_OPEN")
            if wait := self.open(self._device.assignment, anew=False):
                return wait
        unmerged: set[str] = set()
        while session := self._unsent():
            if wait := self._save(session, unmerged):
                return wait
        session = self.state.session
        if session and not self.state.ended and self._device.outbox.kept["completing"]:
            return self._request(Request("POST", f"/api/sessions/{session.id}/complete"), completes=True)
        return self.pauses.none()

    def _unsent(self) -> Session | None:
        """Return the session if answers are to be sent, also those of other processes."""
        self.state.receive()
        return self.state.session if not self.state.ended and self._device.outbox.unsaved else None

    def _read(self, session_id: str) -> float:
        return self._request(Request("GET", f"/api/sessions/{session_id}"))

    def _find(self, assignment: Assignment) -> float:
        """Look for attempts made on other devices: take the one that runs, else the newest."""
        reply = self._ask(
            Request("GET", "/api/sessions", query={"user_id": assignment[0], "quiz_id": assignment[1]})
        )
        if reply.code != "OK":
            return self.pauses.after_failure(reply.code, reply.retry_after)
        found = latest_in(reply.content, assignment)
        if not found:
            return self.pauses.after_failure("NO_REPLY")
        (self._device.outbox.kept["id"],) = found
        return self.pauses.none()

    def _save(self, session: Session, unmerged: set[str]) -> float:
        write = self._next_write(session, unmerged)
        if not write:
            with self._device.state:
                owns = self._device.owns()
            if not owns:
                return self.pauses.for_owner()
            return self.pauses.wait("UNDECIDED", self._merger.seconds_until_due(unmerged))
        changes = AnswerChanges.from_dict(answers_of(write["changes"]))
        body = SaveAnswers(changes, version=write["version"]).to_dict()
        request = Request("PATCH", f"/api/sessions/{session.id}/progress", encode(body), key=write["key"])
        return self._request(request, saves=True)

    def _next_write(self, session: Session, unmerged: set[str]) -> Write | None:
        """Return the write in flight, or make one; None if no answer can be merged, or the outbox is lost."""
        outbox = self._device.outbox
        with self._device.state:
            if outbox.kept["sent"]:
                return outbox.kept["sent"]
            unsent = dict(outbox.kept["unsent"])
        merged = self._merge(unsent, session.answers.to_dict(), unmerged)
        if not merged:
            return None
        with self._device.state:
            if not self._device.owns():
                return None
            write = outbox.make_write(merged, unsent, session.version)
        # Answers that were changed meanwhile are merged again.
        return write or self._next_write(session, unmerged)

    def _merge(self, unsent: Changes, stored: Answers, unmerged: set[str]) -> Changes:
        """Merge a batch of changes; add the questions of those that cannot be merged to `unmerged`."""
        merged, size = Changes(), 0
        for question, change in unsent.items():
            if question in unmerged:
                continue
            added = len(encode({question: change["answer"]}))
            if len(merged) == self._device.outbox.batch or (merged and size + added > MAX_BYTES):
                break
            # Without the lock: this may take long, and the learner goes on answering.
            result = self._merger.merge(question, change, stored.get(question))
            if result:
                (merged[question], event), size = result, size + added
                if event:
                    self._events.add(event)
            else:
                unmerged.add(question)
        return merged

    def _ask(self, request: Request) -> Reply:
        self._events.deliver()
        return ask(self.client, request, self.token)

    def _request(self, request: Request, *, saves: bool = False, completes: bool = False) -> float:
        """Send a request and apply its reply, as long as this process has the outbox."""
        with self._device.state:
            if not self._device.owns():
                return self.pauses.for_owner()
        reply = self._ask(request)
        session = session_in(reply.content)
        with self._device.state:
            # The next owner of the outbox sends the same write with the same key.
            if not self._device.owns():
                return self.pauses.for_owner()
            # A listener may have sent it, and the write after it, during the request.
            sent = self._device.outbox.kept["sent"]
            saves = saves and sent is not None and sent["key"] == request.key
            return self.state.apply(reply, session, saves=saves, completes=completes)
