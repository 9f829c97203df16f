"""Tests of a proctor's token: it reads the sessions of its quizzes, and acts for its subject as a learner."""

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from redis import Redis

from tests.support.ageing import age, stored
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Headers, Service

LIST = "/api/sessions"
# A subject without sessions.
TEACHER = f"teacher-{uuid4()}"


def _service() -> Headers:
    """Return a new token of a service: one from the import of this file would expire in a long run."""
    return bearer("back-end", scope=SERVICE_SCOPE)


def _proctor(*quiz_ids: object, name: str = TEACHER, more: str = "") -> Headers:
    return bearer(name, scope=f"sessions:proctor {more}", quiz_ids=quiz_ids)


def _start(service: Service, quiz_id: object, user: str | None = None) -> str:
    body = {"user_id": user or f"user-{uuid4()}", "quiz_id": quiz_id}
    response = service.client.post("/api/sessions/start", json=body, headers=_service())
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def _listed(service: Service, headers: Headers, **query: Any) -> list[str]:
    response = service.client.get(LIST, params=query, headers=headers)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


def _quizzes(count: int) -> list[str]:
    return [str(uuid4()) for _ in range(count)]


@pytest.mark.parametrize(("quiz_id", "claimed"), [(7, "7"), ("7", 7), ("007", "007"), ("é b", "é b")])
def test_a_proctor_reads_the_sessions_of_its_quizzes(
    service_with_tokens: Service, cache: Redis, quiz_id: object, claimed: object
) -> None:
    """A read of a session of a claimed quiz is 200, of another one 404, from cache and database."""
    session_id = _start(service_with_tokens, quiz_id)
    for headers, status in ((_proctor(8, claimed), 200), (_proctor(8, "70"), 404), (_proctor(), 404)):
        for more in ({}, {"cache-control": "no-cache"}):
            assert service_with_tokens.read(session_id, headers | more).status_code == status
        cache.delete(f"session:{session_id}")
        assert service_with_tokens.read(session_id, headers).status_code == status


