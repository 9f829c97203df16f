"""Attempts on devices that fail or are shared: python device.py URL SCENARIO."""

import asyncio
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from uuid import uuid4

from harness import (
    CLIENT,
    FOLDER,
    NOWHERE,
    QUIZ,
    URL,
    attempts,
    clock,
    device,
    finish,
    never,
    new_user,
    run,
    save,
    script,
    state,
    until,
)
from session_service_client import Client, pauses
from session_service_client.api.sessions import start_session
from session_service_client.attempt import Answer, Attempt
from session_service_client.models import StartSession

# Contents of a file that an attempt cannot have written.
UNREADABLE = [
    b"",
    b'{"id": null, "unsent": {"1": {"answer": "o',
    b"\xff\xfe\x00",
    b"[1, 2]",
    b'"text"',
    b'{"unsent": {"1": "one"}}',
    b'{"unsent": [], "lost": {}}',
    b'{"sent": {"changes": {"1": {"answer": "one", "seen": null}}}}',
    b'{"id": 7}',
    b'{"times": {"1": "one"}}',
    b"[" * 100_000,
]


def undecided() -> None:
    """An answer without a decision stays unsaved, delays no other answer, and blocks the completion."""
    user = new_user()
    decisions: list[Callable[[str], Any]] = []
    asked: list[object] = []
    pauses.MAX_BACKOFF = 0.02  # seconds
    here = device("here", user, lambda question, *_: decisions[0](question))
    there = device("there", user)
    save(there, {1: "theirs", 2: "theirs"})
    for question in (1, 2, 3):
        here.answer(question, "mine")
    for bad in (failing, no_return, no_json, later):
        decisions[:], asked[:] = [partial(decide_badly, bad, asked)], []
        until(lambda: here.flush() > 0 and bool(asked))
        here.answer(4, f"after {bad.__name__}")
        until(lambda: here.flush() > 0 and here.problem == "UNDECIDED")
        saved: dict[str, Answer] = {"1": "theirs", "2": "mine", "3": "mine", "4": f"after {bad.__name__}"}
        assert (here.unsaved, here.refused, here.complete() > 0) == ({"1": "mine"}, {}, True)
        assert state(here) == ("in_progress", saved)
    decisions[:] = [lambda _: "mine"]
    until(lambda: here.complete() == 0)
    assert state(here) == ("completed", saved | {"1": "mine"})
    assert (here.lost, here.refused) == ({}, {})


def decide_badly(bad: Callable[[], Any], asked: list[object], question: str) -> Any:
    """Return an invalid decision for the first question, the learner's answer for others."""
    if question != "1":
        return "mine"
    asked.append(bad)
    return bad()


def failing() -> Answer:
    """Raise an exception, as a faulty program does."""
    raise LookupError


def no_return() -> None:
    """Return nothing."""


def no_json() -> float:
    """Return a value that is not JSON."""
    return float("nan")


async def later() -> Answer:
    """Return an answer asynchronously."""
    await asyncio.sleep(0)
    return "later"


def answered_twice() -> None:
    """An answer that the learner changes before it is saved is no conflict with another device."""
    attempt = device("twice", new_user())
    attempt.answer(1, "first")
    attempt.answer(1, "second")
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "second"}
    script("lost reply")
    attempt.answer(1, "third")
    attempt.flush()
    attempt.answer(1, "fourth")
    attempt.answer(1, "fifth")
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "fifth"}
    attempt.answer(2, "x\x00")
    attempt.client = NOWHERE
    attempt.flush()
    attempt.answer(2, "shorter")
    attempt.client = CLIENT
    finish(attempt.flush)
    assert (state(attempt)[1], attempt.refused) == ({"1": "fifth", "2": "shorter"}, {})


def full_store() -> None:
    """A full file system stops neither the learner nor the saves; the file is complete once there is room."""
    attempt = device("full", new_user())
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    attempt.answer(1, "one")
    assert (attempt.store_failed, attempt.unsaved) == (True, {"1": "one"})
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "one"}
    attempt.client = NOWHERE
    attempt.answer(2, "two")
    assert attempt.flush() >= 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    attempt.answer(3, "three")
    assert not attempt.store_failed
    attempt = device("full", str(attempt.session.user_id if attempt.session else ""))
    finish(attempt.complete)
    assert state(attempt) == ("completed", {"1": "one", "2": "two", "3": "three"})


def unreadable_store() -> None:
    """A file that cannot be read is moved aside whole, and the attempt goes on."""
    for number, content in enumerate(UNREADABLE):
        file = FOLDER / f"unreadable {number}"
        file.write_bytes(content)
        attempt = device(file.name, new_user())
        attempt.answer(2, "two")
        finish(attempt.flush)
        assert state(attempt)[1] == {"2": "two"}, content[:60]
        assert attempt.set_aside
        assert attempt.set_aside.read_bytes() == content
        assert Attempt(CLIENT, file, never).set_aside is None
    (FOLDER / "folder").mkdir()
    attempt = device("folder", new_user())
    attempt.answer(1, "one")
    finish(attempt.flush)
    assert (state(attempt)[1], attempt.store_failed) == ({"1": "one"}, True)


