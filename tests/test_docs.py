"""Tests the served contract: its files, and the Swagger UI page in a real browser."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from session_service.api.contract import FILE
from tests.conformance import DOCUMENT, FILES, PATHS
from tests.judge import judging
from tests.service import Service

OPERATIONS = {
    (method, path, operation["operationId"])
    for path, item in PATHS.items()
    for method, operation in item.items()
}
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)
# A script that takes the refusal of its eval in silence leaves nothing on the console by itself.
REPORT = "addEventListener('securitypolicyviolation', event => console.error(event.violatedDirective))"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """A browser with a new profile that records its console and its requests."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Given the driver, selenium does not look for one on the net.
    with Chrome(options=options, service=ChromeService(shutil.which("chromedriver"))) as chrome:
        chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": REPORT})
        yield chrome


@pytest.mark.parametrize("path", FILES)
def test_each_file_is_served(service: Service, path: str) -> None:
    """The ETag of a file is the hash of its bytes, with any query; HEAD returns the same headers."""
    reply = service.client.get(path)
    assert reply.headers["etag"] == f'"{hashlib.sha256(reply.content).hexdigest()}"'
    assert reply.content
    for same in (service.client.head(path), service.client.get(path, params={"a": "b"})):
        assert same.status_code == 200
        assert _lasting(same) == _lasting(reply)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_known_is_not_sent_again(service: Service, path: str) -> None:
    """A client that names the ETag, alone, weak or among others, or `*`, gets 304; with another, the file."""
    etag = service.client.get(path).headers["etag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for method in ("GET", "HEAD"):
            reply = service.client.request(method, path, headers={"if-none-match": given})
            assert (reply.status_code, reply.headers["etag"]) == (304, etag)
    assert service.client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_file_is_only_read(service: Service, method: str) -> None:
    """Methods other than GET and HEAD are rejected, with Allow."""
    for path in FILES:
        reply = service.client.request(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs/index.html",
        "/docs/swagger-ui.js",
        "/docs/swagger-ui.css.map",
        "/docs/swagger-ui.css/",
        "/docs/%2e%2e/openapi.yaml",
        "/docs/..%2fdocs.py",
        "/docs%0A",
        "/openapi.yml",
    ],
)
def test_nothing_else_is_served(service: Service, path: str) -> None:
    """Every other path is unknown, also that of another file in the installed package."""
    assert service.client.get(service.url + path).status_code == 404


def test_the_contract_is_served_as_it_is(service: Service) -> None:
    """`/openapi.yaml` is the file, byte for byte, and `/openapi.json` the same document."""
    assert service.client.get("/openapi.yaml").content == FILE.read_bytes()
    assert service.client.get("/openapi.json").json() == DOCUMENT == yaml.safe_load(FILE.read_text())


def test_the_contract_makes_no_list_by_accident() -> None:
    """No line of prose starts with a number and a full stop: Markdown would make it a list."""
    assert re.findall(r"^ *\d+[.)] .*", FILE.read_text(), re.MULTILINE) == []


def test_no_file_refers_to_another_host(service: Service) -> None:
    """The page loads only files of the service, and these load nothing else."""
    texts = {path: service.client.get(path).text for path in FILES if path.startswith("/docs")}
    referred = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', texts["/docs"])
    # Relative, so that they lead to the same files behind a path prefix.
    assert {f"/{path}" for path in referred} == FILES.keys() - {"/docs", "/openapi.json"}
    for path in ("/docs", "/docs/page.css", "/docs/page.js"):
        assert "//" not in re.sub('"data:[^"]*"', "", texts[path]), path
    for path in ("/docs/page.css", "/docs/swagger-ui.css"):
        assert re.findall(r"@import|url\(\"?(?!\"?data:)", texts[path]) == [], path


@pytest.mark.needs("chromium")
@pytest.mark.needs("chromedriver")
def test_the_page_shows_each_operation(service: Service, browser: Chrome) -> None:
    """Method, path and operationId of each operation are visible; each opens, also on a phone."""
    names = ("method", "path", "operation-id")
    with judging(service.url) as judge:
        _open(judge.url, browser)
        shown = {
            tuple(block.find_element(By.CSS_SELECTOR, f".opblock-summary-{name}").text for name in names)
            for block in browser.find_elements(By.CSS_SELECTOR, ".opblock")
        }
        assert shown == OPERATIONS
        for _, _, operation in OPERATIONS:
            _opened(browser, operation)
        _check_width(browser)
        _check_records(judge.url, browser)


