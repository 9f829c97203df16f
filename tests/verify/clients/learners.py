"""Learners on a bad network, with the class Attempt: python learners.py URL FILE."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import sleep
from uuid import uuid4

import httpx
from session_service_client import Client
from session_service_client.api.sessions import start_session
from session_service_client.attempt import Answer, Attempt
from session_service_client.models import IfActive, StartSession

URL, FILE = sys.argv[1], Path(sys.argv[2])
QUESTIONS = 12
decided: list[str] = []


def main() -> None:
    """Run each attempt from its start to its end."""
    with Client(base_url=URL) as client:
        after_the_expiry(client)
        through_a_crash(client)
        with_another_device(client)
        with_rejected_answers(client)


def through_a_crash(client: Client) -> None:
    """Answers given offline, and answers sent without a response, survive a crash in the file."""
    user = f"python-{uuid4()}"
    first = opened(client, "crash", user)
    for question in range(QUESTIONS):
        first.answer(question, f"answer {question}")
        first.flush()
    finish(first.flush)
    first.client = Client(base_url="http://127.0.0.1:9")
    first.answer(QUESTIONS, ["sent", "to nowhere"])
    assert first.flush() >= 1
    first.answer(QUESTIONS + 1, "not sent")
    offline = Attempt(first.client, first.file, keep_theirs)
    offline.answer(QUESTIONS + 2, "answered offline after a crash")
    assert offline.flush() >= 1
    attempt = opened(client, "crash", user)
    finish(attempt.flush)
    wanted: dict[str, Answer] = {str(n): f"answer {n}" for n in range(QUESTIONS)}
    wanted |= {"12": ["sent", "to nowhere"], "13": "not sent", "14": "answered offline after a crash"}
    assert stored(attempt) == wanted
    assert (attempt.unsaved, decided) == ({}, [])
    assert 1700 < attempt.seconds_left() < 1800


def with_another_device(client: Client) -> None:
    """No device overwrites answers that it has not seen, even after a restart or with a write in flight."""
    user = f"python-{uuid4()}"
    here, there = opened(client, "here", user), opened(client, "there", user)
    here.answer(1, "here, and restarted")
    answer_and_save(there, 1, "there")
    here = opened(client, "here", user)
    here.answer(2, "here")
    finish(here.flush)
    assert (stored(here), decided) == ({"1": "there", "2": "here"}, ["1"])

    here.client = Client(base_url="http://127.0.0.1:9")
    here.answer(3, "on its way")
    here.flush()
    here.answer(4, "here")
    here.answer(3, "here, changed")
    here.client = client
    finish(there.flush)
    answer_and_save(there, 4, "there")
    finish(here.flush)
    assert stored(here) == {"1": "there", "2": "here", "3": "here, changed", "4": "there"}
    assert decided == ["1", "4"]
    finish(here.complete)
    assert (here.ended, here.lost) == (True, {})
    there.answer(5, "after the end")
    finish(there.flush)
    there.answer(6, "long after it")
    assert there.flush() == 0
    late: dict[str, Answer] = {"5": "after the end", "6": "long after it"}
    assert there.lost == Attempt(client, there.file, keep_theirs).lost == late


def with_rejected_answers(client: Client) -> None:
    """A rejected answer is reported and delays no other; many or large answers are split."""
    attempt = opened(client, "much", f"python-{uuid4()}")
    attempt.answer(1000, "\x00")
    for question in range(501):
        attempt.answer(question, "x" * 600)
    attempt.answer(1001, ["x" * 10_000, {"\x00": 1}])
    finish(attempt.flush)
    assert attempt.refused == {"1000": "\x00", "1001": ["x" * 10_000, {"\x00": 1}]}
    assert stored(attempt).keys() == {str(question) for question in range(501)}


def after_the_expiry(client: Client) -> None:
    """An attempt that expired before the network was back reports which answers are not saved."""
    for limit in (2, 4, 8, 16, 32):
        user = f"python-{uuid4()}"
        finish(partial(started, client, user, limit))
        attempt, watch = opened(client, f"late {limit}", user), opened(client, f"watch {limit}", user)
        answer_and_save(attempt, 1, "in time")
        # On a busy machine even the first answer may be late.
        if not attempt.ended:
            break
    attempt.answer(2, "too late")
    while not watch.ended:
        sleep(0.1)
        finish(lambda: watch.open(user, 7))
    finish(attempt.flush)
    assert (attempt.ended, stored(attempt), attempt.lost) == (True, {"1": "in time"}, {"2": "too late"})


def started(client: Client, user: str, limit: int) -> float:
    """Start a session with a time limit in seconds; return the wait before the next try."""
    body = StartSession(user, 7, time_limit_seconds=limit, if_active=IfActive.RESUME)
    with suppress(httpx.TransportError):
        start_session.sync_detailed(client=client, body=body)
        return 0
    return 1


def keep_theirs(question: str, _mine: Answer, theirs: Answer) -> Answer:
    """Keep the answer of the other device."""
    decided.append(question)
    return theirs


def opened(client: Client, name: str, user: str) -> Attempt:
    """Return an open attempt on the file of that name."""
    attempt = Attempt(client, FILE.with_name(name), keep_theirs)
    finish(lambda: attempt.open(user, 7))
    return attempt


def answer_and_save(attempt: Attempt, question: int, answer: Answer) -> None:
    """Answer, and repeat until it is saved."""
    attempt.answer(question, answer)
    finish(attempt.flush)


def finish(attempted: Callable[[], float]) -> None:
    """Repeat a call until it returns 0; a second of the class is 10 ms here."""
    while wait := attempted():
        sleep(wait / 100)


def stored(attempt: Attempt) -> dict[str, Answer]:
    """Return the answers that the service has."""
    assert attempt.session
    answers: dict[str, Answer] = attempt.session.answers.to_dict()
    return answers


if __name__ == "__main__":
    main()
