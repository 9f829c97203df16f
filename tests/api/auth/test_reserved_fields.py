"""Fields of a start that only services may choose."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.conformance import DOCUMENT
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service

RESERVED: dict[str, list[Any]] = {
    "time_limit_seconds": [7200, 0],
    "grace_seconds": [5, 0],
    "on_expiry": ["complete", "expire"],
    "time_factor": [1.5, 1],
    "max_attempts": [3, 1],
    "metadata": [{"course": "B12"}, {}],
}
VALUES = [(name, value) for name, values in RESERVED.items() for value in values]
NULLS = dict.fromkeys([*RESERVED, "if_active"])


def _start(service: Service, user: str, headers: dict[str, str], **fields: Any) -> Any:
    body = {"user_id": user, "quiz_id": 7, **fields}
    return service.client.post("/api/sessions/start", json=body, headers=headers)


def _listed(service: Service, user: str) -> list[Any]:
    items: list[Any] = service.client.get("/api/sessions", headers=bearer(user)).json()["items"]
    return items


def test_every_field_of_a_start_is_known() -> None:
    """A start has the reserved fields, and those that a learner chooses."""
    fields = set(DOCUMENT["components"]["schemas"]["StartSession"]["properties"])
    assert fields == {"user_id", "quiz_id", "if_active", *RESERVED}


@pytest.mark.parametrize("if_active", [None, "resume"])
@pytest.mark.parametrize(("name", "value"), VALUES)
def test_a_learner_may_not_choose(
    service_with_tokens: Service, name: str, value: object, if_active: str | None
) -> None:
    """A start with a learner's token and a reserved field is a 403 that names it, also for the default."""
    user = f"user-{uuid4()}"
    refused = _start(service_with_tokens, user, bearer(user), **{name: value, "if_active": if_active})
    assert (refused.status_code, refused.json()["errorCode"]) == (403, "FORBIDDEN")
    assert refused.json()["message"] == f"Only the token of a service may choose {name}."
    assert _listed(service_with_tokens, user) == []


def test_all_chosen_fields_are_named(service_with_tokens: Service) -> None:
    """The 403 names every reserved field of the start, and no other."""
    fields = {name: values[0] for name, values in RESERVED.items()}
    refused = _start(service_with_tokens, "ada", bearer("ada"), **fields, if_active="new")
    assert refused.status_code == 403
    assert all(name in refused.json()["message"] for name in RESERVED)
    assert "if_active" not in refused.json()["message"]


def test_null_is_no_choice(service_with_tokens: Service) -> None:
    """`null` for each reserved field is a start with the defaults, also with a learner's token."""
    user = f"user-{uuid4()}"
    started = _start(service_with_tokens, user, bearer(user), **NULLS)
    assert started.status_code == 201, started.text
    session = started.json()
    assert (session["metadata"], session["attempt"], session["on_expiry"]) == ({}, None, "expire")
    assert session["closes_at"] == session["expires_at"] is not None
    assert [item["id"] for item in _listed(service_with_tokens, user)] == [session["id"]]


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_a_service_may_choose(service_with_tokens: Service, name: str, value: object) -> None:
    """A start with a service's token may have each reserved field, for any user."""
    user, headers = f"user-{uuid4()}", bearer("back-end", scope=SERVICE_SCOPE)
    started = _start(service_with_tokens, user, headers, **{name: value})
    assert started.status_code == 201, started.text
    session = started.json()
    if name in ("metadata", "on_expiry"):
        assert session[name] == value
    assert (session["attempt"] == 1) == (name == "max_attempts")
    assert (session["expires_at"] is None) == (name == "time_limit_seconds" and value == 0)
    assert (session["closes_at"] != session["expires_at"]) == (name == "grace_seconds" and value == 5)
