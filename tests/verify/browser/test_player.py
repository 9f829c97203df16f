"""The quiz player of examples/ in a browser: through a cut network, on two devices, in two tabs."""

import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from attrs import frozen
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.browser import check_width, chromium, found
from tests.support.service import Service, running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.needs(tool) for tool in ("node", "chromium", "chromedriver")]

# On a host that is not localhost a page on plain http has neither locks nor `crypto.randomUUID`.
INSECURE = "player.test"
FLAG = f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1"
ANSWERS: dict[str, Any] = {
    "capital": "Paris",
    "planet": "Jupiter",
    "primes": ["2", "11"],
    "product": 144,
    "reason": "The axis is tilted,\nnot the distance.",
}


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@frozen
class Player:
    """The page, for a new user, and the service that it uses."""

    port: int
    service: Service
    user: str

    def open(self, browser: Chrome, host: str = "127.0.0.1") -> None:
        """Open the page, and wait until the attempt is open."""
        browser.get(f"http://{host}:{self.port}/?user={self.user}&quiz=q1&service={self.service.url}")
        await_status(browser, "Saved")

    def session(self) -> dict[str, Any]:
        """Return the user's newest session."""
        (newest, *_) = self.service.client.get("/api/sessions", params={"user_id": self.user}).json()["items"]
        response = self.service.read(newest["id"], {"cache-control": "no-cache"}).json()
        session: dict[str, Any] = response.get("session", response)
        return session


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server of the built player."""
    folder = tmp_path_factory.mktemp("player")
    subprocess.run([ROOT / "examples" / "player" / "build", folder], check=True, capture_output=True)
    files = partial(_Files, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def allowing_service(migrated: Urls, page: int) -> Iterator[Service]:
    """A service that allows the page's origins."""
    origins = ",".join(f"http://{host}:{page}" for host in ("127.0.0.1", INSECURE))
    with running(migrated, CORS_ORIGINS=origins) as service:
        yield service


@pytest.fixture
def player(page: int, allowing_service: Service) -> Player:
    """The player for a new user."""
    return Player(page, allowing_service, f"player-{uuid4()}")


def await_status(browser: Chrome, text: str) -> None:
    """Wait until the page says this about the answers."""
    status = found(browser, "#status")
    eventually(lambda: status.text.startswith(text), lambda: status.text)


def field(browser: Chrome, name: str, value: str = "") -> WebElement:
    """Return the input of a question, and of an option."""
    return found(browser, f"[name='{name}']" + (f"[value='{value}']" if value else ""))


def order(player: Player, url: str) -> None:
    """Give an order as a teacher."""
    player.service.client.post(url, json={}, headers={"idempotency-key": url}).raise_for_status()


def cut(browser: Chrome, *, offline: bool) -> None:
    """Cut the browser from the network, or connect it again."""
    browser.set_network_conditions(offline=offline, latency=0, throughput=-1)


def typed(browser: Chrome) -> dict[str, Any]:
    """Return the answers that the page shows."""
    chosen = [
        [box.get_property("value") for box in browser.find_elements(By.NAME, name) if box.is_selected()]
        for name in ("planet", "primes")
    ]
    texts = [field(browser, name).get_property("value") for name in ("capital", "product", "reason")]
    return {
        "capital": texts[0],
        "planet": chosen[0][0] if chosen[0] else None,
        "primes": chosen[1],
        "product": int(str(texts[1])) if texts[1] else None,
        "reason": texts[2],
    }


def test_a_quiz_is_played_through_a_cut_network(player: Player, tmp_path: Path) -> None:
    """Answers given offline are shown as not saved, are saved once online, and are on the second device."""
    with chromium(tmp_path / "first") as first:
        player.open(first)
        check_width(first)
        field(first, "capital").send_keys("Paris")
        field(first, "planet", "Jupiter").click()
        await_status(first, "Saved")
        assert player.session()["answers"] == {"capital": "Paris", "planet": "Jupiter"}
        cut(first, offline=True)
        for option in ("2", "11"):
            field(first, "primes", option).click()
        field(first, "product").send_keys("144")
        field(first, "reason").send_keys(ANSWERS["reason"])
        await_status(first, "Not saved yet: kept on this device")
        assert player.session()["answers"] == {"capital": "Paris", "planet": "Jupiter"}
        cut(first, offline=False)
        await_status(first, "Saved")
        assert player.session()["answers"] == ANSWERS
        with chromium(tmp_path / "second") as second:
            player.open(second)
            eventually(lambda: typed(second) == ANSWERS, lambda: typed(second))
            assert ":" in found(second, "#time").text
            found(second, "#hand-in").click()
            second.switch_to.alert.accept()
            await_status(second, "Handed in")
            assert found(second, "#result").text == "5 of 5 questions are answered."
        assert player.session()["status"] == "completed"


