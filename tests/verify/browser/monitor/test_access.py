"""The page /monitor: tokens, windows of other origins, a service that restarts, and a token that expires."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from selenium.webdriver import Chrome

from tests.conftest import Urls
from tests.support.browser import check_records, found
from tests.support.issuer import KEY, token_settings
from tests.support.proxies import nginx
from tests.support.service import Service, free_port, running
from tests.support.validating_proxy import validating_proxy
from tests.support.waiting import eventually
from tests.verify.browser.monitor.room import Exam, counts, open_exam, press, row, send, text

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("chromedriver")]

# The platform's page: it opens the monitor, and hands a token over once the monitor says that it is ready.
OPEN = """
const [url, access] = arguments;
window.ready = 0;
addEventListener("message", (event) => {
  if (event.data?.type !== "session-service-monitor-ready") return;
  window.ready += 1;
  event.source.postMessage({ type: "session-service-monitor-access", ...access }, event.origin);
});
window.monitor = window.open(url);
"""
TELL = "window.monitor.postMessage({ type: 'session-service-monitor-access', ...arguments[0] }, '*')"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def platform() -> Iterator[int]:
    """The port of the platform's pages; 127.0.0.1 and localhost are two origins."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def embedded(migrated: Urls, platform: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that needs tokens, and whose page takes them from one of the origins."""
    settings = token_settings(tmp_path_factory.mktemp("keys") / "jwks")
    with running(migrated, **settings, MONITOR_ORIGINS=f"http://127.0.0.1:{platform}") as service:
        yield service


def teacher(exam: Exam, **claims: Any) -> str:
    """Return the token of a teacher for the exam's quiz."""
    return KEY.token("teacher", scope="sessions:proctor", quiz_ids=[exam.quiz], **claims)


def to_other(browser: Chrome) -> str:
    """Switch to the other window, and return the handle of this one."""
    current = browser.current_window_handle
    (other,) = set(browser.window_handles) - {current}
    browser.switch_to.window(other)
    return current


def test_a_token_is_pasted(exam: Exam, embedded: Service, browser: Chrome) -> None:
    """A pasted token opens the exam; one with an accent, and one that the service rejects, are explained."""
    browser.get(f"{embedded.url}/monitor")
    found(browser, "#access[open] [name='quiz']").send_keys(exam.quiz)
    found(browser, "#access [name='token']").send_keys("tokén")
    found(browser, "#access .main").click()
    assert text(browser, "#access .error").startswith("This is no token: it has a character")
    field = found(browser, "#access [name='token']")
    field.clear()
    field.send_keys("wrong")
    found(browser, "#access .main").click()
    eventually(lambda: "does not accept it" in text(browser, "#access-why"), lambda: text(browser, "body"))
    found(browser, "#access [name='token']").send_keys(f"Bearer {teacher(exam)}")
    found(browser, "#access .main").click()
    eventually(lambda: counts(browser).get("all") == 6, lambda: text(browser, "body"))
    kept = browser.execute_script(
        "return [localStorage.length, sessionStorage.length, location.href, document.cookie]"
    )
    assert kept == [0, 0, f"{embedded.url}/monitor", ""]


def test_another_quiz_is_refused(exam: Exam, embedded: Service, browser: Chrome) -> None:
    """An order of a token for another quiz is refused with a sentence, and changes nothing."""
    token = KEY.token("reader", scope="sessions:read")
    open_exam(browser, embedded.url, exam.quiz, token)
    press(browser, exam.learners[1], "pause")
    found(browser, "#order-send").click()
    eventually(
        lambda: "The token does not allow this." in text(browser, "#order-result"),
        lambda: text(browser, "#order"),
    )


def test_the_platform_hands_a_token_over(
    exam: Exam, embedded: Service, platform: int, browser: Chrome
) -> None:
    """A window of an allowed origin that opens the page hands over token and quiz."""
    browser.get(f"http://127.0.0.1:{platform}")
    browser.execute_script(OPEN, f"{embedded.url}/monitor", {"token": teacher(exam), "quiz_id": exam.quiz})
    to_other(browser)
    eventually(lambda: counts(browser).get("all") == 6, lambda: text(browser, "body"))
    assert browser.current_url == f"{embedded.url}/monitor"


def test_another_origin_hands_nothing_over(
    exam: Exam, embedded: Service, platform: int, browser: Chrome
) -> None:
    """A window of another origin gets no message from the page, and its messages are ignored."""
    browser.get(f"http://localhost:{platform}")
    access = {"token": teacher(exam), "quiz_id": exam.quiz}
    browser.execute_script(OPEN, f"{embedded.url}/monitor", access)
    first = to_other(browser)
    found(browser, "#access[open]")
    browser.switch_to.window(first)
    browser.execute_script(TELL, access)
    assert browser.execute_script("return window.ready") == 0
    to_other(browser)
    # A message is delivered before a script that comes after it.
    browser.execute_async_script("setTimeout(arguments[0], 200)")
    assert found(browser, "#access").get_property("open")
    assert not found(browser, "#room").is_displayed()


