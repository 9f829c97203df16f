"""Tests of the Swagger UI page in a browser: operations are shown, can be tried, and link to their errors."""

import re
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.conftest import Urls
from tests.support.browser import (
    OPERATIONS,
    check_records,
    check_width,
    found,
    open_operation,
    open_page,
    try_operation,
)
from tests.support.proxies import behind_nginx
from tests.support.service import Service, running
from tests.support.validating_proxy import validating_proxy

PREFIX = "/quiz"

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("chromedriver")]


@pytest.fixture(scope="module")
def prefixed(migrated: Urls) -> Iterator[Service]:
    """A service with ROOT_PATH."""
    with running(migrated, ROOT_PATH=PREFIX) as service:
        yield service


def test_the_page_shows_each_operation(service: Service, browser: Chrome) -> None:
    """Method, path and operationId of each operation are visible; each opens, also on a phone."""
    names = ("method", "path", "operation-id")
    with validating_proxy(service.url) as proxy:
        open_page(proxy.url, browser)
        shown = {
            tuple(block.find_element(By.CSS_SELECTOR, f".opblock-summary-{name}").text for name in names)
            for block in browser.find_elements(By.CSS_SELECTOR, ".opblock")
        }
        assert shown == OPERATIONS
        for _, _, operation in OPERATIONS:
            open_operation(browser, operation)
        check_width(browser)
        check_records(proxy.url, browser)


def test_operations_can_be_tried(service: Service, browser: Chrome) -> None:
    """With the page a session is started and an answer saved."""
    with validating_proxy(service.url) as proxy:
        open_page(proxy.url, browser)
        started = try_operation(browser, "startSession", {"user_id": "page", "quiz_id": 7})
        assert started.startswith("201\n")
        location = re.search(r"^ location: /api/sessions/(\S+) $", started, re.MULTILINE)
        assert location, started
        saved = try_operation(
            browser, "updateProgress", {"question_id": 4, "answer": "typed"}, id=location[1]
        )
        assert saved.startswith("200\n")
        session = service.read(location[1]).json()
        assert (session["user_id"], session["answers"], session["version"]) == ("page", {"4": "typed"}, 2)
        check_width(browser)
        check_records(proxy.url, browser)


def test_operations_link_to_the_errors(service: Service, browser: Chrome) -> None:
    """The link in an operation's description scrolls the page to the section with the errors."""
    with validating_proxy(service.url) as proxy:
        open_page(proxy.url, browser)
        found(open_operation(browser, "updateProgress"), "a[href='#errors']").click()
        shown = "return document.querySelector('#errors').getBoundingClientRect().top"
        WebDriverWait(browser, 60, 0.1).until(lambda browser: 0 <= browser.execute_script(shown) < 100)


@pytest.mark.needs("nginx")
def test_operations_can_be_tried_under_the_root_path(prefixed: Service, browser: Chrome) -> None:
    """Behind a prefix a session is started with the page."""
    with behind_nginx(prefixed, PREFIX, "/") as client:
        open_page(f"{client.base_url}{PREFIX}", browser)
        started = try_operation(browser, "startSession", {"user_id": "prefix", "quiz_id": 7})
        location = re.search(rf"^ location: {PREFIX}/api/sessions/(\S+) $", started, re.MULTILINE)
        assert location, started
        assert prefixed.read(location[1]).json()["user_id"] == "prefix"
