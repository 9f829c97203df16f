"""Actors: the journal names the subject of a token, and the party that acts for it."""

from typing import Any

import pytest

from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.journal import lines
from tests.support.service import Service

STAFF = bearer("back-end", scope=SERVICE_SCOPE)


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
    (line,) = lines(service_with_tokens, started.json()["id"], STAFF)
    assert line["actor"] == actor | {"subject": "Zo\u00eb \U0001f600"}


def test_a_service_with_the_subject_of_a_learner_is_another_actor(service_with_tokens: Service) -> None:
    """A service whose token has the learner's subject is not shown to the learner as the learner."""
    body = {"user_id": "ada", "quiz_id": 7}
    headers = bearer("ada", scope=SERVICE_SCOPE)
    started = service_with_tokens.client.post("/api/sessions/start", json=body, headers=headers)
    (line,) = lines(service_with_tokens, started.json()["id"], bearer("ada"))
    assert line["actor"] is None
