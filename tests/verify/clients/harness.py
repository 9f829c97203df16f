"""Helpers of the programs with scenarios: attempts on devices, the proxy's script, the service's state."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from time import sleep
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

from session_service_client import AuthenticatedClient, Client
from session_service_client.api.sessions import get_session, list_sessions
from session_service_client.attempt import Answer, Attempt, AttemptEvent, Merge
from session_service_client.events import Changed
from session_service_client.models import Session, SessionEndedError, SessionPage

URL, ARGUMENTS = sys.argv[1], sys.argv[3:]
CLIENT = Client(base_url=URL)
NOWHERE = Client(base_url="http://127.0.0.1:9")
FOLDER = Path(f"files-{uuid4()}")
QUIZ = 7
PROXY = CLIENT.get_httpx_client()

Scenario = Callable[[], None]


def run(*scenarios: Scenario) -> None:
    """Run the scenario that the command line names."""
    FOLDER.mkdir()
    with PROXY:
        {scenario.__name__: scenario for scenario in scenarios}[sys.argv[2]]()


def script(*responses: str, headers: dict[str, str] | None = None) -> None:
    """Set the proxy's responses to the next requests."""
    steps = [{"reply": response, "headers": headers or {}} for response in responses]
    PROXY.put("/script", json={"steps": steps}).raise_for_status()


def requests(method: str) -> list[dict[str, str]]:
    """Return the requests with this method since the last script."""
    seen: list[dict[str, str]] = PROXY.get("/script").json()
    return [request for request in seen if request["method"] == method]


def never(question: str, _mine: Answer, _theirs: Answer) -> Answer:
    """Fail the scenario: no other device has written."""
    sys.stderr.write(f"merge was called for {question}\n")
    sys.stderr.flush()
    os._exit(1)


def device(name: str, user: str, merge: Merge = never) -> Attempt:
    """Return an open attempt on the file of this name."""
    attempt = made(name, merge)
    finish(lambda: attempt.open(user, QUIZ))
    return attempt


def made(name: str, merge: Merge = never) -> Attempt:
    """Return an attempt on the file of this name that is not open."""
    return Attempt(CLIENT, FOLDER / name, merge)


def save(attempt: Attempt, answers: Mapping[int | str, Answer]) -> None:
    """Answer, and repeat until all is saved or refused."""
    for question, answer in answers.items():
        attempt.answer(question, answer)
    finish(attempt.flush)


def collected(attempt: Attempt) -> list[AttemptEvent]:
    """Return a list to which the events of an attempt are added, except `Changed`."""
    seen: list[AttemptEvent] = []
    attempt.on(lambda event: None if isinstance(event, Changed) else seen.append(event))
    return seen


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    for _ in range(6000):
        if condition():
            return
        sleep(0.01)
    raise AssertionError


def new_user() -> str:
    """Return the name of a new user."""
    return f"python-{uuid4()}"


def finish(call: Callable[[], float]) -> None:
    """Repeat a call until it returns 0; here a second of the class is a millisecond."""
    for _ in range(50):
        if not (wait := call()):
            return
        sleep(min(wait, 50) / 1000)
    raise AssertionError(wait)


def state(attempt: Attempt, client: Client | AuthenticatedClient = CLIENT) -> tuple[str, dict[str, Answer]]:
    """Return the status and the answers that the service has for an attempt."""
    assert attempt.session
    response = get_session.sync(UUID(str(attempt.session.id)), client=client)
    session = response.session if isinstance(response, SessionEndedError) else response
    assert isinstance(session, Session)
    answers: dict[str, Answer] = session.answers.to_dict()
    return session.status.value, answers


def attempts(user: str) -> list[str]:
    """Return the status of each of the user's attempts."""
    page = list_sessions.sync(client=CLIENT, user_id=user)
    assert isinstance(page, SessionPage)
    return [session.status.value for session in page.items]


def clock(*, asleep: float = 0, date: float = 0) -> Any:
    """Fake the process's clocks: seconds of sleep, during which CLOCK_MONOTONIC stops; a date that is set."""
    real_time, real_clock = time.time, time.clock_gettime
    ahead = {time.CLOCK_BOOTTIME: asleep, time.CLOCK_REALTIME: asleep + date}
    return patch.multiple(
        time,
        time=lambda: real_time() + asleep + date,
        clock_gettime=lambda clock: real_clock(clock) + ahead.get(clock, 0),
    )


class Log(logging.Handler):
    """Counts the exceptions in the log."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        logging.getLogger("session_service_client").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count an exception."""
        self.failures += record.exc_info is not None


class Memory:
    """A store in memory."""

    content: bytes | None = None
    aside: bytes | None = None
    fails = False
    unreadable = False

    def read(self) -> bytes | None:
        """Return the content."""
        if self.unreadable:
            raise LookupError
        return self.content

    def write(self, content: bytes) -> None:
        """Replace the content."""
        if self.fails:
            raise LookupError
        self.content = content

    def set_aside(self, content: bytes) -> str:
        """Store another content."""
        self.aside = content
        return "aside"