def test_a_later_token_does_not_switch_the_exam(
    exam: Exam, embedded: Service, platform: int, browser: Chrome, operator: psycopg.Connection
) -> None:
    """A token for another quiz leaves the exam that a teacher is steering; a click shows the other one."""
    other = Exam(exam.service, operator)
    other.fill(2)
    browser.get(f"http://127.0.0.1:{platform}")
    browser.execute_script(OPEN, f"{embedded.url}/monitor", {"token": teacher(exam), "quiz_id": exam.quiz})
    first = to_other(browser)
    eventually(lambda: counts(browser).get("all") == 6)
    browser.switch_to.window(first)
    browser.execute_script(TELL, {"token": teacher(other), "quiz_id": other.quiz})
    to_other(browser)
    eventually(lambda: other.quiz in text(browser, "#notice"))
    assert text(browser, "#quiz") == f"Quiz {exam.quiz}"
    press(browser, exam.learners[1], "pause")
    send(browser)
    found(browser, "#notice .close").click()
    browser.switch_to.window(first)
    browser.execute_script(TELL, {"token": teacher(other), "quiz_id": other.quiz})
    to_other(browser)
    eventually(lambda: other.quiz in text(browser, "#notice"))
    found(browser, "#notice button").click()
    eventually(lambda: counts(browser).get("all") == 2)


def test_a_token_expires_under_the_page(exam: Exam, embedded: Service, browser: Chrome) -> None:
    """Once the token has expired the page asks for another one, and keeps what was typed and selected."""
    open_exam(browser, embedded.url, exam.quiz, teacher(exam, exp=int(time.time()) + 8))
    press(browser, exam.learners[1], "pause")
    found(browser, "#order [name='reason']").send_keys("Lost the key")
    eventually(lambda: found(browser, "#access").get_property("open"))
    assert text(browser, "#access-title") == "A new token is needed"
    found(browser, "#access [name='token']").send_keys(teacher(exam))
    found(browser, "#access .main").click()
    assert found(browser, "#order [name='reason']").get_property("value") == "Lost the key"
    send(browser)
    lines = exam.service.client.get(f"/api/sessions/{exam.learners[1].session}/events").json()["items"]
    assert (lines[-1]["data"]["reason"], lines[-1]["actor"]["subject"]) == ("Lost the key", "teacher")


def test_the_service_restarts_under_the_page(exam: Exam, migrated: Urls, browser: Chrome) -> None:
    """While the service is away the page keeps its rows and says since when; it goes on by itself."""
    port = str(free_port())
    with running(migrated, PORT=port) as service:
        open_exam(browser, service.url, exam.quiz)
        assert counts(browser)["all"] == 6
    eventually(lambda: found(browser, "#stale").is_displayed())
    assert text(browser, "#stale").startswith("Not up to date since ")
    assert row(browser, exam.learners[3]).is_displayed()
    with running(migrated, PORT=port):
        eventually(lambda: not found(browser, "#stale").is_displayed())
        exam.service.complete(exam.learners[3].session)
        eventually(lambda: counts(browser)["done"] == 1)


def test_the_page_waits_after_a_429(exam: Exam, migrated: Urls, browser: Chrome, tmp_path: Path) -> None:
    """Beyond the rate limit the page says so, waits as long as `Retry-After` says, and goes on by itself."""
    settings = token_settings(tmp_path / "jwks")
    with (
        running(migrated, **settings, SERVICE_RATE_LIMIT="3") as service,
        validating_proxy(service.url) as proxy,
    ):
        open_exam(browser, proxy.url, exam.quiz, teacher(exam))
        eventually(lambda: found(browser, "#stale").is_displayed())
        assert "Too many requests with this token." in text(browser, "#stale")
        eventually(lambda: not found(browser, "#stale").is_displayed())
        statuses = [status for _, status in proxy.responses]
    # A place is free every 20 seconds: a page that did not wait would be refused again every five.
    refused = statuses.index(429)
    assert statuses[refused : refused + 2] == [429, 304]


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("target", ["/", ""], ids=["stripped", "left on"])
def test_the_page_works_below_a_prefix(exam: Exam, migrated: Urls, browser: Chrome, target: str) -> None:
    """Behind a proxy with a prefix, which it strips or not, the page loads, polls and gives an order."""
    with (
        running(migrated, ROOT_PATH="/quiz") as service,
        nginx(f"location /quiz/ {{ proxy_pass {service.url}{target}; }}") as url,
    ):
        open_exam(browser, f"{url}/quiz", exam.quiz)
        assert counts(browser)["all"] == 6
        press(browser, exam.learners[1], "pause")
        send(browser)
        check_records(url, browser)
    assert exam.service.read(exam.learners[1].session).json()["status"] == "paused"


def test_a_guarded_page_breaks_no_policy(exam: Exam, embedded: Service, browser: Chrome) -> None:
    """With a token the page asks no other host, and violates no rule of its content security policy."""
    open_exam(browser, embedded.url, exam.quiz, teacher(exam))
    press(browser, exam.learners[0], "history")
    check_records(embedded.url, browser)
