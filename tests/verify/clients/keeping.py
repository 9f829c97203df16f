"""What an attempt keeps, through a restore, a crash, an outage: python keeping.py URL SCENARIO."""

import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from time import sleep

from harness import (
    ARGUMENTS,
    CLIENT,
    FOLDER,
    NOWHERE,
    PROXY,
    QUIZ,
    URL,
    Log,
    Memory,
    collected,
    device,
    finish,
    made,
    new_user,
    requests,
    run,
    save,
    script,
    state,
)
from session_service_client import AuthenticatedClient, Client, request
from session_service_client.attempt import Attempt
from session_service_client.events import Ended, Merged, Refused, Restored, Saved, Waiting

# Texts that are names of every object in other languages, or look like numbers.
NAMES = [
    "__proto__",
    "constructor",
    "__class__",
    "additional_properties",
    "007",
    "-1",
    "1.0",
    "a b",
    "\U0001f600",
]


def restored() -> None:
    """Saved answers that the service has lost with its database are sent again; also after a crash."""
    for fence in (False, True):
        user = new_user()
        first, elsewhere = device(f"restored {fence}", user), device(f"elsewhere {fence}", user)
        save(elsewhere, {9: "elsewhere, before"})
        save(first, {1: "before", 2: "to be cleared", 5: "before"})
        back_up(first)
        save(first, {1: "after", 2: None, 3: {"since": [None, 1]}, 5: "after"})
        script("lost request")
        first.answer(5, "on its way")
        assert first.flush() >= 1
        restore(first, fence=fence)
        before = {"1": "before", "2": "to be cleared", "5": "before", "9": "elsewhere, before"}
        assert state(first)[1] == before
        again = made(f"restored {fence}") if fence else first
        seen = collected(again)
        finish(partial(again.open, user, QUIZ))
        assert Restored({"1": "after", "2": None, "3": {"since": [None, 1]}}) in seen
        unsaved = {"1": "after", "2": None, "3": {"since": [None, 1]}, "5": "on its way"}
        assert (again.unsaved, made(f"restored {fence}").unsaved) == (unsaved, unsaved)
        again.answer(4, "later")
        finish(again.complete)
        answers = {
            "1": "after",
            "3": {"since": [None, 1]},
            "4": "later",
            "5": "on its way",
            "9": "elsewhere, before",
        }
        assert state(again) == ("completed", answers)
        assert (again.unsaved, again.lost) == ({}, {})


def replaced() -> None:
    """An answer that another device has replaced since is not sent again after a restore."""
    user = new_user()
    here = device("here", user)
    save(here, {1: "mine"})
    there = device("there", user, lambda *_: "theirs")
    save(there, {1: "theirs"})
    finish(lambda: here.open(user, QUIZ))
    back_up(here)
    save(there, {2: "more"})
    finish(lambda: here.open(user, QUIZ))
    restore(here, fence=True)
    finish(lambda: here.open(user, QUIZ))
    assert (here.unsaved, state(here)[1]) == ({}, {"1": "theirs"})


def ran_again() -> None:
    """Answers that came after the end are sent if the session runs again, unless they were changed."""
    user = new_user()
    attempt = device("again", user)
    save(attempt, {1: "one"})
    back_up(attempt)
    finish(attempt.complete)
    attempt.answer(2, "late")
    attempt.answer(3, "late")
    assert attempt.lost == {"2": "late", "3": "late"}
    restore(attempt, fence=True)
    finish(partial(attempt.open, user, QUIZ))
    save(attempt, {2: "again"})
    answers = {"1": "one", "2": "again", "3": "late"}
    assert (attempt.lost, state(attempt)) == ({}, ("in_progress", answers))


def completed_later() -> None:
    """A completion that was asked for offline is carried out by a later flush, also after a crash."""
    user = new_user()
    first = device("completed", user)
    first.client = NOWHERE
    first.answer(1, "one")
    assert first.complete() >= 1
    assert first.pending
    second = made("completed")
    assert second.pending
    finish(lambda: second.open(user, QUIZ))
    assert state(second) == ("in_progress", {})
    finish(second.flush)
    assert state(second) == ("completed", {"1": "one"})
    assert (second.ended, second.pending) == (True, False)


def any_text() -> None:
    """Any text is a question, and an integer is its decimal; an empty one is refused alone."""
    user = new_user()
    first = device("names", user)
    for name in NAMES:
        first.answer(name, f"of {name}")
    first.answer("7", "a text")
    first.answer(7, "an integer")
    first.client = NOWHERE
    assert first.flush() >= 1
    answers = {name: f"of {name}" for name in NAMES} | {"7": "an integer"}
    second = device("names", user)
    assert (second.unsaved, second.answers) == (answers, answers)
    finish(second.flush)
    second.answer(7, "changed")
    assert second.answers == answers | {"7": "changed"}
    second.answer(7, "an integer")
    finish(second.flush)
    assert state(second)[1] == answers
    save(second, {"": "no question"})
    assert second.refused == {"": "no question"}
    save(second, dict.fromkeys(answers))
    assert state(second)[1] == {}


