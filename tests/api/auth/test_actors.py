"""Actors: the journal names the subject of a token, and the party that acts for it."""

from typing import Any

import psycopg
import pytest
from redis import Redis

from tests.support.ageing import age
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.journal import lines
from tests.support.service import Headers, Service


def _staff() -> Headers:
    """Return a new token of a service: one from the import of this file would expire in a long run."""
    return bearer("back-end", scope=SERVICE_SCOPE)


@pytest.mark.parametrize(
    ("claims", "actor"),
    [
        ({}, {"type": "learner"}),
        ({"scope": SERVICE_SCOPE}, {"type": "staff"}),
        ({"act": {"sub": "tutoring-app"}}, {"type": "learner", "acting": "tutoring-app"}),
        ({"act": {"sub": "b", "act": {"sub": "a"}}}, {"type": "learner", "acting": "b"}),
        ({"act": {"sub": "x" * 255}, "scope": SERVICE_SCOPE}, {"type": "staff", "acting": "x" * 255}),
        ({"act": {"sub": "x" * 256}}, {"type": "learner", "acting": "unknown"}),
        ({"act": {"sub": ""}}, {"type": "learner", "acting": "unknown"}),
        ({"act": {"sub": "a\0b"}}, {"type": "learner", "acting": "unknown"}),
        ({"act": {"sub": 7}}, {"type": "learner", "acting": "unknown"}),
        ({"act": {"iss": "x"}}, {"type": "learner", "acting": "unknown"}),
        ({"act": "tutoring-app"}, {"type": "learner", "acting": "unknown"}),
        ({"act": []}, {"type": "learner", "acting": "unknown"}),
    ],
    ids=str,
)
def test_the_actor_of_a_token(
    service_with_tokens: Service, claims: dict[str, Any], actor: dict[str, str]
) -> None:
    """A line has the kind and the subject of the token and, if it has `act`, the party in it."""
    body = {"user_id": "Zo\u00eb \U0001f600", "quiz_id": 7}
    headers = bearer("Zo\u00eb \U0001f600", **claims)
    started = service_with_tokens.client.post("/api/sessions/start", json=body, headers=headers)
    assert started.status_code == 201
    (line,) = lines(service_with_tokens, started.json()["id"], _staff())
    assert line["actor"] == actor | {"subject": "Zo\u00eb \U0001f600"}


def test_a_service_with_the_subject_of_a_learner_is_another_actor(service_with_tokens: Service) -> None:
    """A service whose token has the learner's subject is not shown to the learner as the learner."""
    body = {"user_id": "ada", "quiz_id": 7}
    headers = bearer("ada", scope=SERVICE_SCOPE)
    started = service_with_tokens.client.post("/api/sessions/start", json=body, headers=headers)
    (line,) = lines(service_with_tokens, started.json()["id"], bearer("ada"))
    assert line["actor"] is None


def test_a_proctor_sees_whole_histories_but_its_own(service_with_tokens: Service) -> None:
    """A proctor sees each actor in a session of its quiz; in its own session only itself.

    The journal names it as a learner there, also with the token of a proctor.
    """
    proctor = bearer("teacher", scope="sessions:proctor", quiz_ids=["history"])
    for user, shown in (("ada", ["staff", "learner"]), ("teacher", [None, "learner"])):
        body = {"user_id": user, "quiz_id": "history"}
        started = service_with_tokens.client.post("/api/sessions/start", json=body, headers=_staff())
        session_id = started.json()["id"]
        saver = proctor if user == "teacher" else bearer(user)
        assert service_with_tokens.save(session_id, 1, "x", saver).status_code == 200
        found = [line["actor"] for line in lines(service_with_tokens, session_id, proctor)]
        assert [actor and actor["type"] for actor in found] == shown
        outside = bearer("teacher", scope="sessions:proctor", quiz_ids=["other"])
        status = 200 if user == "teacher" else 404
        path = f"/api/sessions/{session_id}/events"
        assert service_with_tokens.client.get(path, headers=outside).status_code == status


def test_a_proctor_ends_an_overdue_session_that_it_looks_at(
    service_with_tokens: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """The history of an overdue session has its end also for the proctor of its quiz."""
    body = {"user_id": "ada", "quiz_id": "history", "time_limit_seconds": 60}
    started = service_with_tokens.client.post("/api/sessions/start", json=body, headers=_staff())
    age(database, cache, started.json()["id"], 61)
    proctor = bearer("teacher", scope="sessions:proctor", quiz_ids=["history"])
    found = [line["type"] for line in lines(service_with_tokens, started.json()["id"], proctor)]
    assert found == ["session.started", "session.expired"]
