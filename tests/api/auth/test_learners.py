"""Tests of access: which fields and headers a learner may choose with its own token."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.conformance import DOCUMENT, resolved
from tests.support.issuer import SERVICE_SCOPE, bearer, token_settings
from tests.support.service import Service, running

BODY: dict[str, object] = {"user_id": "ada", "quiz_id": 7}
LIMITED = {**BODY, "time_limit_seconds": 7200}


def _start(service: Service, body: object, headers: dict[str, str]) -> tuple[int, str]:
    response = service.client.post("/api/sessions/start", json=body, headers=headers)
    return response.status_code, response.json().get("message", "")


@pytest.fixture(scope="module")
def service_starts_only(migrated: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with LEARNER_STARTS=no."""
    settings = token_settings(tmp_path_factory.mktemp("issuer") / "keys.json")
    with running(migrated, LEARNER_STARTS="no", **settings) as service:
        yield service


@pytest.mark.parametrize("body", [LIMITED, {**LIMITED, "if_active": "resume"}])
def test_a_learner_may_not_choose_its_time_limit(service_with_tokens: Service, body: object) -> None:
    """A start with a learner's token and time_limit_seconds is 403, and starts no session."""
    before = service_with_tokens.client.get("/api/sessions", headers=bearer("ada")).json()["items"]
    assert _start(service_with_tokens, body, bearer("ada")) == (
        403,
        "Only the token of a service may choose time_limit_seconds.",
    )
    assert service_with_tokens.client.get("/api/sessions", headers=bearer("ada")).json()["items"] == before


def test_a_service_may_choose_a_learners_time_limit(service_with_tokens: Service) -> None:
    """A start with a service's token sets its time_limit_seconds."""
    headers = bearer("backend", scope=SERVICE_SCOPE)
    session = service_with_tokens.client.post("/api/sessions/start", json=LIMITED, headers=headers).json()
    times = [datetime.fromisoformat(session[name]) for name in ("started_at", "expires_at")]
    assert times[1] - times[0] == timedelta(seconds=7200)


def test_a_learner_may_start_with_the_default_time_limit(service_with_tokens: Service) -> None:
    """With LEARNER_STARTS=yes, the default, a learner starts sessions with the default time limit."""
    assert _start(service_with_tokens, BODY, bearer("ada"))[0] == 201


@pytest.mark.parametrize("if_active", ["new", "resume"])
def test_learner_starts_can_be_disabled(service_starts_only: Service, if_active: str) -> None:
    """With LEARNER_STARTS=no a start with a learner's token is 403; the learner still saves."""
    service, body = service_starts_only, {**BODY, "if_active": if_active}
    assert _start(service, body, bearer("ada")) == (
        403,
        "Only the token of a service may start a session.",
    )
    started = service.client.post(
        "/api/sessions/start", json=body, headers=bearer("backend", scope=SERVICE_SCOPE)
    ).json()
    saved = service.save(started["id"], 1, "x", bearer("ada"))
    assert (saved.status_code, saved.json()["answers"]["1"]) == (200, "x")


def test_without_authentication_a_start_may_set_a_time_limit(service: Service) -> None:
    """With AUTH=none every caller may set time_limit_seconds."""
    assert _start(service, LIMITED, {})[0] == 201


def test_access_of_every_field_and_header_is_documented() -> None:
    """docs/access.md says for each field and parameter of a request whether a learner may choose it."""
    text = (ROOT / "docs" / "access.md").read_text()
    documented = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| (yes|no|its own) \|", text, re.MULTILINE)
    found = {(name, place.strip()) for name, place, _ in documented}
    assert found == set(_choices())
    assert len(documented) == len(found)


def _choices() -> Iterator[tuple[str, str]]:
    """Yield each name that a request of a secured operation may carry, with its place."""
    for item in DOCUMENT["paths"].values():
        operations = [item[method] for method in item if method != "parameters"]
        for operation in operations:
            if operation.get("security") == []:
                continue
            for parameter in map(resolved, item.get("parameters", []) + operation.get("parameters", [])):
                yield parameter["name"], parameter["in"]
            if "requestBody" in operation:
                schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
                for name in schema["properties"]:
                    yield name, schema["title"]


def test_an_invalid_learner_starts_fails_the_start(migrated: Urls, tmp_path: Path) -> None:
    """LEARNER_STARTS other than yes or no fails the start."""
    with (
        pytest.raises(AssertionError, match="LEARNER_STARTS must be yes or no"),
        running(migrated, LEARNER_STARTS="maybe", **token_settings(tmp_path / "keys.json")),
    ):
        pass
