"""The pauses between requests: exponential backoff with jitter."""

from random import SystemRandom

from .events import Changed, Events, Waiting

RANDOM = SystemRandom()
MAX_BACKOFF = 30.0  # seconds
MAX_REFUSALS = 20  # refused requests without a pause; 10 find the answer that is refused among 500
OWNER_CHECK = 1.0  # seconds after which a call that has no owner is made again


def backoff(failures: int, least: float = 0) -> float:
    """Return seconds that grow with the failures, at least as many as given, with jitter."""
    return RANDOM.uniform(1, 1.5) * max(min(MAX_BACKOFF, 2.0 ** min(failures, 10)), least)


class Pauses:
    """The seconds that calls return, and the problem that is the reason for them."""

    def __init__(self, events: Events) -> None:
        self.problem: str | None = None
        self._events = events
        self._failures = self._refusals = 0

    def none(self) -> float:
        """Return 0: the call has done all."""
        self.problem, self._failures = None, 0
        self._events.add(Changed())
        return 0

    def after_failure(self, problem: str, retry_after: float = 0) -> float:
        """Return the seconds to wait: exponential backoff with jitter, and at least `retry_after`."""
        self._failures += 1
        return self.wait(problem, backoff(self._failures - 1, retry_after))

    def after_refusal(self, code: str, retry_after: float) -> float:
        """Return the seconds to wait, mostly 0: a session at its limit refuses many answers."""
        self._refusals += 1
        if self._refusals % MAX_REFUSALS == 0:
            return self.after_failure(code, retry_after)
        self.problem = None
        self._events.add(Changed())
        return 0

    def after_session(self, code: str, retry_after: float) -> float:
        """Return the seconds to wait: a conflict or a paused session ends a series of failures."""
        self._failures = 0
        return self.after_failure(code, retry_after)

    def for_owner(self) -> float:
        """Return the seconds after which the outbox may be free."""
        return self.wait("OTHER_PROCESS", RANDOM.uniform(1, 1.5) * OWNER_CHECK)

    def wait(self, problem: str, seconds: float) -> float:
        """Return the seconds."""
        self.problem = problem
        self._events.add(Waiting(problem, seconds))
        self._events.add(Changed())
        return seconds