@pytest.mark.needs("chromium")
@pytest.mark.needs("chromedriver")
def test_the_page_is_good_for_trying(service: Service, browser: Chrome) -> None:
    """A session is started and an answer saved with the page; the service has both."""
    with judging(service.url) as judge:
        _open(judge.url, browser)
        started = _try(browser, "startSession", {"user_id": "page", "quiz_id": 7})
        assert started.startswith("201\n")
        location = re.search(r"^ location: /api/sessions/(\S+) $", started, re.MULTILINE)
        assert location, started
        saved = _try(browser, "updateProgress", {"question_id": 4, "answer": "typed"}, id=location[1])
        assert saved.startswith("200\n")
        session = service.read(location[1]).json()
        assert (session["user_id"], session["answers"], session["version"]) == ("page", {"4": "typed"}, 2)
        _check_width(browser)
        _check_records(judge.url, browser)


@pytest.mark.needs("chromium")
@pytest.mark.needs("chromedriver")
def test_an_operation_leads_to_the_errors(service: Service, browser: Chrome) -> None:
    """The link in an operation's description scrolls the page to the section with the errors."""
    with judging(service.url) as judge:
        _open(judge.url, browser)
        _found(_opened(browser, "updateProgress"), "a[href='#errors']").click()
        shown = "return document.querySelector('#errors').getBoundingClientRect().top"
        WebDriverWait(browser, 60, 0.1).until(lambda browser: 0 <= browser.execute_script(shown) < 100)


def _open(url: str, browser: Chrome) -> None:
    browser.get(f"{url}/docs")
    _found(browser, ".opblock-summary-operation-id", len(OPERATIONS))


def _opened(browser: Chrome, operation: str) -> WebElement:
    """Open an operation on the page if it is closed, and return its loaded block."""
    block = _found(browser, f".opblock[id$='-{operation}']")
    if not block.find_elements(By.CSS_SELECTOR, ".opblock-body"):
        block.find_element(By.CSS_SELECTOR, ".opblock-summary-method").click()
    _found(block, ".execute")
    # The references in an operation are resolved after it is shown: fields that are found before may go.
    _found(block, ".responses-table .response .renderedMarkdown")
    return block


def _try(browser: Chrome, operation: str, body: object, **parameters: str) -> str:
    """Fill in an operation's form, execute it, and return the displayed response."""
    block = _opened(browser, operation)
    for name, value in parameters.items():
        _type(_found(block, f"[data-param-name='{name}'] input"), value)
    _type(_found(block, "textarea"), json.dumps(body))
    _found(block, ".execute").click()
    return _found(block, ".live-responses-table .response").text


def _type(field: WebElement, text: str) -> None:
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(text)
    assert field.get_property("value") == text


def _found(place: Chrome | WebElement, selector: str, count: int = 1) -> WebElement:
    """Wait until the selector matches enough elements, and return the first."""

    def first(place: Chrome | WebElement) -> WebElement | Literal[False]:
        elements = place.find_elements(By.CSS_SELECTOR, selector)
        return elements[0] if len(elements) >= count else False

    return WebDriverWait(place, 60, 0.1).until(first, selector)


def _check_width(browser: Chrome) -> None:
    """Fail if the page is wider than the screen of a phone."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    assert browser.execute_script("return document.documentElement.scrollWidth") == PHONE["width"]


def _check_records(url: str, browser: Chrome) -> None:
    """Fail if the console has a warning or an error, or if a request went to another host."""
    log: Callable[[str], list[dict[str, Any]]] = browser.get_log
    assert log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in log("performance")]
    sent = [entry["params"] for entry in messages if entry["method"] == "Network.requestWillBeSent"]
    asked = [urlsplit(entry["request"]["url"]) for entry in sent]
    # The browser's own first page is made of chrome: URLs.
    assert {one.scheme for one in asked} <= {"http", "data", "chrome"}
    assert {one.netloc for one in asked if one.scheme == "http"} == {urlsplit(url).netloc}


def _lasting(reply: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name not in ("date", "x-request-id")}
