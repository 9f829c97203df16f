"""Learners with a bad network, on docs/client.md: python guide.py URL FILE."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import sleep
from uuid import uuid4

import httpx
from attempt import Answer, Attempt
from session_service_client import Client
from session_service_client.api.sessions import start_session
from session_service_client.models import IfActive, StartSession

URL, FILE = sys.argv[1], Path(sys.argv[2])
QUESTIONS = 12
asked: list[str] = []


def main() -> None:
    """Go through each of the guide's rules."""
    with Client(base_url=URL) as client:
        too_late(client)
        through_a_crash(client)
        with_another_device(client)
        what_does_not_fit(client)


def through_a_crash(client: Client) -> None:
    """What was answered offline, and what was sent without a reply, is still in the file."""
    user = f"python-{uuid4()}"
    first = opened(client, "crash", user)
    for question in range(QUESTIONS):
        first.answer(question, f"answer {question}")
        first.flush()
    at_last(first.flush)
    first.client = Client(base_url="http://127.0.0.1:9")
    first.answer(QUESTIONS, ["sent", "to nowhere"])
    assert first.flush() >= 1
    first.answer(QUESTIONS + 1, "not sent")
    offline = Attempt(first.client, first.file, theirs_stay)
    offline.answer(QUESTIONS + 2, "answered offline after a crash")
    assert offline.flush() >= 1
    attempt = opened(client, "crash", user)
    at_last(attempt.flush)
    wanted: dict[str, Answer] = {str(n): f"answer {n}" for n in range(QUESTIONS)}
    wanted |= {"12": ["sent", "to nowhere"], "13": "not sent", "14": "answered offline after a crash"}
    assert stored(attempt) == wanted
    assert (attempt.unsaved, asked) == ({}, [])
    assert 1700 < attempt.seconds_left() < 1800


def with_another_device(client: Client) -> None:
    """Neither device overwrites what it has not seen, though it restarts or has a write on its way."""
    user = f"python-{uuid4()}"
    here, there = opened(client, "here", user), opened(client, "there", user)
    here.answer(1, "here, and restarted")
    at_last_answer(there, 1, "there")
    here = opened(client, "here", user)
    here.answer(2, "here")
    at_last(here.flush)
    assert (stored(here), asked) == ({"1": "there", "2": "here"}, ["1"])

    here.client = Client(base_url="http://127.0.0.1:9")
    here.answer(3, "on its way")
    here.flush()
    here.answer(4, "here")
    here.answer(3, "here, changed")
    here.client = client
    at_last(there.flush)
    at_last_answer(there, 4, "there")
    at_last(here.flush)
    assert stored(here) == {"1": "there", "2": "here", "3": "here, changed", "4": "there"}
    assert asked == ["1", "4"]
    at_last(here.complete)
    assert (here.ended, here.lost) == (True, {})
    there.answer(5, "after the end")
    at_last(there.flush)
    there.answer(6, "long after it")
    assert there.flush() == 0
    late: dict[str, Answer] = {"5": "after the end", "6": "long after it"}
    assert there.lost == Attempt(client, there.file, theirs_stay).lost == late


def what_does_not_fit(client: Client) -> None:
    """An answer that is refused is told, and holds up no other; nor does their number, or their size."""
    attempt = opened(client, "much", f"python-{uuid4()}")
    attempt.answer(1000, "")
    for question in range(501):
        attempt.answer(question, "x" * 600)
    attempt.answer(1001, "x" * 10_001)
    at_last(attempt.flush)
    assert attempt.refused == {"1000": "", "1001": "x" * 10_001}
    assert stored(attempt).keys() == {str(question) for question in range(501)}


def too_late(client: Client) -> None:
    """An attempt that was over before the network came back says which answers are not in it."""
    for limit in (2, 4, 8, 16, 32):
        user = f"python-{uuid4()}"
        at_last(partial(started, client, user, limit))
        attempt, watch = opened(client, f"late {limit}", user), opened(client, f"watch {limit}", user)
        at_last_answer(attempt, 1, "in time")
        # On a busy machine even the first answer may be late.
        if not attempt.ended:
            break
    attempt.answer(2, "too late")
    while not watch.ended:
        sleep(0.1)
        at_last(lambda: watch.open(user, 7))
    at_last(attempt.flush)
    assert (attempt.ended, stored(attempt), attempt.lost) == (True, {"1": "in time"}, {"2": "too late"})


def started(client: Client, user: str, limit: int) -> float:
    """Start a session with a time limit in seconds."""
    body = StartSession(user, 7, time_limit_seconds=limit, if_active=IfActive.RESUME)
    with suppress(httpx.TransportError):
        start_session.sync_detailed(client=client, body=body)
        return 0
    return 1


def theirs_stay(question: str, _mine: Answer, theirs: Answer) -> Answer:
    """Let the other device's answer stay."""
    asked.append(question)
    return theirs


def opened(client: Client, name: str, user: str) -> Attempt:
    """Return an attempt at work on the file of that name."""
    attempt = Attempt(client, FILE.with_name(name), theirs_stay)
    at_last(lambda: attempt.open(user, 7))
    return attempt


def at_last_answer(attempt: Attempt, question: int, answer: Answer) -> None:
    """Answer, and have it stored."""
    attempt.answer(question, answer)
    at_last(attempt.flush)


def at_last(attempted: Callable[[], float]) -> None:
    """Try until there is nothing more to do; here a second of the guide's is a hundredth."""
    while wait := attempted():
        sleep(wait / 100)


def stored(attempt: Attempt) -> dict[str, Answer]:
    """Return what the service has stored."""
    assert attempt.session
    answers: dict[str, Answer] = attempt.session.answers.to_dict()
    return answers


if __name__ == "__main__":
    main()
