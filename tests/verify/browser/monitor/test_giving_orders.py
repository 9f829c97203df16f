"""The page /monitor: orders for one learner, a selection and all; two teachers at once."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.support.browser import chromium, found
from tests.support.validating_proxy import ValidatingProxy
from tests.support.waiting import eventually
from tests.verify.browser.monitor.room import (
    Exam,
    Learner,
    await_closed,
    await_state,
    choose,
    counts,
    open_exam,
    open_hall,
    press,
    send,
    text,
)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("chromedriver")]

# From now on a poll gets no reply.
NO_POLLS = """
const send = window.fetch;
window.fetch = (url, options) =>
  url.startsWith("api/sessions?") ? new Promise(() => {}) : send(url, options);
"""


@pytest.fixture
def page(exam: Exam, proxy: ValidatingProxy, browser: Chrome) -> Iterator[Chrome]:
    """The page with an exam of six; no response to it breaks the contract."""
    open_exam(browser, proxy.url, exam.quiz)
    yield browser
    assert proxy.violations == []


def session(exam: Exam, learner: Learner) -> dict[str, Any]:
    """Return the stored session of a learner, also after its end."""
    reply = exam.service.read(learner.session, {"cache-control": "no-cache"}).json()
    return dict(reply.get("session", reply))


def end(exam: Exam, learner: Learner) -> datetime:
    """Return the end of a learner's session."""
    return datetime.fromisoformat(session(exam, learner)["expires_at"])


def orders(exam: Exam, learner: Learner) -> list[dict[str, Any]]:
    """Return the lines of the orders in a session's history."""
    lines = exam.service.client.get(f"/api/sessions/{learner.session}/events").json()["items"]
    return [line for line in lines if line["type"] not in ("session.started", "session.saved")]


def write(browser: Chrome, name: str, value: str) -> None:
    """Replace the value of a field of the dialog."""
    field = found(browser, f"#order [name='{name}']")
    field.clear()
    field.send_keys(value)


def lose_responses(proxy: ValidatingProxy, count: int) -> None:
    """Lose the responses to the next orders that arrive, as a network that breaks."""
    first = proxy.requests
    proxy.faults = lambda number: "lost response" if first <= number < first + count else "none"


def sent(proxy: ValidatingProxy, operation: str) -> int:
    """Return the number of responses to an operation."""
    return [name for name, _ in proxy.responses].count(operation)


def test_one_learner_gets_more_time(exam: Exam, page: Chrome) -> None:
    """Two clicks give one learner ten more minutes; “Undo” takes them back."""
    learner, other = exam.learners[:2]
    before, untouched = end(exam, learner), end(exam, other)
    press(page, learner, "time")
    assert text(page, "#order-who") == "For 1 learner."
    assert text(page, "#order-send") == "Give 1 learner 10 minutes"
    send(page)
    assert end(exam, learner) == before + timedelta(minutes=10)
    assert text(page, "#notice span") == "1 learner: 10 minutes more."
    found(page, "#notice button").click()
    assert text(page, "#order-send") == "Take 10 minutes from 1 learner"
    send(page)
    assert (end(exam, learner), end(exam, other)) == (before, untouched)


def test_all_are_paused_and_resumed(exam: Exam, page: Chrome) -> None:
    """An order for everyone says how many it touches, and reaches them all with its reason."""
    assert exam.service.complete(exam.learners[0].session).status_code == 200
    eventually(lambda: counts(page)["done"] == 1)
    found(page, "[data-all='pause']").click()
    assert text(page, "#order-who") == "For everyone who is not done: 5 learners."
    write(page, "reason", "Fire alarm")
    send(page)
    eventually(lambda: counts(page)["paused"] == 5, lambda: counts(page))
    assert {session(exam, one)["status"] for one in exam.learners[1:]} == {"paused"}
    assert orders(exam, exam.learners[1])[0]["data"]["reason"] == "Fire alarm"
    found(page, "[data-all='resume']").click()
    send(page)
    eventually(lambda: counts(page)["working"] == 5, lambda: counts(page))


