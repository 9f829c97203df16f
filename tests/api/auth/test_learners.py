"""What a learner may choose with its own token: every field and header of the contract is decided."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.conformance import DOCUMENT, resolved
from tests.support.issuer import SERVICE_SCOPE, bearer, guarded
from tests.support.service import Service, running

BODY: dict[str, object] = {"user_id": "ada", "quiz_id": 7}
LIMITED = {**BODY, "time_limit_seconds": 7200}


def _start(service: Service, body: object, headers: dict[str, str]) -> tuple[int, str]:
    reply = service.client.post("/api/sessions/start", json=body, headers=headers)
    return reply.status_code, reply.json().get("message", "")


@pytest.fixture(scope="module")
def service_starts_only(migrated: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with LEARNER_STARTS=no."""
    settings = guarded(tmp_path_factory.mktemp("issuer") / "keys.json")
    with running(migrated, LEARNER_STARTS="no", **settings) as service:
        yield service


@pytest.mark.parametrize("body", [LIMITED, {**LIMITED, "if_active": "resume"}])
def test_a_learner_may_not_choose_its_time_limit(guarded: Service, body: object) -> None:
    """A start with a learner's token and a time_limit_seconds is 403, and no session comes of it."""
    before = guarded.client.get("/api/sessions", headers=bearer("ada")).json()["items"]
    assert _start(guarded, body, bearer("ada")) == (
        403,
        "Only the token of a service may choose time_limit_seconds.",
    )
    assert guarded.client.get("/api/sessions", headers=bearer("ada")).json()["items"] == before


def test_a_service_may_choose_a_learners_time_limit(guarded: Service) -> None:
    """A start with a service's token sets the time limit that it names."""
    headers = bearer("backend", scope=SERVICE_SCOPE)
    session = guarded.client.post("/api/sessions/start", json=LIMITED, headers=headers).json()
    times = [datetime.fromisoformat(session[name]) for name in ("started_at", "expires_at")]
    assert times[1] - times[0] == timedelta(seconds=7200)


def test_a_learner_may_start_with_the_services_own_limit(guarded: Service) -> None:
    """With LEARNER_STARTS=yes, the default, a learner starts an attempt of its own."""
    assert _start(guarded, BODY, bearer("ada"))[0] == 201


@pytest.mark.parametrize("if_active", ["new", "resume"])
def test_only_services_start_where_the_operator_says_so(service_starts_only: Service, if_active: str) -> None:
    """With LEARNER_STARTS=no every start with a learner's token is 403, and the attempt goes on otherwise."""
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


def test_without_tokens_a_start_may_name_a_time_limit(service: Service) -> None:
    """With AUTH=none every caller counts as a service."""
    assert _start(service, LIMITED, {})[0] == 201


def test_every_field_and_header_is_decided() -> None:
    """docs/access.md says for each field and parameter of a request whether a learner may choose it."""
    text = (ROOT / "docs" / "access.md").read_text()
    decided = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| (yes|no|its own) \|", text, re.MULTILINE)
    found = {(name, place.strip()) for name, place, _ in decided}
    assert found == set(_choices())
    assert len(decided) == len(found)


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


def test_the_setting_is_checked(migrated: Urls, tmp_path: Path) -> None:
    """LEARNER_STARTS is yes or no; the check is that of every setting."""
    with (
        pytest.raises(AssertionError, match="LEARNER_STARTS has to be yes or no"),
        running(migrated, LEARNER_STARTS="maybe", **guarded(tmp_path / "keys.json")),
    ):
        pass
