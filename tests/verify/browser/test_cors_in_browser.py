"""Tests CORS in a browser: a page of an allowed origin works, a page of another origin reads nothing."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from selenium.webdriver import Chrome

from tests.conftest import Urls
from tests.support.service import Service, running
from tests.support.validating_proxy import validating_proxy

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("chromedriver")]

# A page's script: it starts a session, and saves an answer onto its version and onto an old one.
SCRIPT = """
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
    """The port of a server of pages; 127.0.0.1 and localhost are two origins."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def cors_service(migrated: Urls, pages: int) -> Iterator[Service]:
    """A service that allows one of the origins."""
    with running(migrated, CORS_ORIGINS=f"http://127.0.0.1:{pages}") as service:
        yield service


def test_cors_in_a_browser(cors_service: Service, pages: int, browser: Chrome) -> None:
    """In a browser, an allowed page saves and reads versions and conflicts; another page reads nothing."""
    with validating_proxy(cors_service.url) as proxy:
        assert _run(browser, f"http://127.0.0.1:{pages}", proxy.url) == [
            *(201, 200, '"2"', "page"),
            *(409, "1", 2),
        ]
        assert _run(browser, f"http://localhost:{pages}", proxy.url) == "TypeError"


def _run(browser: Chrome, origin: str, url: str) -> Any:
    browser.get(origin)
    return browser.execute_async_script(SCRIPT, url)