def test_a_selection_is_ended_and_given_its_end_back(exam: Exam, page: Chrome) -> None:
    """A selection is ended at once, also in its grace, and the order can be taken back."""
    chosen = exam.learners[1:3]
    before = [end(exam, one) for one in chosen]
    choose(page, *chosen)
    assert text(page, "#selected") == "2 learners selected"
    found(page, "[data-some='time']").click()
    found(page, "#order [value='endNow']").click()
    assert text(page, "#order-send") == "End the attempts of 2 learners now"
    send(page)
    assert [session(exam, one)["ended_by"] for one in chosen] == ["proctor"] * 2
    await_state(page, chosen[0], "Ended by a teacher")
    found(page, "#notice button").click()
    send(page)
    assert [session(exam, one)["status"] for one in chosen] == ["in_progress"] * 2
    assert [end(exam, one) for one in chosen] == before


def test_an_end_has_a_time(exam: Exam, page: Chrome) -> None:
    """“End at” cannot be sent without a time, nor with one that has passed; a later one is the end."""
    learner = exam.learners[2]
    version = session(exam, learner)["version"]
    press(page, learner, "time")
    found(page, "#order [value='endAt']").click()
    found(page, "#order [name='end']").clear()
    found(page, "#order-send").click()
    assert text(page, "#order .error") == "Enter the new end: date and time."
    page.execute_script("document.querySelector('#order [name=end]').value = '2020-01-01T10:00'")
    found(page, "#order-send").click()
    assert text(page, "#order .error").startswith("This time has passed.")
    assert session(exam, learner)["version"] == version
    page.execute_script("document.querySelector('#order [name=end]').value = '2099-01-01T10:00'")
    assert "(GMT" in text(page, "#zone")
    send(page)
    wanted = page.execute_script("return new Date('2099-01-01T10:00').toISOString()")
    assert session(exam, learner)["expires_at"] == wanted


def test_an_attempt_is_reopened(exam: Exam, page: Chrome) -> None:
    """An attempt that was handed in runs again, with a reason, which the dialog demands."""
    learner = exam.learners[1]
    exam.service.complete(learner.session)
    await_state(page, learner, "Handed in")
    press(page, learner, "reopen")
    found(page, "#order-send").click()
    assert text(page, "#order .error") == "Enter a reason: the history shows it."
    write(page, "reason", "Handed in by mistake")
    write(page, "limit", "20")
    send(page)
    assert session(exam, learner)["status"] == "in_progress"
    await_state(page, learner, "Working")


def test_orders_survive_a_broken_network(exam: Exam, page: Chrome, proxy: ValidatingProxy) -> None:
    """An order whose reply is lost is repeated with its key: the learner gets the time once."""
    learner = exam.learners[3]
    before = end(exam, learner)
    press(page, learner, "time")
    lose_responses(proxy, 2)
    send(page)
    assert end(exam, learner) == before + timedelta(minutes=10)
    assert len(orders(exam, learner)) == 1


def test_partial_results_are_named(exam: Exam, page: Chrome) -> None:
    """Those of a selection who have handed in meanwhile are named with the reason; others are changed."""
    early, late = exam.learners[1:3]
    choose(page, early, late)
    found(page, "[data-some='pause']").click()
    assert text(page, "#order-who") == "For 2 learners."
    page.execute_script(NO_POLLS)
    assert exam.service.complete(early.session).status_code == 200
    found(page, "#order-send").click()
    eventually(lambda: "Not changed: 1." in text(page, "#order-result"), lambda: text(page, "#order"))
    assert f"{early.name} The learner has handed in." in text(page, ".refusals")
    assert session(exam, late)["status"] == "paused"


def test_two_teachers_see_each_other(exam: Exam, page: Chrome, tmp_path: Path) -> None:
    """Another teacher's order is shown with the next poll, also in an open dialog, which waits."""
    learner = exam.learners[2]
    with chromium(tmp_path / "other") as other:
        open_exam(other, exam.service.url, exam.quiz)
        press(page, learner, "time")
        press(other, learner, "pause")
        send(other)
        eventually(lambda: learner.name in text(page, "#order-changed"), lambda: text(page, "#order"))
        assert "by another teacher" in text(page, "#order-changed")
    found(page, "#order-send").click()
    assert text(page, "#order .error") == "Read what has changed, then send the order."
    found(page, "#order [data-close]").click()
    await_state(page, learner, "Paused")
    assert [line["type"] for line in orders(exam, learner)] == ["session.paused"]


