"""Events of an attempt, and their listeners."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from .json_values import Answer, Answers
from .models import Session

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changed:
    """The properties of the attempt may have changed; after each other event, too."""


@dataclass(frozen=True)
class Saved:
    """The service has acknowledged the answers."""

    answers: Answers


@dataclass(frozen=True)
class Waiting:
    """The next request follows after so many seconds, because of the problem."""

    problem: str
    seconds: float


@dataclass(frozen=True)
class Timeout:
    """The program's store or its `token` did not return in time: the call goes on as after an exception."""

    of: Literal["store", "token"]


@dataclass(frozen=True)
class Merged:
    """Another device had changed the answer, and `answer` was chosen."""

    question: str
    mine: Answer
    theirs: Answer
    answer: Answer


@dataclass(frozen=True)
class Refused:
    """The service does not accept the answers."""

    answers: Answers


@dataclass(frozen=True)
class Restored:
    """The service had lost the answers, which it had acknowledged; they are sent again."""

    answers: Answers


@dataclass(frozen=True)
class Ended:
    """The attempt was completed or its time is over; `lost` are the answers that came too late."""

    session: Session
    lost: Answers


AttemptEvent = Changed | Saved | Waiting | Timeout | Merged | Refused | Restored | Ended
Listener = Callable[[AttemptEvent], object]


class Events:
    """Events in their order: collected while a lock is held, delivered to the listeners without it."""

    def __init__(self) -> None:
        self._listeners: dict[object, Listener] = {}
        self._waiting: deque[AttemptEvent] = deque()
        self._delivery = Lock()

    def on(self, listener: Listener) -> Callable[[], None]:
        """Call the listener for each event, until the returned function is called."""
        key = object()
        self._listeners[key] = listener

        def remove() -> None:
            self._listeners.pop(key, None)

        return remove

    def add(self, event: AttemptEvent) -> None:
        """Add an event for the next delivery."""
        self._waiting.append(event)

    def deliver(self) -> None:
        """Call the listeners, one event after the other, in one thread at a time."""
        # A thread that finds the lock taken leaves its events to the one that has it.
        while self._waiting and self._delivery.acquire(blocking=False):
            try:
                # Another thread may have delivered it meanwhile.
                if self._waiting:
                    event = self._waiting.popleft()
                    for listener in list(self._listeners.values()):
                        _call(listener, event)
            finally:
                self._delivery.release()


def _call(listener: Listener, event: AttemptEvent) -> None:
    try:
        listener(event)
    except Exception:
        # A listener's fault stops no save.
        LOGGER.exception("A listener has failed")
