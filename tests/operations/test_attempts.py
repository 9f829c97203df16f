"""Attempts: the number of sessions that a user may have of a quiz."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import age
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, running

NO_LIMIT_OR_1: list[dict[str, Any]] = [{}, {"max_attempts": 1}]


def _user() -> str:
    return f"user-{uuid4()}"


def _start(
    service: Service, user: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = {"user_id": user, "quiz_id": 7, **fields}
    return service.client.post("/api/sessions/start", json=body, headers=headers)


def _is_exhausted(response: httpx.Response) -> bool:
    return (response.status_code, response.json()["errorCode"]) == (403, "ATTEMPTS_EXHAUSTED")


def _attempt(response: httpx.Response) -> int | None:
    assert response.status_code == 201, response.text
    attempt: int | None = response.json()["attempt"]
    return attempt


def _count(service: Service, user: str) -> int:
    page = service.client.get("/api/sessions", params={"user_id": user, "limit": "100"}).json()
    return len(page["items"])


@pytest.fixture(scope="module")
def other_instance(migrated: Urls) -> Iterator[Service]:
    """Another instance of the service, with the same stores."""
    with running(migrated) as service:
        yield service


def test_attempts_have_numbers(service: Service) -> None:
    """Starts with `max_attempts` are numbered from 1, and the one beyond is refused and starts nothing."""
    user = _user()
    started = [_start(service, user, max_attempts=3) for _ in range(3)]
    assert [_attempt(response) for response in started] == [1, 2, 3]
    assert _is_exhausted(_start(service, user, max_attempts=3))
    assert _count(service, user) == 3
    for response in started:
        session = response.json()
        assert service.read(session["id"], {"cache-control": "no-cache"}).json() == session


def test_without_a_limit_there_is_no_number(service: Service) -> None:
    """A session without a limit of attempts has no number."""
    user = _user()
    assert [_attempt(_start(service, user, **more)) for more in ({}, {"max_attempts": None})] == [None, None]


def test_earlier_sessions_count(service: Service) -> None:
    """Sessions that were started without a limit count, too."""
    user = _user()
    for _ in range(2):
        _start(service, user)
    assert _is_exhausted(_start(service, user, max_attempts=2))
    assert _attempt(_start(service, user, max_attempts=3)) == 3


def test_ended_sessions_count(service: Service, database: psycopg.Connection, cache: Redis) -> None:
    """Completed, expired and overdue sessions count like those in progress."""
    user = _user()
    first, second = (_start(service, user, max_attempts=2, time_limit_seconds=60).json() for _ in range(2))
    service.complete(first["id"])
    age(database, cache, second["id"], 61)
    assert _is_exhausted(_start(service, user, max_attempts=2))
    assert service.read(second["id"]).status_code == 410
    assert _is_exhausted(_start(service, user, max_attempts=2))


def test_the_largest_limit_binds_later_starts(service: Service) -> None:
    """A start without `max_attempts` has the largest limit so far; one with it has its own."""
    user = _user()
    assert _attempt(_start(service, user, max_attempts=2)) == 1
    assert _attempt(_start(service, user)) == 2
    assert _is_exhausted(_start(service, user))
    assert _attempt(_start(service, user, max_attempts=4)) == 3
    assert _is_exhausted(_start(service, user, max_attempts=3))
    assert _attempt(_start(service, user)) == 4
    starts: list[dict[str, Any]] = [{}, {"max_attempts": 4}, {"if_active": "new"}]
    for more in starts:
        assert _is_exhausted(_start(service, user, **more))
    assert _count(service, user) == 4


def test_the_limit_binds_a_learner(service_with_tokens: Service) -> None:
    """The limit of a start by a service binds the starts by the learner, with resume and without."""
    user, back_end = _user(), bearer("back-end", scope=SERVICE_SCOPE)
    session = _start(service_with_tokens, user, back_end, max_attempts=2).json()
    assert _attempt(_start(service_with_tokens, user, bearer(user))) == 2
    assert _is_exhausted(_start(service_with_tokens, user, bearer(user)))
    resumed = _start(service_with_tokens, user, bearer(user), if_active="resume")
    assert resumed.status_code == 200
    for session_id in (resumed.json()["id"], session["id"]):
        service_with_tokens.complete(session_id, bearer(user))
    assert _is_exhausted(_start(service_with_tokens, user, bearer(user), if_active="resume"))


def test_a_repeat_and_a_resume_find_their_session(service: Service) -> None:
    """With all attempts used, a repeated start and a resume still return their session."""
    user, key = _user(), {"idempotency-key": "k"}
    first = _start(service, user, key, max_attempts=1)
    assert _attempt(first) == 1
    again = _start(service, user, key, max_attempts=1)
    assert (again.status_code, again.json()) == (200, first.json())
    for more in NO_LIMIT_OR_1:
        resumed = _start(service, user, if_active="resume", **more)
        assert (resumed.status_code, resumed.json()) == (200, first.json())
    completed = service.complete(first.json()["id"]).json()
    assert _start(service, user, key, max_attempts=1).json() == completed
    for more in NO_LIMIT_OR_1:
        assert _is_exhausted(_start(service, user, if_active="resume", **more))
        assert _is_exhausted(_start(service, user, {"idempotency-key": "other"}, **more))


def test_a_refused_start_keeps_no_key(service: Service) -> None:
    """The key of a refused start is free: with a larger limit the same key starts a session."""
    user, key = _user(), {"idempotency-key": "k"}
    _start(service, user, max_attempts=1)
    assert _is_exhausted(_start(service, user, key, max_attempts=1))
    assert _attempt(_start(service, user, key, max_attempts=2)) == 2


def test_others_are_not_limited(service: Service) -> None:
    """The limit is of one user and one quiz; the forms of a quiz's id are one quiz."""
    user = _user()
    _start(service, user, max_attempts=1)
    for form in (7, "7", 7.0):
        assert _is_exhausted(_start(service, user, quiz_id=form))
    others: list[dict[str, Any]] = [
        {"quiz_id": 8},
        {"quiz_id": "07"},
        {"user_id": _user()},
        {"user_id": user.upper()},
    ]
    for other in others:
        assert _attempt(_start(service, user, **{"max_attempts": None, **other})) is None
        assert _attempt(_start(service, user, **{"max_attempts": 2, **other})) == 2


