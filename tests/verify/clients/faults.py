"""Attempts with answers that are refused, and with functions that fail: python faults.py URL SCENARIO."""

import json
from functools import partial
from threading import Event, Thread

from harness import (
    CLIENT,
    FOLDER,
    NOWHERE,
    QUIZ,
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
    until,
)
from session_service_client import Autosave
from session_service_client.attempt import Answer, Attempt
from session_service_client.events import Refused, Saved, Timeout


def corrected() -> None:
    """An answer is refused until the learner corrects it, and not at all if that was before the refusal."""
    attempt = device("corrected", new_user())
    seen = collected(attempt)
    save(attempt, {1: "x\x00", 2: "two"})
    assert (attempt.refused, seen) == ({"1": "x\x00"}, [Refused({"1": "x\x00"}), Saved({"2": "two"})])
    attempt.answer(1, "corrected")
    assert (attempt.refused, made("corrected").refused) == ({}, {})
    attempt.answer(2, "x\x00")
    attempt.client = NOWHERE
    attempt.flush()
    attempt.answer(2, "corrected, too")
    attempt.client = CLIENT
    finish(attempt.flush)
    assert (state(attempt)[1], attempt.refused) == ({"1": "corrected", "2": "corrected, too"}, {})
    assert [event for event in seen[2:] if isinstance(event, Refused)] == []


def full_session() -> None:
    """A session at its limit refuses further answers in bursts of few requests, and saves the others."""
    attempt = device("full", new_user())
    for question in range(5):
        save(attempt, {question: "x" * 200_000})
    script()
    for question in range(5, 155):
        attempt.answer(question, "x" * 2000)
    sent, wait = 0, 1.0
    while wait:
        wait = attempt.flush()
        before, sent = sent, len(requests("PATCH"))
        assert sent - before < 50
        assert attempt.problem == ("PAYLOAD_TOO_LARGE" if wait else None)
    stored = state(attempt)[1]
    assert len(stored) > 20
    assert (stored.keys() | attempt.refused, attempt.unsaved) == ({str(number) for number in range(155)}, {})
    save(attempt, {0: None, 154: "there is room now"})
    assert (state(attempt)[1]["154"], attempt.refused.get("154")) == ("there is room now", None)


def large_answers() -> None:
    """Offline answers are sent in writes within the limit of a body, whatever their alphabet."""
    attempt = device("large", new_user())
    answers: dict[int | str, Answer] = {str(number): "\u5b66" * 15_000 for number in range(12)}
    answers["long"] = "\u5b66" * 80_000
    script()
    save(attempt, answers)
    sizes = [len(request["body"].encode()) for request in requests("PATCH")]
    assert max(sizes) <= 256 * 1024
    assert len(sizes) <= 5
    assert (state(attempt)[1], attempt.refused) == (answers, {})


def asked_once() -> None:
    """A merge that fails is asked again after a pause or for another answer, not at each flush."""
    user, asked = new_user(), list[Answer]()

    def merge(_question: str, mine: Answer, theirs: Answer) -> Answer:
        asked.append([mine, theirs])
        raise LookupError

    here, there = device("here", user, merge), device("there", user)
    save(there, {1: "theirs"})
    here.answer(1, "mine")
    for number in range(2, 32):
        here.answer(number, "more")
        while not (here.flush() >= 0 and here.problem == "UNDECIDED"):
            pass
    # A few pauses may be over on a slow machine; each of them is twice as long as the one before.
    assert asked == [["mine", "theirs"]] * len(asked)
    assert len(asked) < 15
    here.answer(1, "mine, changed")
    here.flush()
    assert asked[-1] == ["mine, changed", "theirs"]
    save(there, {1: "theirs, changed"})
    here.open(user, QUIZ)
    assert here.flush() > 0
    assert asked[-1] == ["mine, changed", "theirs, changed"]
    assert (here.problem, here.unsaved) == ("UNDECIDED", {"1": "mine, changed"})


def endless_token() -> None:
    """A token function that does not return is given up for this request, and its answers are kept."""
    user, released, asked = new_user(), Event(), list[int]()

    def token() -> str:
        asked.append(1)
        released.wait()
        return "a token"

    attempt = Attempt(CLIENT, FOLDER / "token", token=token, timeout=0.05)
    seen = collected(attempt)
    attempt.answer(1, "one")
    for _ in range(2):
        script("UnauthenticatedError")
        assert (attempt.open(user, QUIZ) > 0, attempt.problem) == (True, "UNAUTHENTICATED")
    assert ([event for event in seen if isinstance(event, Timeout)], asked) == ([Timeout("token")], [1])
    released.set()
    script("UnauthenticatedError")
    until(lambda: attempt.open(user, QUIZ) == 0)
    finish(attempt.flush)
    assert (state(attempt)[1], attempt.unsaved) == ({"1": "one"}, {})


