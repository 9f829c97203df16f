"""Processes and threads that share an attempt's file: python sharing.py URL SCENARIO."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Thread

from harness import (
    CLIENT,
    FOLDER,
    NOWHERE,
    QUIZ,
    URL,
    device,
    finish,
    made,
    never,
    new_user,
    requests,
    run,
    save,
    script,
    state,
    until,
)
from processes import Other, done
from session_service_client import Client
from session_service_client.attempt import Attempt


def crowd() -> None:
    """Of several processes that write at once, of which one is killed, no stored answer is lost."""
    user = new_user()
    others = {name: Other("crowd", user) for name in ("a", "b", "c")}
    for name, process in others.items():
        process.send(f"many {name}")
    stored = [others["b"].line() for _ in range(10)]
    stored += others["b"].kill()
    for name in ("a", "c"):
        stored += [others[name].line() for _ in range(30)]
        others[name].line()
        others[name].kill()
    here = device("crowd", user)
    finish(here.flush)
    assert state(here)[1].items() >= {name: int(name[1:]) for name in stored if name != "None"}.items()
    assert len(stored) >= 70


def threads() -> None:
    """Threads share an attempt: each answer is saved, while others are given and sent."""
    attempt = device("threads", new_user())

    def give(thread: int) -> None:
        for number in range(25):
            attempt.answer(100 * thread + number, f"{thread} {number}")
            assert not attempt.store_failed
            attempt.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(give, range(4)))
    finish(attempt.flush)
    answers = {
        str(100 * thread + number): f"{thread} {number}" for thread in range(4) for number in range(25)
    }
    assert (state(attempt)[1], attempt.unsaved) == (answers, {})


def not_blocked() -> None:
    """While a request is in flight an answer is stored, and another process may take the file."""
    attempt = device("blocked", new_user())
    attempt.answer(1, "one")
    script("silence")
    thread = Thread(target=attempt.flush, daemon=True)
    thread.start()
    until(lambda: len(requests("PATCH")) == 1)
    attempt.answer(2, "two")
    assert (thread.is_alive(), attempt.unsaved) == (True, {"1": "one", "2": "two"})
    assert made("blocked").unsaved == {"1": "one", "2": "two"}
    attempt.close()
    assert done("blocked", attempt_user(attempt), "open", "flush") == ["None", "None"]
    assert state(attempt)[1] == {"1": "one", "2": "two"}


def closed() -> None:
    """After `close` another process owns the file, and gets the later answers and writes in flight."""
    user = new_user()
    first = device("closed", user)
    first.close()
    first.answer(1, "afterwards")
    assert (first.flush() >= 1, first.problem, first.unsaved) == (True, "OTHER_PROCESS", {"1": "afterwards"})
    assert done("closed", user, "open", "flush") == ["None", "None"]
    assert (first.flush() >= 1, first.unsaved, state(first)[1]) == (True, {}, {"1": "afterwards"})
    second = device("closed", user)
    hooks = {"response": [lambda _: second.close()]}
    second.client = Client(base_url=URL, httpx_args={"event_hooks": hooks})
    second.answer(2, "two")
    script()
    assert (second.flush() >= 1, second.problem, second.unsaved) == (True, "OTHER_PROCESS", {"2": "two"})
    third = device("closed", user)
    finish(third.flush)
    assert len({request["key"] for request in requests("PATCH")}) == 1
    assert (third.unsaved, state(third)[1]) == ({}, {"1": "afterwards", "2": "two"})


def forked() -> None:
    """A process that was forked does not own its parent's file."""
    attempt = device("forked", new_user())
    attempt.answer(1, "parent's")
    if not (child := os.fork()):
        attempt.answer(2, "child's")
        os._exit(attempt.flush() == 0 or attempt.problem != "OTHER_PROCESS")
    assert os.waitpid(child, 0)[1] == 0
    assert done("forked", attempt_user(attempt), "answer 3 other's") == ["None"]
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "parent's", "2": "child's", "3": "other's"}


def another_user() -> None:
    """The answers of a learner that are stored for an owner of another learner are sent by neither."""
    ada, bob = new_user(), new_user()
    owner = Other("users", ada)
    owner.do("open")
    owner.do("answer 1 ada's")
    here = made("users")
    assert here.open(bob, QUIZ) >= 1
    here.answer(2, "bob's")
    owner.do("flush")
    owner.kill()
    finish(partial(here.open, bob, QUIZ))
    finish(here.flush)
    assert (attempt_user(here), state(here)[1]) == (bob, {"2": "bob's"})
    assert state(device("users, elsewhere", ada))[1] == {"1": "ada's"}


def inbox() -> None:
    """An entry is taken once, and one that cannot be read is moved aside."""
    user, folder = new_user(), FOLDER / "inbox.inbox"
    first = device("inbox", user)
    first.answer(1, "newer")
    first.close()
    first.answer(1, "older")
    # The owner ended before it could remove the entry, after the learner had answered again.
    kept = json.loads((FOLDER / "inbox").read_text())
    kept["taken"] = [file.name for file in folder.iterdir()]
    (FOLDER / "inbox").write_text(json.dumps(kept))
    first.answer(2, "two")
    (folder / "1").write_bytes(b"unreadable")
    second = device("inbox", user)
    finish(second.flush)
    assert state(second)[1] == {"1": "newer", "2": "two"}
    assert second.set_aside
    assert (second.set_aside.read_bytes(), list(folder.iterdir())) == (b"unreadable", [])


