"""Tests CORS: pages of allowed origins can use the whole contract, pages of other origins nothing."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Urls
from tests.support.conformance import DOCUMENT, PATHS, resolved
from tests.support.service import Service, running

QUIZ = "https://quiz.example"
OTHER_ORIGINS = (
    "https://evil.example",
    "http://quiz.example",
    "https://quiz.example:8443",
    "https://quiz.example.evil.example",
    "https://evil.example/https://quiz.example",
    "https://QUIZ.example",
    "null",
    "*",
    "",
)
CORS_HEADERS = {
    "access-control-allow-origin": QUIZ,
    "access-control-expose-headers": (
        "allow, content-disposition, date, etag, location, preference-applied, retry-after, "
        "session-expires-at, session-now, www-authenticate, x-request-id"
    ),
}
# Response headers that every page may read, and those for the browser only (Fetch standard).
READABLE = {"cache-control", "content-length", "content-type"}
BROWSERS_OWN = {"x-content-type-options", "content-security-policy"}


@pytest.fixture(scope="module")
def cors_service(migrated: Urls) -> Iterator[Service]:
    """A service with an allowed origin."""
    with running(migrated, CORS_ORIGINS=QUIZ) as service:
        yield service


def test_an_allowed_origin_can_read_every_response(cors_service: Service) -> None:
    """Every response, errors included, has the CORS headers for an allowed origin."""
    session_id = cors_service.start()["id"]
    for response in _each(cors_service, session_id, {"origin": QUIZ}):
        assert {name: response.headers.get(name) for name in CORS_HEADERS} == CORS_HEADERS, response.text
        assert response.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_other_origins_can_read_nothing(cors_service: Service, origin: str) -> None:
    """No response has CORS headers for another origin; origins are compared exactly."""
    session_id = cors_service.start()["id"]
    for response in _each(cors_service, session_id, {"origin": origin}):
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert response.headers["vary"] == "Origin"


def test_a_repeated_origin_header_is_ignored(cors_service: Service) -> None:
    """A request with two Origin headers gets no CORS headers."""
    response = cors_service.client.get(
        "/health", headers=[("origin", QUIZ), ("origin", "https://evil.example")]
    )
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", PATHS)
def test_cors_preflight_lists_methods_and_headers(cors_service: Service, path: str) -> None:
    """A CORS preflight of an allowed origin gets the methods of the path and every declared header."""
    response = _preflight(cors_service, path, QUIZ)
    operations = list(PATHS[path].values())
    declared = {
        parameter["name"].lower()
        for operation in operations
        for parameter in map(resolved, operation.get("parameters", []))
        if parameter["in"] == "header"
    }
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == QUIZ
    assert _listed(response, "allow-methods") == PATHS[path].keys() | (
        {"HEAD"} if "GET" in PATHS[path] else set()
    )
    always = {"authorization", "content-type", "traceparent", "tracestate", "x-request-id"}
    assert declared | always <= _listed(response, "allow-headers")
    assert response.headers["access-control-max-age"] == "7200"


@pytest.mark.parametrize(
    "asked",
    [
        "content-type,traceparent",
        "baggage,content-type,sentry-trace",
        "x-requested-with",
        "authorization, X-Csrf-Token , idempotency-key",
    ],
)
def test_cors_preflight_allows_requested_headers(cors_service: Service, asked: str) -> None:
    """A CORS preflight allows headers that tracing libraries add."""
    response = _preflight(cors_service, "/api/sessions/start", QUIZ, asked)
    assert (response.status_code, response.headers["access-control-allow-headers"]) == (204, asked)


@pytest.mark.parametrize("asked", ["", ",", "a b", "a;b", "x" * 5000, "a,", "a: b"])
def test_cors_preflight_does_not_repeat_invalid_headers(cors_service: Service, asked: str) -> None:
    """A CORS preflight with an invalid list of headers gets the contract's own list."""
    response = _preflight(cors_service, "/api/sessions/start", QUIZ, asked)
    assert "idempotency-key" in _listed(response, "allow-headers")
    assert asked not in _listed(response, "allow-headers")


@pytest.mark.parametrize("origin", ["capacitor://localhost", "ionic://localhost", "http://localhost"])
def test_origins_of_mobile_apps_can_be_allowed(migrated: Urls, origin: str) -> None:
    """Origins of mobile apps (capacitor://localhost) can be allowed."""
    with running(migrated, CORS_ORIGINS=f"capacitor://localhost, ionic://localhost,{QUIZ}") as service:
        response = service.client.get("/health", headers={"origin": origin})
        listed = origin != "http://localhost"
        assert response.headers.get("access-control-allow-origin") == (origin if listed else None)


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_cors_preflight_of_another_origin_is_405(cors_service: Service, origin: str) -> None:
    """A CORS preflight of another origin gets 405, as without CORS."""
    response = _preflight(cors_service, "/api/sessions", origin)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, DELETE, HEAD")
    assert not [name for name in response.headers if name.startswith("access-control-")]


def test_other_options_requests_are_rejected(cors_service: Service) -> None:
    """OPTIONS without a requested method is 405, and a preflight of an unknown path 404."""
    assert cors_service.client.options("/api/sessions", headers={"origin": QUIZ}).status_code == 405
    assert _preflight(cors_service, "/nowhere", QUIZ).status_code == 404


def test_cors_is_off_by_default(service: Service) -> None:
    """CORS is off by default: no response has CORS headers, and a preflight is 405."""
    session_id = service.start()["id"]
    for response in [*_each(service, session_id, {"origin": QUIZ}), _preflight(service, "/health", QUIZ)]:
        assert not [name for name in response.headers if name == "vary" or name.startswith("access-control-")]
    assert _preflight(service, "/health", QUIZ).status_code == 405


def test_every_response_header_is_exposed() -> None:
    """Every response header of the contract is exposed to pages of allowed origins."""
    responses = [
        resolved(one) for item in PATHS.values() for op in item.values() for one in op["responses"].values()
    ]
    responses += DOCUMENT["components"]["responses"].values()
    declared = {name.lower() for response in responses for name in response["headers"]}
    exposed = set(CORS_HEADERS["access-control-expose-headers"].split(", "))
    assert declared - READABLE - BROWSERS_OWN <= exposed


def _each(service: Service, session_id: object, headers: dict[str, str]) -> list[httpx.Response]:
    """Return one response of each kind."""
    client = service.client
    path = f"/api/sessions/{session_id}"
    start = {"user_id": "ada", "quiz_id": 7}
    return [
        client.get(path, headers=headers),
        client.get(path, headers={**headers, "if-none-match": '"1"'}),
        client.post("/api/sessions/start", json=start, headers=headers),
        service.save(session_id, 1, "x", {**headers, "if-match": '"9"'}),
        client.get(f"/api/sessions/{uuid4()}", headers=headers),
        client.get("/nowhere", headers=headers),
        client.delete(path, headers=headers),
        client.post("/api/sessions/start", content=b" " * 262_145, headers=headers),
        client.get("/health", headers=headers),
        client.get("/openapi.json", headers=headers),
    ]


def _preflight(service: Service, path: str, origin: str, asked: str | None = None) -> httpx.Response:
    headers = {"origin": origin, "access-control-request-method": "PUT"}
    if asked is not None:
        headers["access-control-request-headers"] = asked
    return service.client.options(path.replace("{id}", str(uuid4())), headers=headers)


def _listed(response: httpx.Response, name: str) -> set[str]:
    return set(response.headers[f"access-control-{name}"].split(", "))
