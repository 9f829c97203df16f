"""Tests CORS: pages of allowed origins can use the whole contract, pages of other origins nothing."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Urls
from tests.support.conformance import DOCUMENT, PATHS, resolved
from tests.support.service import Service, running

QUIZ = "https://quiz.example"
FOREIGN = (
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
SHARED = {
    "access-control-allow-origin": QUIZ,
    "access-control-expose-headers": (
        "allow, date, etag, location, preference-applied, retry-after, www-authenticate, x-request-id"
    ),
}
# Response headers that every page may read, and those for the browser only (Fetch standard).
READABLE = {"cache-control", "content-length", "content-type"}
BROWSERS_OWN = {"x-content-type-options", "content-security-policy"}


@pytest.fixture(scope="module")
def shared(migrated: Urls) -> Iterator[Service]:
    """A service with an allowed origin."""
    with running(migrated, CORS_ORIGINS=QUIZ) as service:
        yield service


def test_a_page_on_the_list_may_read_every_reply(shared: Service) -> None:
    """Every response, errors included, is readable by a page of an allowed origin, and by no other."""
    session_id = shared.start()["id"]
    for reply in _each(shared, session_id, {"origin": QUIZ}):
        assert {name: reply.headers.get(name) for name in SHARED} == SHARED, reply.text
        assert reply.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_that_is_not_on_the_list_may_read_nothing(shared: Service, origin: str) -> None:
    """Origins are compared exactly."""
    session_id = shared.start()["id"]
    for reply in _each(shared, session_id, {"origin": origin}):
        assert not [name for name in reply.headers if name.startswith("access-control-")]
        assert reply.headers["vary"] == "Origin"


def test_two_origins_are_none(shared: Service) -> None:
    """A request with two Origin headers has no origin."""
    reply = shared.client.get("/health", headers=[("origin", QUIZ), ("origin", "https://evil.example")])
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", PATHS)
def test_a_browser_is_told_what_a_path_takes(shared: Service, path: str) -> None:
    """A preflight of an allowed origin gets the methods of the path and every declared header."""
    reply = _preflight(shared, path, QUIZ)
    operations = list(PATHS[path].values())
    declared = {
        parameter["name"].lower()
        for operation in operations
        for parameter in map(resolved, operation.get("parameters", []))
        if parameter["in"] == "header"
    }
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == QUIZ
    assert _listed(reply, "allow-methods") == PATHS[path].keys() | (
        {"HEAD"} if "GET" in PATHS[path] else set()
    )
    always = {"authorization", "content-type", "x-request-id"}
    assert declared | always <= _listed(reply, "allow-headers")
    assert reply.headers["access-control-max-age"] == "7200"


@pytest.mark.parametrize(
    "asked",
    [
        "content-type,traceparent",
        "baggage,content-type,sentry-trace",
        "x-requested-with",
        "authorization, X-Csrf-Token , idempotency-key",
    ],
)
def test_a_page_on_the_list_may_send_the_headers_that_it_asks_for(shared: Service, asked: str) -> None:
    """Headers that a tracing library adds do not make the browser block the request."""
    reply = _preflight(shared, "/api/sessions/start", QUIZ, asked)
    assert (reply.status_code, reply.headers["access-control-allow-headers"]) == (204, asked)


@pytest.mark.parametrize("asked", ["", ",", "a b", "a;b", "x" * 5000, "a,", "a: b"])
def test_a_list_of_headers_that_is_none_is_not_repeated(shared: Service, asked: str) -> None:
    """An invalid list of header names gets the contract's own list."""
    reply = _preflight(shared, "/api/sessions/start", QUIZ, asked)
    assert "idempotency-key" in _listed(reply, "allow-headers")
    assert asked not in _listed(reply, "allow-headers")


@pytest.mark.parametrize("origin", ["capacitor://localhost", "ionic://localhost", "http://localhost"])
def test_an_apps_own_pages_can_be_on_the_list(migrated: Urls, origin: str) -> None:
    """Origins of mobile apps (capacitor://localhost) can be allowed."""
    with running(migrated, CORS_ORIGINS=f"capacitor://localhost, ionic://localhost,{QUIZ}") as service:
        reply = service.client.get("/health", headers={"origin": origin})
        listed = origin != "http://localhost"
        assert reply.headers.get("access-control-allow-origin") == (origin if listed else None)


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_preflight_is_a_method_that_no_path_takes(shared: Service, origin: str) -> None:
    """OPTIONS from another origin has the same response as without CORS."""
    reply = _preflight(shared, "/api/sessions", origin)
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
    assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_only_a_preflight_is_answered_as_one(shared: Service) -> None:
    """OPTIONS without a requested method, and unknown paths, are rejected for allowed origins, too."""
    assert shared.client.options("/api/sessions", headers={"origin": QUIZ}).status_code == 405
    assert _preflight(shared, "/nowhere", QUIZ).status_code == 404


def test_without_a_list_nothing_is_told(service: Service) -> None:
    """CORS is off by default: no response has its headers, and a preflight is rejected."""
    session_id = service.start()["id"]
    for reply in [*_each(service, session_id, {"origin": QUIZ}), _preflight(service, "/health", QUIZ)]:
        assert not [name for name in reply.headers if name == "vary" or name.startswith("access-control-")]
    assert _preflight(service, "/health", QUIZ).status_code == 405


def test_a_page_may_read_every_header_of_the_contract() -> None:
    """Every response header of the contract is readable by pages of allowed origins."""
    responses = [
        resolved(one) for item in PATHS.values() for op in item.values() for one in op["responses"].values()
    ]
    responses += DOCUMENT["components"]["responses"].values()
    declared = {name.lower() for response in responses for name in response["headers"]}
    exposed = set(SHARED["access-control-expose-headers"].split(", "))
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


def _listed(reply: httpx.Response, name: str) -> set[str]:
    return set(reply.headers[f"access-control-{name}"].split(", "))
