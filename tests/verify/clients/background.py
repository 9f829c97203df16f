"""Attempts that a thread saves in the background: python background.py URL SCENARIO."""

import threading
import time

from harness import (
    CLIENT,
    NOWHERE,
    QUIZ,
    URL,
    Log,
    collected,
    finish,
    made,
    new_user,
    requests,
    run,
    script,
    state,
    until,
)
from processes import Other
from session_service_client import Client, pauses
from session_service_client.api.sessions import start_session
from session_service_client.autosave import Autosave
from session_service_client.models import StartSession


def background() -> None:
    """In the background an attempt opens, saves through an outage, and hands in; nothing is raised."""
    pauses.MAX_BACKOFF = 0.05  # seconds
    user, log = new_user(), Log()
    attempt = made("background")
    autosave = Autosave(attempt, user, QUIZ)
    attempt.answer(1, "before it was opened")
    autosave.start()
    until(lambda: attempt.session is not None and not attempt.pending)
    attempt.client = NOWHERE
    attempt.answer(2, "offline")
    until(lambda: attempt.problem == "NO_REPLY")
    assert attempt.unsaved == {"2": "offline"}
    script("lost reply", "502 page", "torn reply", "redirect", "lost request", "pass")
    attempt.answer(3, "offline, too")
    attempt.client = CLIENT
    until(lambda: not attempt.pending)
    assert len(requests("PATCH")) >= 6
    attempt.answer(4, "last")
    autosave.complete()
    until(lambda: attempt.ended)
    autosave.stop()
    answers = {"1": "before it was opened", "2": "offline", "3": "offline, too", "4": "last"}
    assert state(attempt) == ("completed", answers)
    assert (attempt.unsaved, attempt.lost, attempt.refused, log.failures) == ({}, {}, {}, 0)


def background_waits() -> None:
    """The background sends nothing before the end of Retry-After, but a stop ends its wait."""
    user, attempt = new_user(), made("waits")
    hooks = {"request": [lambda _: attempt.answer(2, "during the request")]}
    autosave = Autosave(attempt, user, QUIZ)
    autosave.start()
    until(lambda: attempt.session is not None and attempt.problem is None)
    script("RateLimitedError", headers={"retry-after": "3600"})
    waits = collected(attempt)
    attempt.client = Client(base_url=URL, httpx_args={"event_hooks": hooks})
    attempt.answer(1, "before")
    until(lambda: len(waits) == 1)
    for question in range(3, 50):
        attempt.answer(question, "afterwards")
        time.sleep(0.01)
    assert len(requests("PATCH")) == 1
    autosave.stop()
    until(lambda: all(thread.name != "autosave" for thread in threading.enumerate()))
    attempt.client = CLIENT
    finish(attempt.flush)
    assert len(state(attempt)[1]) == 49


def background_shared() -> None:
    """In the background the answers of other processes are saved, and the file is taken when it is free."""
    user, attempt = new_user(), made("shared")
    autosave = Autosave(attempt, user, QUIZ)
    autosave.start()
    until(lambda: attempt.session is not None and attempt.problem is None)
    owner = Other("shared", user)
    owner.do("answer 1 other's")
    until(lambda: state(attempt)[1] == {"1": "other's"})
    autosave.stop()
    attempt.close()
    assert owner.do("open") == "None"
    later = made("shared")
    Autosave(later, user, QUIZ).start()
    until(lambda: later.problem == "OTHER_PROCESS")
    later.answer(2, "mine")
    owner.kill()
    until(lambda: later.session is not None and not later.pending)
    assert state(later)[1] == {"1": "other's", "2": "mine"}


def background_ends() -> None:
    """In the background the end of the time is noticed, without an answer that is sent."""
    user, attempt = new_user(), made("ends")
    start_session.sync(client=CLIENT, body=StartSession(user, QUIZ, time_limit_seconds=4))
    Autosave(attempt, user, QUIZ).start()
    until(lambda: attempt.ended)
    assert (state(attempt)[0], attempt.seconds_left()) == ("expired", 0)


if __name__ == "__main__":
    run(background, background_waits, background_shared, background_ends)
