"""A headless Chromium with chromedriver, and actions on the Swagger UI page."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.conformance import PATHS
from tests.support.waiting import LIMIT

OPERATIONS = {
    (method, path, operation["operationId"])
    for path, item in PATHS.items()
    for method, operation in item.items()
}
_FLAGS = (
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
# A script that catches the error of a blocked eval writes nothing to the console.
_REPORT = "addEventListener('securitypolicyviolation', event => console.error(event.violatedDirective))"
_PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[Chrome]:
    """Run a browser with the profile that records its console and its requests."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*_FLAGS, f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Without the path of the driver, selenium downloads one.
    with Chrome(options=options, service=ChromeService(shutil.which("chromedriver"))) as chrome:
        chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _REPORT})
        chrome.set_script_timeout(LIMIT)
        yield chrome


def open_page(url: str, browser: Chrome) -> None:
    """Open the Swagger UI page, and wait until each operation is shown."""
    browser.get(f"{url}/docs")
    found(browser, ".opblock-summary-operation-id", len(OPERATIONS))


def open_operation(browser: Chrome, operation: str) -> WebElement:
    """Open an operation on the page if it is closed, and return its loaded block."""
    block = found(browser, f".opblock[id$='-{operation}']")
    if not block.find_elements(By.CSS_SELECTOR, ".opblock-body"):
        block.find_element(By.CSS_SELECTOR, ".opblock-summary-method").click()
    found(block, ".execute")
    # References are resolved after an operation is shown, which replaces its fields.
    found(block, ".responses-table .response .renderedMarkdown")
    return block


def try_operation(browser: Chrome, operation: str, body: object, **parameters: str) -> str:
    """Fill in an operation's form, execute it, and return the displayed response."""
    block = open_operation(browser, operation)
    for name, value in parameters.items():
        _type(found(block, f"[data-param-name='{name}'] input"), value)
    _type(found(block, "textarea"), json.dumps(body))
    found(block, ".execute").click()
    return found(block, ".live-responses-table .response").text


def _type(field: WebElement, text: str) -> None:
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(text)
    assert field.get_property("value") == text


def found(place: Chrome | WebElement, selector: str, count: int = 1) -> WebElement:
    """Wait until the selector matches enough elements, and return the first."""

    def first(place: Chrome | WebElement) -> WebElement | Literal[False]:
        elements = place.find_elements(By.CSS_SELECTOR, selector)
        return elements[0] if len(elements) >= count else False

    return WebDriverWait(place, 60, 0.1).until(first, selector)


def check_width(browser: Chrome) -> None:
    """Fail if the page is wider than the screen of a phone."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", _PHONE)
    assert browser.execute_script("return document.documentElement.scrollWidth") == _PHONE["width"]


def check_records(url: str, browser: Chrome) -> None:
    """Fail if the console has a warning or an error, or if a request went to another host."""
    log: Callable[[str], list[dict[str, Any]]] = browser.get_log
    assert log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in log("performance")]
    sent = [entry["params"] for entry in messages if entry["method"] == "Network.requestWillBeSent"]
    requested = [urlsplit(entry["request"]["url"]) for entry in sent]
    # The browser's own first page is made of chrome: URLs.
    assert {one.scheme for one in requested} <= {"http", "data", "chrome"}
    assert {one.netloc for one in requested if one.scheme == "http"} == {urlsplit(url).netloc}
