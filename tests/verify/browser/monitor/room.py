"""A simulated exam: learners in every state, and how the page at /monitor shows them."""

from typing import Any
from uuid import uuid4

import psycopg
from attrs import frozen
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.browser import found
from tests.support.orders import given
from tests.support.service import Service
from tests.support.waiting import eventually

FIRST = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Ken", "Frances", "Dennis")
LAST = (
    "Lovelace",
    "Hopper",
    "Turing",
    "Dijkstra",
    "Liskov",
    "Knuth",
    "Perlman",
    "Thompson",
    "Allen",
    "Ritchie",
)
COPY = """
    insert into quiz_sessions
    select (
      jsonb_populate_record(
        s,
        jsonb_build_object(
          'id', gen_random_uuid(), 'user_id', l.id, 'metadata', jsonb_build_object('name', l.name)
        )
      )
    ).*
    from quiz_sessions as s, unnest(%s::text[], %s::text[]) as l (name, id)
    where s.id = %s
    returning metadata ->> 'name', user_id, id
"""
LONG = 60  # minutes of rest that no test takes


@frozen
class Learner:
    """A learner of the exam, and the id of the session."""

    name: str
    user: str
    session: str


class Exam:
    """An exam with learners, of a quiz that no other test has."""

    def __init__(self, service: Service, database: psycopg.Connection) -> None:
        self.service = service
        self.database = database
        self.quiz = f"exam-{uuid4().hex[:8]}"
        self.learners: list[Learner] = []

    def join(self, name: str = "", **chosen: Any) -> Learner:
        """Let a learner start."""
        numbered, user = self._named(len(self.learners))
        name = name or numbered
        fields: dict[str, Any] = {"time_limit_seconds": 3600, "metadata": {"name": name}, **chosen}
        started = self.service.start(user_id=user, quiz_id=self.quiz, **fields)
        self.learners.append(Learner(name, user, str(started["id"])))
        return self.learners[-1]

    def fill(self, learners: int) -> None:
        """Let so many learners start; all but the first have saved ten answers.

        Those after the first fifty are copies in the database, which take less time.
        """
        for _ in range(min(learners, 50)):
            self.join()
        for learner in self.learners[1:]:
            self.save(learner, "laptop", {str(question): "a" for question in range(1, 11)})
        others = [self._named(place) for place in range(50, learners)]
        if others:
            self._copy(others)

    def _named(self, place: int) -> tuple[str, str]:
        number = f" {place // 100 + 1}" if place >= 100 else ""
        return f"{FIRST[place % 10]} {LAST[place // 10 % 10]}{number}", f"u{place:03}-{self.quiz}"

    def _copy(self, others: list[tuple[str, str]]) -> None:
        names, users = zip(*others, strict=True)
        rows = self.database.execute(COPY, [list(names), list(users), self.learners[-1].session]).fetchall()
        self.learners += [Learner(name, user, str(session)) for name, user, session in rows]

    def save(self, learner: Learner, device: str = "laptop", answers: dict[str, Any] | None = None) -> None:
        """Save answers of a learner from a device."""
        saved = self.service.save_many(learner.session, answers or {"1": "b"}, {"client-id": device})
        assert saved.status_code == 200, saved.text

    def rest(self, learner: Learner, minutes: int) -> None:
        """Move the times of a learner's session into the past, as if nothing had been saved since then."""
        self.database.execute(
            "update quiz_sessions set started_at = started_at - %(rest)s::interval, "
            "created_at = created_at - %(rest)s::interval, "
            "last_saved_at = last_saved_at - %(rest)s::interval where id = %(id)s",
            {"rest": f"{minutes} minutes", "id": learner.session},
        )

    def order(self, kind: str, learner: Learner, **body: Any) -> None:
        """Give an order as another teacher."""
        given(self.service, kind, learner.session, **body)

    def mix(self, minutes: int = 0) -> None:
        """Bring the first learners into every state; those who rest do so for more than these minutes."""
        for more, learner in zip((12, 7, 4, 9), self.learners[:4], strict=True):
            self.rest(learner, minutes + more)
        self.save(self.learners[4], "phone")
        for learner in self.learners[5:7]:
            self.order("pause", learner, reason="Fire alarm in the left wing")
        for learner in self.learners[7:16]:
            assert self.service.complete(learner.session).status_code == 200
        self.order("deadline", self.learners[16], extra_seconds=-86_400, reason="Left the room")


def open_exam(browser: Chrome, url: str, quiz: str, token: str = "") -> None:
    """Open the page, and the quiz with its form."""
    browser.get(f"{url}/monitor")
    field = found(browser, "#access[open] [name='quiz']")
    field.send_keys(quiz)
    if token:
        found(browser, "#access [name='token']").send_keys(token)
    found(browser, "#access .main").click()
    eventually(lambda: not found(browser, "#room").get_attribute("hidden"), lambda: text(browser, "body"))


def open_hall(browser: Chrome, url: str, quiz: str) -> None:
    """Open the large exam, in which learners are idle after an hour: the tests take less."""
    open_exam(browser, url, quiz)
    field = found(browser, "#idle")
    field.clear()
    field.send_keys(str(LONG))


def text(browser: Chrome, selector: str) -> str:
    """Return the text that an element shows."""
    return found(browser, selector).text


def row(browser: Chrome, learner: Learner) -> WebElement:
    """Return the row of a learner."""
    return found(browser, f"tr[data-id='{learner.session}']")


def state(browser: Chrome, learner: Learner) -> str:
    """Return the state of a learner as the page names it."""
    return row(browser, learner).find_element(By.CSS_SELECTOR, ".words").text


def await_state(browser: Chrome, learner: Learner, words: str) -> None:
    """Wait until the page shows a learner's state."""
    eventually(lambda: state(browser, learner).startswith(words), lambda: state(browser, learner))


def counts(browser: Chrome) -> dict[str, int]:
    """Return the numbers of the summary."""
    buttons = browser.find_elements(By.CSS_SELECTOR, "#summary button")
    return {
        str(one.get_attribute("data-filter")): int(
            one.find_element(By.CSS_SELECTOR, ".count").text.replace(",", "")
        )
        for one in buttons
        if one.is_displayed()
    }


def press(browser: Chrome, learner: Learner, kind: str) -> None:
    """Press a button in the row of a learner."""
    reach(browser, learner).find_element(By.CSS_SELECTOR, f"[data-one='{kind}']").click()


def reach(browser: Chrome, learner: Learner) -> WebElement:
    """Scroll the row of a learner to the middle of the window, where nothing covers it, and return it."""
    element = row(browser, learner)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return element


def choose(browser: Chrome, *learners: Learner) -> None:
    """Select learners."""
    for learner in learners:
        reach(browser, learner).find_element(By.CSS_SELECTOR, "input").click()


def send(browser: Chrome) -> None:
    """Send the order of the open dialog, and wait until the dialog has gone."""
    found(browser, "#order-send").click()
    await_closed(browser, "#order")


def await_closed(browser: Chrome, dialog: str) -> None:
    """Wait until a dialog is closed."""
    shown = f"return document.querySelector('{dialog}').open"
    eventually(lambda: not browser.execute_script(shown), lambda: text(browser, dialog))