def test_a_proctor_reads_an_overdue_session(
    service_with_tokens: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """A read of an overdue session of a claimed quiz ends it and has its answers; otherwise it is 404."""
    inside, outside = _quizzes(2)
    session_id = _start(service_with_tokens, inside)
    service_with_tokens.save(session_id, 1, "x", _service())
    age(database, cache, session_id, 7200)
    read = service_with_tokens.read(session_id, _proctor(inside))
    assert (read.status_code, read.json()["session"]["answers"]) == (410, {"1": "x"})
    assert stored(database, session_id, "status", "version") == ("expired", 3)
    assert service_with_tokens.read(session_id, _proctor(outside)).status_code == 404


def test_a_proctors_list_has_the_sessions_of_its_quizzes(service_with_tokens: Service) -> None:
    """A list has the sessions of all claimed quizzes, newest first, however many others are newer."""
    first, second, third, outside = _quizzes(4)
    wanted = [_start(service_with_tokens, quiz) for quiz in (first, second, second, first, third)]
    for _ in range(3):
        _start(service_with_tokens, outside)
    headers = _proctor(second, third, first)
    assert _listed(service_with_tokens, headers) == wanted[::-1]
    query: dict[str, Any] = {"limit": 2}
    for expected in (wanted[4:2:-1], wanted[2:0:-1], wanted[:1]):
        page = service_with_tokens.client.get(LIST, params=query, headers=headers).json()
        assert [item["id"] for item in page["items"]] == expected
        query["cursor"] = page["next_cursor"]
    assert query["cursor"] is None


def test_filters_narrow_a_proctors_list(service_with_tokens: Service) -> None:
    """Each filter narrows the list of a proctor; with the id of another quiz it is empty."""
    first, second, outside = _quizzes(3)
    user = f"user-{uuid4()}"
    one, two, three = (_start(service_with_tokens, quiz, user) for quiz in (first, second, outside))
    other = _start(service_with_tokens, first)
    service_with_tokens.complete(one, _service())
    headers = _proctor(first, second)
    for query, found in (
        ({"quiz_id": first}, [other, one]),
        ({"quiz_id": second}, [two]),
        ({"quiz_id": outside}, []),
        ({"quiz_id": outside, "user_id": user}, []),
        ({"user_id": user}, [two, one]),
        ({"user_id": user, "quiz_id": first}, [one]),
        ({"status": "completed"}, [one]),
        ({"status": "in_progress"}, [other, two]),
    ):
        assert _listed(service_with_tokens, headers, **query) == found, query
    assert _listed(service_with_tokens, _service(), quiz_id=outside) == [three]


def test_a_proctors_own_sessions_are_those_of_a_learner(service_with_tokens: Service) -> None:
    """A proctor starts, reads, saves, completes and lists its own sessions of any quiz, as a learner does."""
    (quiz, outside), name = _quizzes(2), f"teacher-{uuid4()}"
    headers = _proctor(quiz, name=name)
    own = []
    for quiz_id in (quiz, outside):
        body = {"user_id": name, "quiz_id": quiz_id}
        for refused in ({"user_id": "ada"}, {"time_limit_seconds": 0}):
            response = service_with_tokens.client.post(
                "/api/sessions/start", json=body | refused, headers=headers
            )
            assert response.status_code == 403
        response = service_with_tokens.client.post("/api/sessions/start", json=body, headers=headers)
        assert response.status_code == 201
        own.append(response.json()["id"])
    learners = _start(service_with_tokens, quiz)
    for session_id in own:
        assert service_with_tokens.read(session_id, headers).status_code == 200
        assert service_with_tokens.save(session_id, 1, "x", headers).json()["answers"] == {"1": "x"}
        assert service_with_tokens.complete(session_id, headers).status_code == 200
    assert _listed(service_with_tokens, headers) == [learners, own[1], own[0]]
    assert _listed(service_with_tokens, headers, user_id=name) == [own[1], own[0]]
    assert _listed(service_with_tokens, headers, quiz_id=outside) == [own[1]]


def test_a_proctor_changes_no_session_of_a_learner(service_with_tokens: Service) -> None:
    """A write of a proctor to a session of its quiz is 403 and changes nothing; a learner gets 404."""
    (quiz,) = _quizzes(1)
    session_id = _start(service_with_tokens, quiz)
    before = service_with_tokens.read(session_id, _service()).json()
    for headers, status in ((_proctor(quiz), 403), (bearer(TEACHER), 404)):
        for response in _writes(service_with_tokens, session_id, headers):
            assert response.status_code == status, response.text
    assert service_with_tokens.read(session_id, _service() | {"cache-control": "no-cache"}).json() == before


def test_a_proctor_without_quizzes_is_a_learner(service_with_tokens: Service) -> None:
    """A proctor's token without a usable `quiz_ids` has the access of its subject, and no more."""
    user = f"user-{uuid4()}"
    own, others = _start(service_with_tokens, 7, user), _start(service_with_tokens, 7)
    for claims in ({}, {"quiz_ids": "7"}, {"quiz_ids": [7, None]}):
        headers = bearer(user, scope="sessions:proctor", **claims)
        assert _listed(service_with_tokens, headers) == [own]
        assert service_with_tokens.read(others, headers).status_code == 404
        assert service_with_tokens.save(own, 1, "x", headers).status_code == 200
        response = service_with_tokens.client.get(LIST, params={"user_id": "ada"}, headers=headers)
        assert response.status_code == 403


def test_a_reader_changes_nothing(service_with_tokens: Service) -> None:
    """With `sessions:read` alone also the writes of the token's subject are 403."""
    user = f"user-{uuid4()}"
    session_id = _start(service_with_tokens, 7, user)
    headers = bearer(user, scope="sessions:read")
    for response in _writes(service_with_tokens, session_id, headers):
        assert response.status_code == 403
    body = {"user_id": user, "quiz_id": 7}
    response = service_with_tokens.client.post("/api/sessions/start", json=body, headers=headers)
    assert (response.status_code, response.json()["errorCode"]) == (403, "FORBIDDEN")
    assert service_with_tokens.read(session_id, headers).json()["version"] == 1


def test_scopes_add_up(service_with_tokens: Service) -> None:
    """A token with several scopes reads and writes the sessions that one of them allows to read or write."""
    (quiz,), name = _quizzes(1), f"teacher-{uuid4()}"
    own, inside, outside = (
        _start(service_with_tokens, quiz_id, user)
        for quiz_id, user in ((7, name), (quiz, None), (f"not-{quiz}", None))
    )
    for more, reads, writes in (
        ("sessions:read", [200, 200, 200], [200, 403, 404]),
        ("sessions:any", [200, 200, 200], [200, 200, 200]),
        ("sessions:erase", [200, 200, 404], [200, 403, 404]),
    ):
        headers = _proctor(quiz, name=name, more=more)
        read = [service_with_tokens.read(one, headers).status_code for one in (own, inside, outside)]
        saved = [
            service_with_tokens.save(one, 1, more, headers).status_code for one in (own, inside, outside)
        ]
        assert (read, saved) == (reads, writes), more


def _writes(service: Service, session_id: str, headers: Headers) -> list[httpx.Response]:
    return [
        service.save(session_id, 1, "x", headers),
        service.save_many(session_id, {"1": "x"}, headers),
        service.complete(session_id, headers),
    ]