@pytest.mark.parametrize("limited_first", [False, True])
@pytest.mark.parametrize("more", [{}, {"if_active": "resume"}])
def test_concurrent_starts_keep_the_limit(
    service: Service, other_instance: Service, more: dict[str, str], *, limited_first: bool
) -> None:
    """Concurrent starts on two instances keep the limit if they name it, or follow a start that named it."""
    for _ in range(5):
        user = _user()
        first = [_start(service, user, max_attempts=4).json()] if limited_first else []
        for session in first:
            service.complete(session["id"])
        limits = [{"max_attempts": 4}, {}] if limited_first else [{"max_attempts": 4}]
        with ThreadPoolExecutor(16) as clients:
            sent = [
                clients.submit(_start, instance, user, None, **limit, **more)
                for _ in range(4)
                for instance in (service, other_instance)
                for limit in limits
            ]
            responses = [start.result() for start in sent]
        attempts = sorted(response.json()["attempt"] for response in responses if response.status_code == 201)
        least = len(first) + 1
        assert attempts == ([least] if more else list(range(least, 5)))
        others = {response.status_code for response in responses if response.status_code != 201}
        assert others == ({200} if more else {403})
        assert _count(service, user) == len(first) + len(attempts)


def test_concurrent_repeats_take_one_attempt(service: Service, other_instance: Service) -> None:
    """Concurrent repeats of one start on two instances take one attempt and return one session."""
    for _ in range(5):
        user, key = _user(), {"idempotency-key": "k"}
        with ThreadPoolExecutor(8) as clients:
            sent = [
                clients.submit(_start, instance, user, key, max_attempts=1)
                for _ in range(4)
                for instance in (service, other_instance)
            ]
            responses = [start.result() for start in sent]
        assert sorted(response.status_code for response in responses) == [200] * 7 + [201]
        assert len({response.json()["id"] for response in responses}) == 1