def older_answer() -> None:
    """An older answer of another process replaces no newer one, also after the date was set back."""
    user, file, folder = new_user(), FOLDER / "older", FOLDER / "older.inbox"
    owner = Other("older", user)
    owner.do("open")
    here = made("older")
    # The entries cannot be written before the owner has newer answers.
    folder.touch()
    for question in (1, 2, 3):
        here.answer(question, "older")
    for command in ("answer 1 newer", "flush", "answer 2 newer"):
        owner.do(command)
    assert (here.open(user, QUIZ) >= 1, here.store_failed) == (True, True)
    assert here.unsaved == {"2": "newer", "3": "older"}
    folder.unlink()
    assert here.flush() >= 1
    owner.do("flush")
    owner.kill()
    finish(partial(here.open, user, QUIZ))
    assert (state(here)[1], here.unsaved) == ({"1": "newer", "2": "newer", "3": "older"}, {})
    here.close()
    kept = json.loads(file.read_text())
    kept["times"] = {question: time + 10**18 for question, time in kept["times"].items()}
    file.write_text(json.dumps(kept))
    owner = Other("older", user)
    for command in ("open", "answer 1 latest", "flush"):
        owner.do(command)
    for answer in ("later", "latest"):
        here.answer(2, answer)
    owner.do("flush")
    assert state(here)[1] == {"1": "latest", "2": "latest", "3": "older"}


def no_lock() -> None:
    """Without a lock answers are in memory only, and are sent; once there is one, they are stored."""
    user, folder = new_user(), FOLDER / "unlocked.lock"
    folder.mkdir()
    attempt = device("unlocked", user)
    save(attempt, {1: "one"})
    assert (attempt.store_failed, state(attempt)[1]) == (True, {"1": "one"})
    attempt.client = NOWHERE
    attempt.answer(2, "two")
    assert (attempt.store_failed, attempt.flush() >= 1, attempt.unsaved) == (True, True, {"2": "two"})
    # Another process without a lock might have written it.
    assert not (FOLDER / "unlocked").exists()
    folder.rmdir()
    assert attempt.flush() >= 1
    assert (attempt.store_failed, made("unlocked").unsaved) == (False, {"2": "two"})
    attempt.client = CLIENT
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "one", "2": "two"}


def hand_in_unstored() -> None:
    """A completion that is in memory only is passed on with the answers."""
    user, folder = new_user(), FOLDER / "unstored.lock"
    folder.mkdir()
    first = device("unstored", user)
    first.client = NOWHERE
    first.answer(1, "one")
    assert (first.complete() >= 1, first.store_failed) == (True, True)
    first.close()
    folder.rmdir()
    second = device("unstored", user)
    finish(second.flush)
    assert state(second) == ("completed", {"1": "one"})


def no_folder() -> None:
    """If the folder of the file is removed, the answers are in memory only, and are sent."""
    attempt = Attempt(CLIENT, FOLDER / "removed" / "file", never)
    (FOLDER / "removed").mkdir()
    user = new_user()
    finish(partial(attempt.open, user, QUIZ))
    attempt.client = NOWHERE
    attempt.answer(1, "one")
    assert (attempt.flush() >= 1, attempt.store_failed) == (True, False)
    shutil.rmtree(FOLDER / "removed")
    attempt.answer(2, "two")
    for _ in range(2):
        assert (attempt.unsaved, attempt.store_failed) == ({"1": "one", "2": "two"}, True)
        assert attempt.flush() >= 1
    attempt.client = CLIENT
    finish(attempt.flush)
    assert (state(attempt)[1], attempt.unsaved) == ({"1": "one", "2": "two"}, {})


def locked_later() -> None:
    """If a file is another learner's once it is locked, each learner's answers are sent for them alone."""
    ada, bob = new_user(), new_user()
    lock = FOLDER / "later.lock"
    lock.mkdir()
    attempt = device("later", ada)
    save(attempt, {1: "ada's"})
    bobs = device("bob's", bob)
    bobs.client = NOWHERE
    bobs.answer(3, "bob's")
    (FOLDER / "later").write_bytes((FOLDER / "bob's").read_bytes())
    attempt.answer(2, "ada's, too")
    lock.rmdir()
    finish(attempt.flush)
    assert (attempt_user(attempt), state(attempt)[1]) == (ada, {"1": "ada's", "2": "ada's, too"})
    assert attempt.set_aside
    assert b"bob's" in attempt.set_aside.read_bytes()


def attempt_user(attempt: Attempt) -> str:
    """Return the user of an open attempt."""
    assert attempt.session
    return attempt.session.user_id


if __name__ == "__main__":
    run(
        crowd,
        threads,
        not_blocked,
        closed,
        forked,
        another_user,
        inbox,
        older_answer,
        no_lock,
        hand_in_unstored,
        no_folder,
        locked_later,
    )
