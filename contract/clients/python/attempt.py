"""A learner's attempt at a quiz: keeps answers on the device until the service has them."""

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Event

from .device import Device
from .events import AttemptEvent, Events, Listener, Timeout
from .json_values import Answer, Answers, canonical_id, copy_of
from .limits import TimeLimit
from .merging import Merge, Merger, keep_mine
from .models import Session
from .request import ServiceClient, since
from .sender import Sender
from .sessions import is_paused
from .stores import Store

__all__ = ("Answer", "Answers", "Attempt", "AttemptEvent", "Merge", "Store", "Token")

Token = Callable[[], str]


class Attempt:
    """A learner's attempt at a quiz.

    `open`, `flush` and `complete` send requests and return the seconds to wait before the same call is made
    again; 0 when done. They raise no exception if a network, a store, a token or a merge fails. Threads may
    share an attempt, and processes a file: one of them sends, and the others store their answers beside the
    file for it.
    """

    def __init__(
        self,
        client: ServiceClient,
        file: Path | Store,
        merge: Merge = keep_mine,
        *,
        token: Token | None = None,
        timeout: float = 10,
    ) -> None:
        """Load the file.

        `merge` chooses the answer to a question that another device has changed, from the learner's and the
        stored one; meanwhile the other answers are sent. `token` returns a token for the service; it is
        called before the first request and after a 401. It and the functions of a store have `timeout`
        seconds. All are called in threads of their own.
        """
        self.file = file
        self.answered = Event()  # set by each answer and late decision, for a thread that sends
        self._token = token
        self._events = Events()
        self._device = Device(file, TimeLimit(timeout, lambda: self._events.add(Timeout("store"))))
        self._token_limit = TimeLimit(timeout, lambda: self._events.add(Timeout("token")))
        merger = Merger(merge, self.answered.set)
        self._sender = Sender(client, self._device, merger, self._events)
        with self._device.state:
            if self._device.is_free:
                self._device.claim()
            else:
                self._device.outbox.read_only()

    @property
    def client(self) -> ServiceClient:
        """Return the generated client, which may be replaced at any time."""
        return self._sender.client

    @client.setter
    def client(self, client: ServiceClient) -> None:
        self._sender.client = client

    @property
    def session(self) -> Session | None:
        """Return the session of the last reply; None before the first."""
        return self._sender.state.session

    @property
    def ended(self) -> bool:
        """Return whether the attempt was completed, or its time is over."""
        return self._sender.state.ended

    @property
    def paused(self) -> bool:
        """Return whether a teacher has paused the session: answers are kept, and sent when it is resumed."""
        return is_paused(self.session)

    @property
    def problem(self) -> str | None:
        """Return why the last call returned a wait; None after one that returned 0."""
        return self._sender.pauses.problem

    @property
    def unsaved(self) -> Answers:
        """Return the answers that the service has not acknowledged, also those of other processes."""
        with self._device.state:
            return self._device.unsaved

    @property
    def answers(self) -> Answers:
        """Return the answers as the learner last gave them: the unsaved ones over those of the session."""
        return self._sender.state.answers | self.unsaved

    @property
    def pending(self) -> bool:
        """Return whether answers, or the completion, have still to be sent."""
        with self._device.state:
            return not self.ended and (self._device.completes or bool(self._device.unsaved))

    @property
    def refused(self) -> Answers:
        """Return the answers that the service does not accept."""
        with self._device.state:
            return dict(self._device.outbox.kept["refused"])

    @property
    def lost(self) -> Answers:
        """Return the answers that came after the end."""
        with self._device.state:
            return dict(self._device.outbox.kept["lost"])

    @property
    def store_failed(self) -> bool:
        """Return whether answers are in memory only, because the file cannot be written or read."""
        with self._device.state:
            return self._device.store_failed

    @property
    def set_aside(self) -> Path | None:
        """Return where unreadable content, or that of another attempt, was moved."""
        return self._device.outbox.set_aside

    def on(self, listener: Listener) -> Callable[[], None]:
        """Call the listener for each event, until the returned function is called.

        It is called in the thread of the call that caused the event: it must not wait for another thread that
        uses the attempt.
        """
        return self._events.on(listener)

    def open(self, user_id: str, quiz_id: int | str, *, anew: bool = False) -> float:
        """Continue the user's attempt at the quiz, or start one; with `anew` also after one has ended."""
        self._device.assignment = assignment = user_id, canonical_id(quiz_id)
        return self._in_turn(lambda: self._sender.open(assignment, anew=anew))

    def answer(self, question: int | str, answer: Answer) -> None:
        """Keep an answer for the next flush; None clears the answer. Raises an exception if it is not JSON.

        It waits for no request. Afterwards the device has the answer stored, or `store_failed` is true.
        """
        # A copy: a list that its owner changes later must not change a write that was sent.
        self._sender.state.answer(str(question), copy_of(answer))
        self.answered.set()

    def flush(self) -> float:
        """Send every answer that is not saved yet."""
        return self._in_turn(self._sender.flush)

    def complete(self) -> float:
        """Complete the attempt, after every answer was saved or refused; later flushes go on with it."""
        self.ask_to_complete()
        return self.flush()

    def ask_to_complete(self) -> None:
        """Store that the learner hands in, without a request: the next flush completes the attempt."""
        with self._device.state:
            self._sender.state.complete()
        self.answered.set()

    def seconds_left(self) -> float:
        """Return the seconds until the learner's time is over, never too many; infinite without an end.

        A pause stops them.
        """
        session = self.session
        if self.ended or not session:
            return 0
        if is_paused(session) and session.expires_at and session.paused_at:
            return max(0, (session.expires_at - session.paused_at).total_seconds())
        return self.seconds_until(session.expires_at)

    def seconds_until(self, end: datetime | None) -> float:
        """Return the seconds until a time of the service, at least 0; infinite for None."""
        if not end:
            return math.inf
        with self._device.state:
            now, asked = self._sender.state.now, self._sender.state.asked
        return max(0, (end - now).total_seconds() - since(asked))

    def seconds_since_reply(self) -> float:
        """Return the seconds since the last reply with the session, by the time of its request."""
        return since(self._sender.state.asked)

    def close(self) -> None:
        """Stop using the file: another `Attempt` may go on. Later answers are stored for it."""
        with self._device.state:
            self._device.leave()

    def _in_turn(self, call: Callable[[], float]) -> float:
        """Make a call when those of other threads have returned, as the owner of the file."""
        with self._device.turn:
            claimed = self._sender.state.claim()
            wait = self._with_token(call) if claimed else self._sender.pauses.for_owner()
        self._events.deliver()
        return wait

    def _with_token(self, call: Callable[[], float]) -> float:
        """Call again with a new token after a 401."""
        if self._sender.token is None:
            self._renew()
        wait = call()
        if wait and self.problem == "UNAUTHENTICATED" and self._renew():
            return call()
        return wait

    def _renew(self) -> bool:
        """Ask for a token; return whether there is a new one. Without one the request's 401 asks again."""
        before = self._sender.token
        if self._token:
            with suppress(Exception):
                self._sender.token = self._token_limit.call(self._token)
        return self._sender.token != before
