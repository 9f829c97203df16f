"""Tests of 401: its reason is in the log, and only there."""

import time
from uuid import uuid4

import pytest

from tests.support.issuer import KEY, bearer, make_key
from tests.support.service import Service
from tests.support.waiting import eventually


def _seconds_from_now(seconds: int) -> int:
    return int(time.time()) + seconds


def _rejected_headers() -> dict[str, dict[str, str]]:
    """Return request headers by the reason for their 401 in the log."""
    unknown = make_key("unknown")
    forged = make_key(KEY.name)
    return {
        "no Authorization header": {},
        "no bearer token": {"authorization": "Basic YTpi"},
        "over 8192 bytes": {"authorization": f"Bearer {KEY.token('x' * 9000)}"},
        "expired": bearer("ada", exp=_seconds_from_now(-60)),
        "not valid yet": bearer("ada", nbf=_seconds_from_now(600)),
        "issuer": bearer("ada", iss="https://issuer.test"),
        "audience": bearer("ada", aud="another-service"),
        "unknown key": {"authorization": f"Bearer {unknown.token('ada')}"},
        "signature": {"authorization": f"Bearer {forged.token('ada')}"},
        "required claim is missing: exp": bearer("ada", exp=None),
        "sub is no user_id": bearer("x" * 256),
        "has jku, jwk, x5u or crit": bearer("ada", header={"jku": "https://evil.example/keys"}),
        "malformed": {"authorization": "Bearer a.b.c"},
    }


@pytest.mark.parametrize("reason", _rejected_headers())
def test_401_has_its_reason_only_in_the_log(service_with_tokens: Service, reason: str) -> None:
    """The log has the reason for a 401, with the request id; the response does not."""
    headers = _rejected_headers()[reason] | {"x-request-id": f"why-{uuid4()}"}
    response = service_with_tokens.client.get("/api/sessions", headers=headers)
    assert response.status_code == 401
    assert response.json()["message"] == "The request needs a valid bearer token."
    line = f"session-service: request {headers['x-request-id']} is unauthenticated: "
    (logged,) = eventually(
        lambda: [
            found for found in service_with_tokens.log.read_text().splitlines() if found.startswith(line)
        ]
    )
    assert reason in logged
    assert "ada" not in logged.removeprefix(line)
