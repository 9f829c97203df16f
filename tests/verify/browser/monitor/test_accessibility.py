"""The page /monitor for everyone: axe-core finds nothing, the keyboard is enough, each screen fits."""

import json
from typing import Any

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from dev.reaper import ROOT
from tests.support.browser import found
from tests.support.service import Service
from tests.support.waiting import eventually
from tests.verify.browser.monitor.room import Exam, await_closed, choose, press, row, text

AXE = ROOT / "tests/verify/browser/npm/node_modules/axe-core/axe.min.js"
pytestmark = [pytest.mark.needs(tool) for tool in ("chromium", "chromedriver", str(AXE))]
RUN = """
const done = arguments[0];
axe.run().then(({violations}) => done(violations), (error) => done(String(error)));
"""
WIDTHS = {"phone": (390, 844), "laptop": (1280, 900), "projector": (1920, 1080)}


def violations(browser: Chrome) -> list[tuple[str, str]]:
    """Return the rules of axe-core that the page breaks now, each with its first element."""
    found_by_axe: list[dict[str, Any]] = browser.execute_async_script(RUN)
    assert isinstance(found_by_axe, list), found_by_axe
    return [(one["id"], json.dumps(one["nodes"][0], indent=1)[:1500]) for one in found_by_axe]


def screen(browser: Chrome, name: str, scheme: str) -> None:
    """Show the page on a kind of screen, light or dark."""
    width, height = WIDTHS[name]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", WIDTHS)
def test_axe_finds_nothing(service: Service, hall: Exam, browser: Chrome, name: str, scheme: str) -> None:
    """axe-core finds nothing in form, room, selection, order and history; no screen is too narrow."""
    screen(browser, name, scheme)
    browser.get(f"{service.url}/monitor")
    browser.execute_script(AXE.read_text())
    found(browser, "#access[open]")
    assert violations(browser) == []
    browser.find_element(By.NAME, "quiz").send_keys(hall.quiz, Keys.ENTER)
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#rows tr")) == 300)
    # The other rows are like those of the first hundred, and axe-core would take its time for them.
    found(browser, "#search").send_keys("u00")
    choose(browser, hall.learners[3])
    assert violations(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") == WIDTHS[name][0]
    press(browser, hall.learners[1], "time")
    assert violations(browser) == []
    found(browser, "#order [value='endNow']").click()
    assert violations(browser) == []
    browser.find_element(By.CSS_SELECTOR, "#order [data-close]").click()
    press(browser, hall.learners[4], "history")
    eventually(lambda: "device" in text(browser, "#history-note"))
    assert violations(browser) == []


def focus(browser: Chrome) -> str:
    """Return the name of the element with the focus."""
    return str(browser.switch_to.active_element.accessible_name)


def test_the_keyboard_is_enough(exam: Exam, service: Service, browser: Chrome) -> None:
    """With the keyboard alone an exam is opened and a learner paused; the focus comes back to the row."""
    exam.rest(exam.learners[3], 30)
    browser.get(f"{service.url}/monitor")
    found(browser, "#access[open]")
    browser.switch_to.active_element.send_keys(exam.quiz, Keys.ENTER)
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#rows tr")) == 6)
    found(browser, "#rows input").send_keys(Keys.TAB)
    learner = exam.learners[3]
    assert focus(browser) == f"Time… for {learner.name}"
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert not focus(browser).endswith(learner.name)
    browser.switch_to.active_element.send_keys(Keys.ARROW_UP)
    assert focus(browser) == f"Pause… for {learner.name}"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert focus(browser) == "Reason (optional)"
    browser.switch_to.active_element.send_keys("Left the room", Keys.ENTER)
    await_closed(browser, "#order")
    eventually(lambda: "Paused" in row(browser, learner).text)
    assert browser.execute_script("return document.activeElement.closest('tr').dataset.id") == learner.session
