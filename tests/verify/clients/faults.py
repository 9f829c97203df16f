"""Attempts with answers that are refused, and with functions that fail: python faults.py URL SCENARIO."""

from harness import CLIENT, NOWHERE, collected, device, finish, made, new_user, run, save, state
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


if __name__ == "__main__":
    run(corrected)
