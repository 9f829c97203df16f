"""The page /monitor: what it shows of an exam with 300 learners, how it polls, and what it keeps."""

from itertools import pairwise
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.browser import check_records, check_width, found
from tests.support.validating_proxy import ValidatingProxy
from tests.support.waiting import eventually
from tests.verify.browser.monitor.room import (
    Exam,
    await_state,
    counts,
    open_exam,
    open_hall,
    press,
    reach,
    row,
    state,
    text,
)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("chromedriver")]

# Notes the moments of the page's requests for the list.
RECORD = """
window.polls = [];
const send = window.fetch;
window.fetch = (url, options) => {
  if (String(url).startsWith("api/sessions?")) window.polls.push(performance.now());
  return send(url, options);
};
"""


def shown(browser: Chrome) -> list[str]:
    """Return the names of the learners, in the order of the rows."""
    script = "return [...document.querySelectorAll('#rows .name')].map((one) => one.textContent)"
    return list(browser.execute_script(script))


def touch(browser: Chrome, element: WebElement) -> None:
    """Touch an element, in its name, with one finger."""
    name = element.find_element(By.CSS_SELECTOR, ".name")
    place = browser.execute_script("return arguments[0].getBoundingClientRect()", name)
    point = {"x": place["x"] + 1, "y": place["y"] + 1}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def lists(proxy: ValidatingProxy) -> list[int]:
    """Return the statuses of the responses to the polls."""
    return [status for request, status in proxy.responses if request == "listSessions"]


def test_an_exam_of_300_is_shown_with_its_states(hall: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """The summary counts 300 learners by their states; those who need attention come first."""
    open_hall(browser, proxy.url, hall.quiz)
    assert counts(browser) == {
        "all": 300,
        "attention": 5,
        "unsaved": 1,
        "idle": 3,
        "working": 284,
        "paused": 2,
        "done": 10,
    }
    first = {learner.name for learner in hall.learners[:5]}
    assert set(shown(browser)[:5]) == first
    assert state(browser, hall.learners[0]).startswith("Never saved for 1 h ")
    assert state(browser, hall.learners[1]).startswith("Idle for 1 h ")
    assert state(browser, hall.learners[5]).startswith("Paused ")
    assert state(browser, hall.learners[7]).startswith("Handed in ")
    assert state(browser, hall.learners[16]).startswith("Ended by a teacher ")
    assert "New device" in row(browser, hall.learners[4]).text
    assert row(browser, hall.learners[20]).find_element(By.CSS_SELECTOR, ".answered").text == "10"
    check_width(browser)
    check_records(proxy.url, browser)
    assert proxy.violations == []


def test_filters_search_and_sort(hall: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """A count is a filter, the search finds names and user ids, and a threshold makes learners idle."""
    open_hall(browser, proxy.url, hall.quiz)
    found(browser, "[data-filter='paused']").click()
    assert set(shown(browser)) == {learner.name for learner in hall.learners[5:7]}
    found(browser, "[data-filter='all']").click()
    found(browser, "#search").send_keys(hall.learners[42].user.upper())
    assert shown(browser) == [hall.learners[42].name]
    found(browser, "#search").clear()
    found(browser, "#search").send_keys("TURING")
    assert len(shown(browser)) == 30
    found(browser, "[data-sort='name']").click()
    assert shown(browser) == sorted(
        shown(browser), key=lambda name: (name.removesuffix(" 2").removesuffix(" 3"), name)
    )
    assert counts(browser)["idle"] == 3
    field = found(browser, "#idle")
    field.clear()
    field.send_keys("120")
    assert counts(browser)["idle"] == 0


def test_a_learner_goes_idle_under_the_eyes_of_the_page(
    exam: Exam, proxy: ValidatingProxy, browser: Chrome
) -> None:
    """A learner without a save for some minutes becomes idle, and works again with the next save."""
    open_exam(browser, proxy.url, exam.quiz)
    learner = exam.learners[2]
    await_state(browser, learner, "Working")
    exam.rest(learner, 5)
    await_state(browser, learner, "Idle for 5 min")
    exam.save(learner)
    await_state(browser, learner, "Working")


def test_the_page_polls_every_five_seconds_with_its_etag(
    exam: Exam, proxy: ValidatingProxy, browser: Chrome
) -> None:
    """Two polls are at least five seconds apart, and a poll without a change is answered with 304."""
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD})
    open_exam(browser, proxy.url, exam.quiz)
    eventually(lambda: lists(proxy)[:3] == [200, 304, 304], lambda: proxy.responses)
    moments = browser.execute_script("return window.polls")
    # Timers of a browser may come a fraction of a millisecond early.
    assert all(late - early > 4990 for early, late in pairwise(moments)), moments
    check_records(proxy.url, browser)