def older_file() -> None:
    """A file of the first version of the class, without a user, is read, and what waits in it is saved."""
    first = device("first", new_user())
    assert first.session
    changes = {"3": {"answer": ["three"], "seen": None}}
    sent = {"key": "key-of-the-first-version", "changes": changes, "version": first.session.version}
    unsent = {"4": {"answer": "four", "seen": None}}
    old = {"id": str(first.session.id), "unsent": unsent, "sent": sent, "refused": {"5": ""}, "lost": {}}
    (FOLDER / "old").write_text(json.dumps(old))
    attempt = device("old", first.session.user_id)
    finish(attempt.flush)
    assert state(attempt)[1] == {"3": ["three"], "4": "four"}
    assert (attempt.refused, attempt.set_aside) == ({"5": ""}, None)


def stale_id() -> None:
    """After a 404 for its session an attempt starts anew with all that it knows, and completes with it."""
    unsent = {"1": {"answer": "one", "seen": None}}
    (FOLDER / "stale").write_text(json.dumps({"id": str(uuid4()), "unsent": unsent}))
    attempt = device("stale", new_user())
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "one"}
    attempt.answer(2, "two")
    script("SessionNotFoundError")
    assert attempt.complete() >= 1
    assert attempt.unsaved == {"1": "one", "2": "two"}
    finish(attempt.complete)
    assert state(attempt) == ("completed", {"1": "one", "2": "two"})


def another_learner() -> None:
    """Answers of one learner are never sent for another, and are moved aside."""
    ada, bob = new_user(), new_user()
    first = device("shared", ada)
    first.client = NOWHERE
    first.answer(1, "ada's")
    first.flush()
    assert first.session
    old = {"id": str(first.session.id), "unsent": {"1": {"answer": "ada's", "seen": None}}}
    (FOLDER / "shared and old").write_text(json.dumps(old))
    for name in ("shared", "shared and old"):
        second = device(name, bob)
        second.answer(2, "bob's")
        finish(second.flush)
        assert state(second)[1] == {"2": "bob's"}
        assert second.session
        assert second.session.user_id == bob
        assert state(first) == ("in_progress", {})
        assert second.set_aside
        second.set_aside.rename(FOLDER / f"{name} again")
        first = device(f"{name} again", ada)
        assert first.unsaved == {"1": "ada's"}


def second_device() -> None:
    """An expired attempt is shown on another device; a new one starts only with `anew`."""
    user = new_user()
    start_session.sync(client=CLIENT, body=StartSession(user, QUIZ, time_limit_seconds=1))
    first = device("first", user)
    first.answer(1, "in time, or too late on a busy machine")
    finish(first.flush)
    while state(first)[0] == "in_progress":
        time.sleep(0.1)
    second = device("second", user)
    assert (second.ended, state(second), second.seconds_left()) == (True, state(first), 0)
    assert attempts(user) == ["expired"]
    script("lost reply")
    assert second.open(user, QUIZ, anew=True) >= 1
    script("pass", "lost reply")
    assert second.open(user, QUIZ, anew=True) >= 1
    second.answer(2, "anew")
    finish(second.flush)
    assert (second.ended, state(second)) == (False, ("in_progress", {"2": "anew"}))
    third = device("third", user)
    assert (third.ended, third.session and third.session.id) == (False, second.session and second.session.id)
    finish(third.complete)
    fourth = device("fourth", user)
    assert (fourth.ended, state(fourth)) == (True, ("completed", {"2": "anew"}))
    assert attempts(user) == ["completed", "expired"]


def clocks() -> None:
    """The time left is never too long: after sleep, with a date that is set back, after a slow response."""
    attempt = device("clocks", new_user())
    before = attempt.seconds_left()
    assert 1790 < before < 1800
    with clock(asleep=1200):
        assert 0 < attempt.seconds_left() <= before - 1199
    with clock(date=-7200):
        assert attempt.seconds_left() <= before + 1
    with clock(date=-7200, asleep=1200):
        assert attempt.seconds_left() <= before - 1199
    slow: list[object] = []
    hooks = {"response": [lambda _: slow.append(clock(asleep=20).__enter__())]}
    attempt.client = Client(base_url=URL, httpx_args={"event_hooks": hooks})
    finish(lambda: attempt.open(attempt.session.user_id if attempt.session else "", QUIZ))
    assert len(slow) == 1
    assert 1750 < attempt.seconds_left() <= 1780


def unsendable() -> None:
    """An answer that is not text is rejected alone; a list that changes later changes no write."""
    attempt = device("unsendable", new_user())
    attempt.answer(1, "half an emoji \ud83d")
    attempt.answer(2, "two")
    finish(attempt.flush)
    assert (state(attempt)[1], attempt.refused) == ({"2": "two"}, {"1": "half an emoji \ud83d"})
    for wrong in (object(), {1, 2}, b"bytes"):
        try:
            attempt.answer(3, cast(Answer, wrong))
        except TypeError:
            continue
        raise AssertionError(wrong)
    choices = ["a"]
    attempt.answer(4, choices)
    script("lost reply")
    attempt.flush()
    choices.append("b")
    finish(attempt.flush)
    assert (state(attempt)[1], attempt.unsaved) == ({"2": "two", "4": ["a"]}, {})


if __name__ == "__main__":
    run(
        undecided,
        answered_twice,
        full_store,
        unreadable_store,
        older_file,
        stale_id,
        another_learner,
        second_device,
        clocks,
        unsendable,
    )