def asked_token() -> None:
    """A token is asked for before the first request and after a 401; a function that fails loses nothing."""
    valid, stale, user = ARGUMENTS
    asked: list[str] = []
    tokens = [stale, "fails", stale, valid]

    def token() -> str:
        asked.append(tokens.pop(0))
        if asked[-1] == "fails":
            raise LookupError
        return asked[-1]

    attempt = Attempt(CLIENT, FOLDER / "token", token=token)
    attempt.answer(1, "one")
    assert asked == []
    for tried in ([stale, "fails"], [stale, "fails", stale]):
        assert attempt.open(user, QUIZ) >= 1
        assert (attempt.problem, asked, attempt.unsaved) == ("UNAUTHENTICATED", tried, {"1": "one"})
    assert len(requests("GET")) == 2
    assert (attempt.open(user, QUIZ), attempt.complete(), tokens) == (0, 0, [])
    client = AuthenticatedClient(base_url=URL, token=valid)
    assert state(attempt, client) == ("completed", {"1": "one"})


def events() -> None:
    """Events say what happened, in order; a listener that fails stops nothing, and is logged."""
    user, log = new_user(), Log()
    here, there = device("here", user, lambda _, mine, theirs: f"{mine}, {theirs}"), device("there", user)
    here.on(lambda _: 1 / 0)
    seen, afterwards = collected(here), collected(here)
    remove = here.on(lambda _: afterwards.clear())
    save(there, {1: "theirs"})
    script("lost reply")
    save(here, {1: "mine", 2: "two\x00"})
    finish(there.complete)
    save(here, {3: "too late"})
    assert here.session
    assert [event for event in seen if not isinstance(event, Waiting)] == [
        Refused({"2": "two\x00"}),
        Merged("1", "mine", "theirs", "mine, theirs"),
        Saved({"1": "mine, theirs"}),
        Ended(here.session, {"3": "too late"}),
    ]
    first, *others = (event.problem for event in seen if isinstance(event, Waiting))
    assert (first, "SESSION_CONFLICT" in others, here.lost) == ("NO_REPLY", True, {"3": "too late"})
    assert (log.failures > len(seen), afterwards) == (True, [])
    remove()
    here.client = NOWHERE
    assert here.open(user, QUIZ) >= 1
    assert len(afterwards) == 1


def default_merge() -> None:
    """Without `merge` the attempt keeps this device's answer, and the other devices' other answers."""
    user = new_user()
    here, there = (Attempt(CLIENT, FOLDER / name) for name in ("here", "there"))
    for attempt in (here, there):
        finish(partial(attempt.open, user, QUIZ))
    save(there, {1: "theirs", 2: "theirs"})
    save(here, {1: "mine", 3: "mine"})
    assert state(here)[1] == {"1": "mine", "2": "theirs", "3": "mine"}


def own_store() -> None:
    """A store of the program's own keeps what a file keeps; its failures stop nothing."""
    user, store = new_user(), Memory()
    first = Attempt(NOWHERE, store)
    first.answer(1, "one")
    second = Attempt(CLIENT, store)
    assert second.unsaved == {"1": "one"}
    store.fails = True
    second.answer(2, "two")
    assert second.store_failed
    finish(lambda: second.open(user, QUIZ))
    finish(second.flush)
    store.fails = False
    save(second, {3: "three"})
    assert (second.store_failed, state(second)[1]) == (False, {"1": "one", "2": "two", "3": "three"})
    store.content = b"unreadable"
    third = Attempt(CLIENT, store)
    assert (third.set_aside, store.aside) == (Path("aside"), b"unreadable")


def endless_reply() -> None:
    """A reply that never ends is no reply of the service, and the request is repeated."""
    request.MAX_DURATION = 0.5  # seconds
    attempt = device("endless", new_user())
    attempt.answer(1, "one")
    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=trickle, args=(server,), daemon=True).start()
        attempt.client = Client(base_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        assert (attempt.flush() >= 1, attempt.problem) == (True, "NO_REPLY")
    attempt.client = CLIENT
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "one"}


def trickle(server: socket.socket) -> None:
    """Send a reply that never ends."""
    connection, _ = server.accept()
    with suppress(OSError), connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" ")
            sleep(0.02)


def back_up(attempt: Attempt) -> None:
    """Back up the attempt's session."""
    assert attempt.session
    PROXY.put("/backup", json={"id": str(attempt.session.id)}).raise_for_status()


def restore(attempt: Attempt, *, fence: bool) -> None:
    """Restore the session from the backup; with `fence` under versions that were not in use."""
    assert attempt.session
    PROXY.put("/restore", json={"id": str(attempt.session.id), "fence": fence}).raise_for_status()


if __name__ == "__main__":
    run(
        restored,
        replaced,
        ran_again,
        completed_later,
        any_text,
        asked_token,
        events,
        default_merge,
        own_store,
        endless_reply,
    )
