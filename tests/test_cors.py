"""Tests CORS: pages of allowed origins can use the whole contract, pages of other origins nothing."""

import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.conformance import DOCUMENT, PATHS, resolved
from tests.conftest import Urls
from tests.judge import judging
from tests.service import Service, running
from tests.test_docs import FLAGS

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


class Page(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    """The port of a server of pages; its address and its name make two origins."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def shared(migrated: Urls, pages: int) -> Iterator[Service]:
    """A service with two allowed origins."""
    with running(migrated, CORS_ORIGINS=f"{QUIZ}, http://127.0.0.1:{pages}") as service:
        yield service


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """A browser with a new profile."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    with Chrome(options=options, service=ChromeService(shutil.which("chromedriver"))) as chrome:
        yield chrome


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


# A page's program: it starts an attempt, saves an answer to the version that it saw, and then to an old one.
PROGRAM = """
const [url, done] = arguments;
const send = (method, path, headers, body) => fetch(url + path, {
  method, headers: {"content-type": "application/json", ...headers}, body: JSON.stringify(body)});
(async () => {
  const key = crypto.randomUUID();
  const user = {user_id: "page-" + key, quiz_id: 7};
  const started = await send("POST", "/api/sessions/start", {"idempotency-key": key}, user);
  const path = started.headers.get("location") + "/progress";
  const headers = {"if-match": started.headers.get("etag"), "x-request-id": "page"};
  const answer = {question_id: 3, answer: "Paris"};
  const saved = await send("PUT", path, {...headers, "idempotency-key": "one"}, answer);
  const stale = await send("PUT", path, {...headers, "idempotency-key": "two"}, answer);
  return [started.status, saved.status, saved.headers.get("etag"), saved.headers.get("x-request-id"),
    stale.status, stale.headers.get("retry-after"), (await stale.json()).currentVersion];
})().then(done, error => done(error.name));
"""


@pytest.mark.needs("chromium")
@pytest.mark.needs("chromedriver")
def test_a_browser_lets_a_page_on_the_list_work(shared: Service, pages: int, browser: Chrome) -> None:
    """In a browser, an allowed page saves and reads versions and conflicts; another page reads nothing."""
    with judging(shared.url) as judge:
        assert _run(browser, f"http://127.0.0.1:{pages}", judge.url) == [
            *(201, 200, '"2"', "page"),
            *(409, "1", 2),
        ]
        assert _run(browser, f"http://localhost:{pages}", judge.url) == "TypeError"


def _run(browser: Chrome, origin: str, url: str) -> Any:
    browser.get(origin)
    return browser.execute_async_script(PROGRAM, url)


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