def test_a_paused_page_keeps_its_answers(player: Player, tmp_path: Path) -> None:
    """A page in a pause takes no answer, keeps those it has, and saves them after the resumption."""
    with chromium(tmp_path) as browser:
        player.open(browser)
        url = f"/api/sessions/{player.session()['id']}"
        order(player, f"{url}/pause")
        field(browser, "capital").send_keys("P")
        await_status(browser, "Paused: answers are kept on this device")
        time = found(browser, "#time").text
        assert not field(browser, "capital").is_enabled()
        assert player.session()["answers"] == {}
        order(player, f"{url}/resume")
        await_status(browser, "Saved")
        assert field(browser, "capital").is_enabled()
        eventually(lambda: found(browser, "#time").text != time, lambda: time)
        assert player.session()["answers"] == {"capital": "P"}


def test_answers_survive_the_end_of_the_browser(player: Player, tmp_path: Path) -> None:
    """Answers given offline are saved after the browser was killed and the page is opened again."""
    with chromium(tmp_path) as browser:
        player.open(browser)
        cut(browser, offline=True)
        field(browser, "reason").send_keys("offline")
        await_status(browser, "Not saved yet: kept on this device")
    assert player.session()["answers"] == {}
    with chromium(tmp_path) as browser:
        player.open(browser)
        assert typed(browser)["reason"] == "offline"
    assert player.session()["answers"] == {"reason": "offline"}


@pytest.mark.parametrize("host", ["127.0.0.1", INSECURE])
def test_tabs_share_one_queue(player: Player, tmp_path: Path, host: str) -> None:
    """Two tabs have one queue: closing the tab that sends loses nothing, with locks or without."""
    with chromium(tmp_path, FLAG) as browser:
        player.open(browser, host)
        assert browser.execute_script("return 'locks' in navigator") == (host == "127.0.0.1")
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        second = browser.current_window_handle
        player.open(browser, host)
        field(browser, "capital").send_keys("Paris")
        await_status(browser, "Saved")
        browser.switch_to.window(first)
        eventually(lambda: typed(browser)["capital"] == "Paris", lambda: typed(browser))
        cut(browser, offline=True)
        field(browser, "planet", "Jupiter").click()
        await_status(browser, "Not saved yet")
        browser.switch_to.window(second)
        cut(browser, offline=True)
        field(browser, "product").send_keys("144")
        await_status(browser, "Not saved yet")
        browser.switch_to.window(first)
        browser.close()
        browser.switch_to.window(second)
        field(browser, "reason").send_keys("in the tab that is left")
        cut(browser, offline=False)
        await_status(browser, "Saved")
        wanted = {
            "capital": "Paris",
            "planet": "Jupiter",
            "product": 144,
            "reason": "in the tab that is left",
        }
        assert player.session()["answers"] == wanted


@pytest.mark.parametrize("host", ["127.0.0.1", INSECURE])
def test_the_last_answer_of_two_tabs_counts(player: Player, tmp_path: Path, host: str) -> None:
    """Of the answers that two tabs give to one question while offline, the last one is saved."""
    with chromium(tmp_path, FLAG) as browser:
        player.open(browser, host)
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        second = browser.current_window_handle
        player.open(browser, host)
        for tab in (first, second):
            browser.switch_to.window(tab)
            cut(browser, offline=True)
        for tab, option in ((second, "Saturn"), (first, "Neptune"), (second, "Saturn"), (first, "Jupiter")):
            browser.switch_to.window(tab)
            field(browser, "planet", option).click()
            await_status(browser, "Not saved yet")
        for tab in (first, second):
            browser.switch_to.window(tab)
            cut(browser, offline=False)
        await_status(browser, "Saved")
        eventually(lambda: typed(browser)["planet"] == "Jupiter", lambda: typed(browser))
    assert player.session()["answers"] == {"planet": "Jupiter"}


def test_a_suspended_tab_is_replaced(player: Player, tmp_path: Path) -> None:
    """A tab that the browser suspends holds up no other tab, and its answers are saved by that one."""
    with chromium(tmp_path) as browser:
        player.open(browser)
        first = browser.current_window_handle
        cut(browser, offline=True)
        field(browser, "capital").send_keys("Paris")
        await_status(browser, "Not saved yet: kept on this device")
        browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "frozen"})
        browser.switch_to.new_window("tab")
        second = browser.current_window_handle
        cut(browser, offline=False)
        player.open(browser)
        assert player.session()["answers"] == {"capital": "Paris"}
        browser.switch_to.window(first)
        browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "active"})
        cut(browser, offline=False)
        field(browser, "planet", "Jupiter").click()
        await_status(browser, "Saved")
        browser.switch_to.window(second)
        eventually(lambda: typed(browser)["planet"] == "Jupiter", lambda: typed(browser))
    assert player.session()["answers"] == {"capital": "Paris", "planet": "Jupiter"}