def endless_store() -> None:
    """A store that does not return stops no save, as one that fails; once it returns, it has all answers."""
    user, store = new_user(), Endless()
    attempt = Attempt(CLIENT, store, timeout=0.05)
    seen = collected(attempt)
    finish(partial(attempt.open, user, QUIZ))
    store.released.clear()
    attempt.answer(1, "one")
    assert (attempt.store_failed, attempt.unsaved, seen) == (True, {"1": "one"}, [Timeout("store")])
    attempt.answer(2, "two")
    finish(attempt.flush)
    assert (state(attempt)[1], store.waiting) == ({"1": "one", "2": "two"}, 1)
    attempt.client = NOWHERE
    attempt.answer(3, "three")
    assert attempt.flush() > 0
    store.released.set()
    until(lambda: attempt.flush() > 0 and not attempt.store_failed)
    assert Attempt(CLIENT, store).unsaved == {"3": "three"}
    store.released.clear()
    later = Attempt(CLIENT, store, timeout=0.05)
    assert (later.store_failed, later.unsaved) == (True, {})
    store.released.set()


def stored_later() -> None:
    """In the background a store that failed is written once it works again, without a further answer."""
    user, store = new_user(), Memory()
    attempt = Attempt(CLIENT, store)
    Autosave(attempt, user, QUIZ).start()
    store.fails = True
    attempt.answer(1, "one")
    until(lambda: attempt.session is not None and not attempt.pending)
    assert attempt.store_failed
    store.fails = False
    until(lambda: not attempt.store_failed)
    assert b'"saved": {"1": "one"}' in (store.content or b"")


class Endless(Memory):
    """A store whose functions do not return until they are released."""

    def __init__(self) -> None:
        self.released = Event()
        self.released.set()
        self.waiting = 0

    def read(self) -> bytes | None:
        """Return the content."""
        self.released.wait()
        return super().read()

    def write(self, content: bytes) -> None:
        """Replace the content."""
        self.waiting += not self.released.is_set()
        self.released.wait()
        super().write(content)


def lost_after_the_end() -> None:
    """An attempt whose session the service has lost after the end has not ended."""
    user = new_user()
    attempt = device("lost", user)
    save(attempt, {1: "one"})
    finish(attempt.complete)
    script("SessionNotFoundError", "502 page")
    assert attempt.open(user, QUIZ) >= 1
    assert (attempt.ended, attempt.session, attempt.unsaved) == (False, None, {"1": "one"})


def read_again() -> None:
    """A store that could not be read once is read again; its answers are sent, with those given meanwhile."""
    user, store = new_user(), Memory()
    first = Attempt(CLIENT, store)
    finish(partial(first.open, user, QUIZ))
    save(first, {2: "saved", 4: "x\x00"})
    first.client = NOWHERE
    for question in (1, 5):
        first.answer(question, "of the store")
    assert first.flush() >= 1
    store.unreadable = True
    attempt = Attempt(CLIENT, store)
    finish(partial(attempt.open, user, QUIZ))
    save(attempt, {3: "given meanwhile", 5: "given meanwhile"})
    assert attempt.store_failed
    store.unreadable = False
    finish(attempt.flush)
    saved = {"1": "of the store", "2": "saved", "3": "given meanwhile", "5": "given meanwhile"}
    assert state(attempt)[1] == saved
    assert (attempt.store_failed, attempt.refused) == (False, {"4": "x\x00"})
    assert store.content
    assert json.loads(store.content)["saved"] == saved


def small_proxy() -> None:
    """A write that a proxy refuses by a page of its own, as too large, is halved after a few refusals."""
    attempt = device("small", new_user())
    for question in range(10):
        attempt.answer(question, "x")
    script("413 page", "413 page", "413 page")
    finish(attempt.flush)
    bodies = [json.loads(request["body"])["answers"] for request in requests("PATCH")]
    assert [len(answers) for answers in bodies] == [10, 10, 10, 5, 5]
    assert state(attempt)[1] == {str(question): "x" for question in range(10)}


def late_decision() -> None:
    """A decision that is never made holds up no other answer; one that is made late is used."""
    user = new_user()
    decided, asked = Event(), list[Answer]()

    def merge(_question: str, mine: Answer, _theirs: Answer) -> Answer:
        asked.append(mine)
        decided.wait()
        return "both"

    here, there = device("here", user, merge), device("there", user)
    save(there, {1: "theirs"})
    here.answer(1, "mine")
    here.answer(2, "two")
    thread = Thread(
        target=lambda: until(lambda: here.flush() > 0 and here.problem == "UNDECIDED"), daemon=True
    )
    thread.start()
    until(lambda: state(there)[1] == {"1": "theirs", "2": "two"})
    assert here.unsaved == {"1": "mine"}
    thread.join()
    decided.set()
    until(lambda: here.complete() == 0)
    assert (state(here), asked) == (("completed", {"1": "both", "2": "two"}), ["mine"])


if __name__ == "__main__":
    run(
        corrected,
        full_session,
        large_answers,
        asked_once,
        endless_token,
        endless_store,
        stored_later,
        late_decision,
        small_proxy,
        read_again,
        lost_after_the_end,
    )
