"""Autosave: opens an attempt and sends its answers in the background."""

import logging
import math
import time
from random import SystemRandom
from threading import Event, Thread

from .attempt import Attempt
from .models import Session

RANDOM = SystemRandom()
LOGGER = logging.getLogger(__name__)
# Problems in which further answers can be sent.
_READY = {None, "UNDECIDED"}
_POLL = 1.0  # seconds between looks for the answers of other processes
_AFTER_FAULT = 30.0  # seconds
# Seconds after the last reply, at which the session is read again: a teacher may have changed its time.
_READ_RUNNING, _READ_PAUSED, _READ_ENDED = 30.0, 5.0, 60.0


class Autosave:
    """A thread that keeps an attempt open and its answers saved; what happens is an event of the attempt.

    The program gives its answers to `Attempt.answer`, hands in by `complete`, and calls no other method that
    sends.
    """

    def __init__(self, attempt: Attempt, user_id: str, quiz_id: int | str, *, anew: bool = False) -> None:
        """Prepare to open the attempt of this user and quiz; `anew` also after one has ended."""
        self._attempt, self._assignment, self._anew = attempt, (user_id, quiz_id), anew
        self._opened = False
        self._ahead, self._due = 2, math.inf  # ends of the session that lie ahead, and when it is read again
        self._jitter = RANDOM.uniform(1, 1.5)  # of the next read
        self._stop = Event()
        self._stop.set()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._stop.is_set():
            self._stop = Event()
            Thread(target=self._run, args=(self._stop,), name="autosave", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread, which ends after the request in flight."""
        self._stop.set()
        self._attempt.answered.set()

    def reopen(self) -> None:
        """Read the session again, now or after the present wait: its end may have been changed."""
        self._opened = False
        self._attempt.answered.set()

    def complete(self) -> None:
        """Complete the attempt, after every answer was saved or refused."""
        self._attempt.ask_to_complete()

    def _run(self, stop: Event) -> None:
        while not stop.is_set():
            # Before the answers are read: one that follows wakes the thread again.
            self._attempt.answered.clear()
            try:
                wait = self._step()
            except Exception:
                LOGGER.exception("A call has failed")
                self._opened, wait = False, _AFTER_FAULT
            if wait and self._attempt.problem not in _READY:
                # Further answers do not shorten it.
                stop.wait(wait)
            elif not stop.is_set():
                self._attempt.answered.wait(wait or _POLL)

    def _step(self) -> float:
        attempt = self._attempt
        if not self._opened or self._is_due():
            self._opened = True
            wait = attempt.open(*self._assignment, anew=self._anew)
            self._opened = self._opened and not wait
            self._anew = self._anew and bool(wait)
            if wait:
                return wait
        # Also after the end: answers of other processes are lost then. A store that failed may work again.
        return attempt.flush() if attempt.pending or attempt.unsaved or attempt.store_failed else 0

    def _is_due(self) -> bool:
        """Return whether the session is to be read again: a teacher may have changed its time."""
        attempt, session = self._attempt, self._attempt.session
        if not session:
            return False
        interval = _READ_ENDED if attempt.ended else _READ_PAUSED if attempt.paused else _READ_RUNNING
        if attempt.seconds_since_reply() >= interval * self._jitter:
            self._jitter = RANDOM.uniform(1, 1.5)
            return True
        return not attempt.ended and not attempt.paused and self._has_passed(session)

    def _has_passed(self, session: Session) -> bool:
        """Return whether an end has passed, and the session was not read since then."""
        now = time.monotonic()
        ahead = sum(self._attempt.seconds_until(end) > 0 for end in (session.expires_at, session.closes_at))
        # Learners whose time ends together do not ask together.
        if ahead != self._ahead:
            self._ahead, self._due = ahead, now + RANDOM.uniform(1, 3)
        if now < self._due:
            return False
        self._due = math.inf if ahead else now + RANDOM.uniform(6, 8)
        return True
