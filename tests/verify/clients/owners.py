"""Processes that own an attempt's file, and are killed or frozen: python owners.py URL SCENARIO."""

import signal
from functools import partial

from harness import FOLDER, QUIZ, attempts, finish, made, new_user, requests, run, save, script, state, until
from processes import Other
from session_service_client import locks


def owner_killed() -> None:
    """After the owner was killed in the middle of a write another process saves every answer."""
    user = new_user()
    owner = Other("shared", user)
    for command in ("open", "answer 1 saved", "flush", "answer 2 stored"):
        assert owner.do(command) == "None"
    here = made("shared")
    assert (here.open(user, QUIZ) >= 1, here.problem, here.session) == (True, "OTHER_PROCESS", None)
    here.answer(3, "here")
    assert (here.flush() >= 1, here.problem) == (True, "OTHER_PROCESS")
    here.answer(1, "changed here")
    assert here.unsaved == {"1": "changed here", "2": "stored", "3": "here"}
    script("silence")
    owner.send("flush")
    until(lambda: len(requests("PATCH")) == 1)
    owner.kill()
    finish(partial(here.open, user, QUIZ))
    finish(here.flush)
    assert state(here)[1] == {"1": "changed here", "2": "stored", "3": "here"}
    assert (here.unsaved, list((FOLDER / "shared.inbox").iterdir())) == ({}, [])


def owner_frozen() -> None:
    """While the owner is frozen, answers and the completion are stored; it carries them out later."""
    user = new_user()
    owner = Other("shared", user)
    for command in ("open", "answer 1 owner's", "answer 4 owner's"):
        owner.do(command)
    owner.signal(signal.SIGSTOP)
    here = made("shared")
    for question, answer in ((1, "here"), (2, "first"), (2, "second")):
        here.answer(question, answer)
    assert (here.open(user, QUIZ) >= 1, here.problem) == (True, "OTHER_PROCESS")
    here.answer(3, ["three"])
    answers = {"1": "here", "2": "second", "3": ["three"], "4": "owner's"}
    for attempt in (here, made("shared")):
        assert (attempt.unsaved, attempt.store_failed) == (answers, False)
    for call in (here.complete, here.flush, here.complete):
        assert (call() >= 1, here.problem) == (True, "OTHER_PROCESS")
    owner.signal(signal.SIGCONT)
    assert owner.do("flush") == "None"
    assert (here.flush() >= 1, here.unsaved, here.pending) == (True, {}, False)
    owner.kill()
    finish(partial(here.open, user, QUIZ))
    assert (here.ended, here.lost, state(here)) == (True, {}, ("completed", answers))


def owner_replaced() -> None:
    """An owner that is frozen for long is replaced; later it overwrites nothing and passes answers on."""
    user = new_user()
    owner = Other("replaced", user)
    for command in ("open", "answer 1 saved", "flush", "answer 2 owner's"):
        owner.do(command)
    beat = (FOLDER / "replaced.lock").stat().st_mtime_ns
    until(lambda: (FOLDER / "replaced.lock").stat().st_mtime_ns > beat)
    owner.signal(signal.SIGSTOP)
    locks.TAKEOVER = 0.2  # seconds
    here = made("replaced")
    here.answer(3, "here")
    until(lambda: here.open(user, QUIZ) == 0)
    save(here, {1: "changed here"})
    assert state(here)[1] == {"1": "changed here", "2": "owner's", "3": "here"}
    here.answer(4, "unsent")
    stored = (FOLDER / "replaced").read_bytes()
    owner.signal(signal.SIGCONT)
    owner.do("answer 2 changed by the owner")
    assert owner.do("try") == "OTHER_PROCESS"
    assert (FOLDER / "replaced").read_bytes() == stored
    finish(here.flush)
    answers = {"1": "changed here", "2": "changed by the owner", "3": "here", "4": "unsent"}
    assert (state(here)[1], here.unsaved) == (answers, {})
    here.close()
    # It has the session of before: the answers since then are this device's own, and are no conflict.
    owner.do("answer 1 again")
    assert owner.do("flush") == "None"
    assert state(here)[1] == answers | {"1": "again"}


def owner_unstored() -> None:
    """An answer that the owner has saved but not stored is no conflict with a later one."""
    user = new_user()
    owner = Other("unstored", user)
    owner.do("open")
    unfinished = FOLDER / f"unstored.{owner.pid}.new"
    unfinished.mkdir()
    for command in ("answer 1 owner's", "flush"):
        owner.do(command)
    here = made("unstored")
    here.answer(1, "here")
    assert owner.do("flush") == "None"
    unfinished.rmdir()
    owner.kill()
    finish(partial(here.open, user, QUIZ))
    finish(here.flush)
    assert (state(here)[1], here.unsaved) == ({"1": "here"}, {})


def owner_anew() -> None:
    """An answer and a completion of one attempt, which reach the owner late, do not count in the next one."""
    user, folder = new_user(), FOLDER / "anew.inbox"
    owner = Other("anew", user)
    owner.do("open")
    here = made("anew")
    # The entries cannot be written before the owner has the next attempt.
    folder.touch()
    here.answer(1, "of the first attempt")
    assert here.complete() >= 1
    for command in ("complete", "anew", "answer 2 second"):
        owner.do(command)
    folder.unlink()
    assert (here.flush() >= 1, len(list(folder.iterdir()))) == (True, 2)
    owner.do("flush")
    owner.kill()
    finish(partial(here.open, user, QUIZ))
    assert (state(here), here.lost) == (("in_progress", {"2": "second"}), {"1": "of the first attempt"})


def owner_of_two() -> None:
    """A process that does not own the file hands in one attempt after the other."""
    user = new_user()
    owner = Other("two", user)
    owner.do("open")
    here = made("two")
    for attempt in (1, 2):
        here.answer(attempt, "one")
        assert here.complete() >= 1
        assert here.pending
        owner.do("flush")
        assert (here.flush() >= 1, here.pending) == (True, False)
        assert attempts(user) == ["completed"] * attempt
        owner.do("anew")
    assert attempts(user) == ["in_progress", "completed", "completed"]


def owner_killed_writing() -> None:
    """The unfinished file of a process that was killed is removed by the next owner."""
    user = new_user()
    owner = Other("writing", user)
    owner.do("open")
    unfinished = FOLDER / f"writing.{owner.pid}.new"
    unfinished.write_bytes(b'{"unsent"')
    owner.kill()
    finish(partial(made("writing").open, user, QUIZ))
    assert not unfinished.exists()


if __name__ == "__main__":
    run(
        owner_killed,
        owner_frozen,
        owner_replaced,
        owner_unstored,
        owner_anew,
        owner_of_two,
        owner_killed_writing,
    )
