"""Attempts on a network that responds with anything: python network.py URL SCENARIO ..."""

import socket
from unittest.mock import patch

from harness import (
    ARGUMENTS,
    CLIENT,
    FOLDER,
    NOWHERE,
    QUIZ,
    URL,
    device,
    finish,
    never,
    new_user,
    requests,
    run,
    script,
    state,
)
from session_service_client import AuthenticatedClient, Client
from session_service_client.attempt import Attempt

# After these nothing was written and the next write has a new idempotency key.
NEW_KEY = {"RequestTimeoutError", "IdempotencyKeyReusedError"}
NOW = "Thu, 26 Nov 2026 05:00:00 GMT"
WAITS = [
    # Retry-After, least and most seconds to wait
    ("30", 30, 60),
    ("0", 1, 2),
    ("Thu, 26 Nov 2026 05:00:40 GMT", 40, 80),
    ("Thu, 26 Nov 2026 04:00:00 GMT", 1, 2),
    ("9" * 5000, 30, 3600),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 30, 3600),
    ("-5", 1, 2),
    ("soon", 1, 2),
    ("1e9", 1, 2),
    ("²", 1, 2),
]


def any_reply() -> None:
    """After a foreign or transient response, calls return the time to wait, and nothing is lost."""
    for name in ARGUMENTS:
        try:
            one_reply(name)
        except BaseException as error:
            error.add_note(f"The reply was: {name}")
            raise


def one_reply(name: str) -> None:
    """Give the response to each request of an attempt once."""
    user = new_user()
    attempt = Attempt(CLIENT, FOLDER / name, never)
    for responses in ([name], ["pass", name]):
        script(*responses)
        assert attempt.open(user, QUIZ) >= 1
    finish(lambda: attempt.open(user, QUIZ))
    script(name)
    assert attempt.open(user, QUIZ) >= 1
    attempt.answer(1, "one")
    attempt.answer(2, ["two", "deux"])
    script(name)
    assert attempt.flush() >= 1
    assert Attempt(CLIENT, attempt.file, never).unsaved == {"1": "one", "2": ["two", "deux"]}
    finish(attempt.flush)
    keys = [request["key"] for request in requests("PATCH")]
    assert len(keys) >= 2
    assert (len(set(keys)) == 1) == (name not in NEW_KEY), keys
    assert (state(attempt)[1], attempt.unsaved) == ({"1": "one", "2": ["two", "deux"]}, {})
    complete_with(attempt, name)


def complete_with(attempt: Attempt, name: str) -> None:
    """Give the response to the last save, then to the completion."""
    attempt.answer(3, "three")
    script(name)
    assert attempt.complete() >= 1
    assert state(attempt)[0] == "in_progress"
    script("pass", name)
    assert attempt.complete() >= 1
    assert attempt.problem
    finish(attempt.complete)
    assert state(attempt) == ("completed", {"1": "one", "2": ["two", "deux"], "3": "three"})
    assert (attempt.ended, attempt.refused, attempt.lost) == (True, {}, {})
    assert attempt.problem is None


def in_between() -> None:
    """A proxy's redirect of the completion to the session does not count as completion."""
    attempt = device("between", new_user())
    assert attempt.session
    script("redirect", headers={"location": f"/api/sessions/{attempt.session.id}"})
    attempt.client = Client(base_url=URL, follow_redirects=True)
    finish(attempt.complete)
    assert (attempt.ended, state(attempt)[0]) == (True, "completed")


def retry_after() -> None:
    """The wait is at least Retry-After, in each of its forms, and at most an hour; else it is short."""
    attempt = device("waits", new_user())
    for status in ("ServiceUnavailableError", "429 page"):
        for value, least, most in WAITS:
            attempt.answer(1, f"{status} {value[:9]}")
            script(status, headers={"retry-after": value, "date": NOW})
            wait = attempt.flush()
            assert least <= wait <= most, (status, value[:40], wait)
            finish(attempt.flush)


def token() -> None:
    """A 401 asks for a new token and loses nothing."""
    valid, stale = (AuthenticatedClient(base_url=URL, token=token) for token in ARGUMENTS[:2])
    user = ARGUMENTS[2]
    attempt = Attempt(stale, FOLDER / "token", never)
    assert (attempt.open(user, QUIZ) >= 1, attempt.problem) == (True, "UNAUTHENTICATED")
    attempt.client = valid
    finish(lambda: attempt.open(user, QUIZ))
    attempt.client = stale
    attempt.answer(1, "one")
    for call in (attempt.flush, attempt.complete):
        assert (call() >= 1, attempt.problem) == (True, "UNAUTHENTICATED")
    assert attempt.unsaved == {"1": "one"}
    attempt.client = valid
    finish(attempt.complete)
    assert (state(attempt, valid), attempt.problem) == (("completed", {"1": "one"}), None)


def long_outage() -> None:
    """A device without a network for a day goes on trying at the same pace."""
    attempt = device("outage", new_user())
    attempt.client = NOWHERE
    attempt.answer(1, "one")
    for _ in range(1100):
        assert 1 <= attempt.flush() <= 60
    attempt.client = CLIENT
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "one"}


def silence() -> None:
    """A request without a response ends, and is repeated."""
    timed = socket.socket.settimeout

    def sooner(self: socket.socket, seconds: float | None) -> None:
        timed(self, seconds / 10 if seconds else seconds)

    attempt = device("silence", new_user())
    attempt.answer(1, "one")
    script("silence")
    with patch.object(socket.socket, "settimeout", sooner):
        assert attempt.flush() >= 1
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "one"}


def broken_client() -> None:
    """Exceptions of the client that the class was given do not reach its caller."""
    attempt = device("client", new_user())
    attempt.answer(1, "one")
    script("redirect")
    attempt.client = Client(base_url=URL, raise_on_unexpected_status=True)
    assert attempt.flush() >= 1
    script("redirect", "redirect", "redirect")
    attempt.client = Client(base_url=URL, follow_redirects=True, httpx_args={"max_redirects": 1})
    assert attempt.flush() >= 1
    with Client(base_url=URL) as attempt.client:
        pass
    assert attempt.flush() >= 1
    attempt.client = Client(base_url="nonsense://")
    assert attempt.flush() >= 1
    attempt.client = CLIENT
    finish(attempt.flush)
    assert state(attempt)[1] == {"1": "one"}


def slow_uplink() -> None:
    """After a 408, which says that the body came too slowly, the next writes are smaller."""
    attempt = device("slow", new_user())
    for question in range(8):
        attempt.answer(question, "x" * 9000)
    script("RequestTimeoutError")
    finish(attempt.flush)
    first, second, *_ = (len(request["body"]) for request in requests("PATCH"))
    assert second < first * 0.6
    assert state(attempt)[1] == {str(question): "x" * 9000 for question in range(8)}


if __name__ == "__main__":
    run(any_reply, in_between, retry_after, token, long_outage, silence, broken_client, slow_uplink)