def test_rows_stay_under_the_pointer(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """While the pointer is among the rows none moves; the page says how many would, and offers it."""
    open_exam(browser, proxy.url, exam.quiz)
    before = shown(browser)
    last = next(one for one in exam.learners if one.name == before[-1])
    ActionChains(browser).move_to_element(reach(browser, exam.learners[3])).perform()
    exam.rest(last, 30)
    await_state(browser, last, "Idle for 30 min")
    assert shown(browser) == before
    assert text(browser, "#resort") == "1 row would move: sort now"
    found(browser, "#resort").click()
    assert shown(browser)[0] == last.name
    assert not found(browser, "#resort").is_displayed()


def test_rows_stay_under_a_finger(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """While a finger touches the rows none moves; once it rests, they move by themselves."""
    open_exam(browser, proxy.url, exam.quiz)
    # The mouse stands where it has clicked last, which may be above the rows.
    ActionChains(browser).move_to_element(found(browser, "#quiz")).perform()
    before = shown(browser)
    last = next(one for one in exam.learners if one.name == before[-1])
    exam.rest(last, 30)

    def idle_under_touches() -> bool:
        touch(browser, reach(browser, exam.learners[3]))
        return state(browser, last).startswith("Idle for 30 min")

    eventually(idle_under_touches)
    assert shown(browser) == before
    eventually(lambda: shown(browser)[0] == last.name, lambda: shown(browser))


def test_a_hidden_tab_asks_less_often(
    hall: Exam, exam: Exam, proxy: ValidatingProxy, browser: Chrome
) -> None:
    """While the page in front polls three times, one in a hidden tab does not; in front again it does."""
    open_exam(browser, proxy.url, exam.quiz)
    browser.execute_script(RECORD)
    hidden = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD})
    open_exam(browser, proxy.url, hall.quiz)
    polls = "return window.polls.length"
    # A poll of 300 attempts has three requests.
    eventually(lambda: browser.execute_script(polls) > 9)
    browser.switch_to.window(hidden)
    # Switching may have brought the tab to the front.
    assert browser.execute_script(polls) <= 1
    browser.execute_cdp_cmd("Page.bringToFront", {})
    eventually(lambda: browser.execute_script(polls) > 1)


def test_the_history_is_one_click_away(hall: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """The history has saves, devices and orders in readable lines; a look settles a changed device."""
    open_hall(browser, proxy.url, hall.quiz)
    press(browser, hall.learners[4], "history")
    eventually(lambda: "Changed the device: from laptop to phone" in text(browser, "#history-lines"))
    lines = [one.text.split("\n")[1] for one in browser.find_elements(By.CSS_SELECTOR, "#history-lines li")]
    assert lines[:2] == ["Saved once, 1 question", "Changed the device: from laptop to phone"]
    assert lines[2:3] == ["Saved once, 10 questions"]
    found(browser, "#history [data-close]").click()
    assert "2 devices" in row(browser, hall.learners[4]).text
    assert counts(browser)["attention"] == 4
    press(browser, hall.learners[5], "history")
    eventually(lambda: "Fire alarm in the left wing" in text(browser, "#history-lines"))
    check_records(proxy.url, browser)


def test_a_name_with_markup_is_text(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """A name with markup is shown as it is, in the table, the dialog and the history, and runs no script."""
    markup = "<img src=x onerror=\"document.title='run'\"><b>Bobby</b>"
    learner = exam.join(markup)
    open_exam(browser, proxy.url, exam.quiz)
    assert row(browser, learner).find_element(By.CSS_SELECTOR, ".name").text == markup
    press(browser, learner, "pause")
    assert text(browser, "#order-names") == markup
    browser.execute_script("document.querySelector('#order').close()")
    press(browser, learner, "history")
    assert text(browser, "#history-title") == markup
    assert "run" not in browser.title
    check_records(proxy.url, browser)


def test_nothing_is_stored(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """The page has no storage, no cookie, and neither its address nor its history gets a value."""
    open_exam(browser, proxy.url, exam.quiz)
    kept: list[Any] = browser.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([indexedDB.databases(), caches.keys()]).then(([databases, stores]) => done("
        "[localStorage.length, sessionStorage.length, document.cookie, databases.length, stores.length]))"
    )
    assert kept == [0, 0, "", 0, 0]
    assert browser.current_url == f"{proxy.url}/monitor"


def test_the_newest_thousand_are_shown(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """Of more than 1000 attempts the page shows the newest, and marks one that is no longer listed."""
    exam.fill(994)
    open_exam(browser, proxy.url, exam.quiz)
    assert counts(browser)["all"] == 1000
    assert not found(browser, "#more").is_displayed()
    exam.join("Late Learner")
    eventually(lambda: counts(browser).get("unlisted") == 1, lambda: counts(browser))
    assert text(browser, "#more").startswith("These are the newest 1,000 of 1,001 attempts.")
    assert "Late Learner" in shown(browser)


def test_an_erased_attempt_leaves_the_page(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """Of a session that was erased meanwhile neither the name nor the count stays."""
    open_exam(browser, proxy.url, exam.quiz)
    erased = exam.learners[2]
    assert erased.name in shown(browser)
    exam.database.execute("delete from quiz_sessions where id = %s", [erased.session])
    eventually(lambda: counts(browser)["all"] == 5, lambda: counts(browser))
    assert erased.name not in shown(browser)


def test_an_attempt_comes_back_as_it_is(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """An attempt that has left the list of a status, and is listed again, is shown with its state."""
    open_exam(browser, proxy.url, exam.quiz)
    learner = exam.learners[2]
    load = (
        "const field = document.querySelector('#status'); field.value = arguments[0];"
        "field.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(load, "paused")
    eventually(lambda: counts(browser)["all"] == 0, lambda: counts(browser))
    browser.execute_script(load, "")
    eventually(lambda: counts(browser)["all"] == 6, lambda: counts(browser))
    assert state(browser, learner).startswith("Working")
    assert "No longer listed" not in text(browser, "#rows")
