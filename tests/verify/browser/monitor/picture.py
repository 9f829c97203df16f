"""Takes the pictures of /monitor in docs/: python -m tests.verify.browser.monitor.picture."""

import base64
from pathlib import Path

import psycopg
from selenium.webdriver import Chrome

from dev import reaper
from dev.reaper import ROOT
from tests.conftest import migrate
from tests.support.browser import chromium
from tests.support.service import folder, running
from tests.verify.browser.monitor.room import Exam, open_exam

SIZE = {"width": 1200, "height": 620, "deviceScaleFactor": 1, "mobile": False}
QUALITY = 70  # percent; a picture has less than 60 KB


def take(browser: Chrome, scheme: str, place: Path) -> None:
    """Take a picture of the page as it is now."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    (place / f"monitor-{scheme}.webp").write_bytes(base64.b64decode(taken["data"]))


def main(place: Path = ROOT / "docs") -> None:
    """Simulate an exam, and take a picture of it in light and dark."""
    with folder() as base, reaper.servers(base) as urls:
        migrate(urls)
        with (
            running(urls) as service,
            psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as owner,
        ):
            exam = Exam(service, owner)
            exam.quiz = "biology-2"
            exam.fill(300)
            exam.mix()
            with chromium(base / "profile") as browser:
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
                open_exam(browser, service.url, exam.quiz)
                for scheme in ("light", "dark"):
                    take(browser, scheme, place)


if __name__ == "__main__":
    main()
