"""A learner with a bad network, on the client of docs/client.md: python guide.py URL FILE SESSION."""

import sys
from pathlib import Path
from time import sleep
from uuid import uuid4

from attempt import Answer, Attempt
from session_service_client import Client

URL, FILE = sys.argv[1], Path(sys.argv[2])
USER = f"python-{uuid4()}"
QUESTIONS = 12


def main() -> None:
    """Answer, lose replies, crash, meet another device, hand in; and once too late."""
    with Client(base_url=URL) as client:
        attempt = Attempt(client, FILE, ask_nobody)
        open_at_last(attempt)
        for question in range(QUESTIONS):
            attempt.answer(question, f"answer {question}")
            attempt.flush()
        after_a_crash(client)
        with_another_device(client)
        too_late(client)


def ask_nobody(_question: str, _mine: Answer, theirs: Answer) -> Answer:
    """Let the other device's answer stay."""
    return theirs


def after_a_crash(client: Client) -> None:
    """What was answered offline, and what was sent without a reply, is still in the file."""
    crashed = Attempt(client, FILE, ask_nobody)
    open_at_last(crashed)
    flush_at_last(crashed)
    crashed.client = Client(base_url="http://127.0.0.1:9")
    crashed.answer(QUESTIONS, ["sent", "to nowhere"])
    assert not crashed.flush()
    crashed.answer(QUESTIONS + 1, "not sent")
    attempt = Attempt(client, FILE, ask_nobody)
    open_at_last(attempt)
    flush_at_last(attempt)
    assert (attempt.unsent, attempt.sent) == ({}, None)
    stored = attempt.session.answers.to_dict()
    answered = {str(n): f"answer {n}" for n in range(QUESTIONS)}
    assert stored == answered | {"12": ["sent", "to nowhere"], "13": "not sent"}
    assert 1700 < attempt.seconds_left() < 1801


def with_another_device(client: Client) -> None:
    """Of two devices each has what the other wrote, and neither overwrites what it has not seen."""
    here = Attempt(client, FILE, ask_nobody)
    there = Attempt(client, FILE.with_suffix(".there"), ask_nobody)
    open_at_last(here)
    open_at_last(there)
    assert here.session.id == there.session.id
    there.answer(1, "there")
    flush_at_last(there)
    here.answer(1, "here")
    here.answer(2, "here")
    flush_at_last(here)
    assert here.session.answers["1"] == "there"
    assert here.session.answers["2"] == "here"
    while not here.complete():
        sleep(0.01)
    assert here.ended
    assert here.lost == {}
    there.answer(3, "after the end")
    flush_at_last(there)
    assert there.ended
    assert there.lost == {"3": "after the end"}
    assert there.session == here.session


def too_late(client: Client) -> None:
    """An attempt that was over before the network came back says which answers are not in it."""
    attempt = Attempt(client, FILE.with_suffix(".late"), ask_nobody)
    attempt.id = sys.argv[3]
    open_at_last(attempt)
    attempt.answer(1, "in time")
    flush_at_last(attempt)
    attempt.answer(2, "too late")
    sleep(max(0.0, attempt.seconds_left()) + 1)
    flush_at_last(attempt)
    assert attempt.ended
    assert attempt.session.answers.to_dict() == {"1": "in time"}
    assert attempt.lost == {"2": "too late"}


def open_at_last(attempt: Attempt) -> None:
    """Try until the service is reached."""
    while not attempt.open(USER, 7):
        sleep(0.01)


def flush_at_last(attempt: Attempt) -> None:
    """Try until the service is reached."""
    while not attempt.flush():
        sleep(0.01)


if __name__ == "__main__":
    main()