def test_an_unfinished_order_is_repeated(exam: Exam, page: Chrome, proxy: ValidatingProxy) -> None:
    """An order that leaves a locked session out is repeated with its key until it has reached it.

    Undo leaves out an attempt that has started in between, which the order did not reach.
    """
    found(page, "[data-all='time']").click()
    before = [end(exam, one) for one in exam.learners]
    with exam.database.transaction():
        exam.database.execute(
            "select from quiz_sessions where id = %s for update", [exam.learners[3].session]
        )
        found(page, "#order-send").click()
        eventually(lambda: sent(proxy, "changeDeadlines") > 1, lambda: text(page, "#order-result"))
        late = exam.join("Late Learner")
        eventually(lambda: counts(page)["all"] == 7, lambda: counts(page))
    await_closed(page, "#order")
    assert text(page, "#notice span") == "6 learners: 10 minutes more."
    assert [end(exam, one) for one in exam.learners[:6]] == [one + timedelta(minutes=10) for one in before]
    undo = found(page, "#notice button")
    eventually(undo.is_displayed)
    undo.click()
    assert text(page, "#order-send") == "Take 10 minutes from 6 learners"
    send(page)
    assert [end(exam, one) for one in exam.learners[:6]] == before
    assert orders(exam, late) == []


def test_an_order_without_a_reply_is_sent_again_as_it_is(
    exam: Exam, page: Chrome, proxy: ValidatingProxy
) -> None:
    """After an order for everyone without any reply its fields are locked; sent again, none gets it twice."""
    before = [end(exam, one) for one in exam.learners]
    found(page, "[data-all='time']").click()
    proxy.faults = lambda _: "lost response"
    found(page, "#order-send").click()
    eventually(lambda: "none gets it twice" in text(page, "#order .error"), lambda: text(page, "#order"))
    assert not found(page, "#order [name='minutes']").is_enabled()
    assert not found(page, "#order [value='endNow']").is_enabled()
    proxy.faults = lambda _: "none"
    send(page)
    assert [end(exam, one) for one in exam.learners] == [one + timedelta(minutes=10) for one in before]
    assert {len(orders(exam, one)) for one in exam.learners} == {1}


def test_a_conflict_is_explained(exam: Exam, page: Chrome) -> None:
    """An order for an attempt that another teacher has just changed is not applied; a second click does."""
    learner = exam.learners[2]
    press(page, learner, "time")
    page.execute_script(NO_POLLS)
    exam.order("pause", learner)
    found(page, "#order-send").click()
    eventually(
        lambda: "It has changed meanwhile: now it is paused." in text(page, "#order-result"),
        lambda: text(page, "#order"),
    )
    assert [line["type"] for line in orders(exam, learner)] == ["session.paused"]
    send(page)
    assert [line["type"] for line in orders(exam, learner)] == ["session.paused", "session.deadline_changed"]


def test_a_save_is_no_conflict(exam: Exam, page: Chrome) -> None:
    """A learner who saves while the dialog is open causes no conflict, although the version has changed."""
    learner = exam.learners[4]
    press(page, learner, "pause")
    for _ in range(3):
        exam.save(learner)
    send(page)
    assert session(exam, learner)["status"] == "paused"


def test_ending_many_needs_a_confirmation(hall: Exam, proxy: ValidatingProxy, browser: Chrome) -> None:
    """“End now” for ten and more learners is sent only once its box is ticked."""
    open_hall(browser, proxy.url, hall.quiz)
    found(browser, "[data-all='time']").click()
    found(browser, "#order [value='endNow']").click()
    found(browser, "#order-send").click()
    assert text(browser, "#order .error") == "Confirm that so many attempts end."
    assert counts(browser)["working"] > 200
    browser.find_element(By.CSS_SELECTOR, "#order [data-close]").click()
    await_closed(browser, "#order")
