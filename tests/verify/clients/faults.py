"""Attempts with answers that are refused, and with functions that fail: python faults.py URL SCENARIO."""

from harness import (
    CLIENT,
    NOWHERE,
    QUIZ,
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
from session_service_client.attempt import Answer
from session_service_client.events import Refused, Saved


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


if __name__ == "__main__":
    run(corrected, full_session, asked_once)
