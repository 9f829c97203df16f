"""Fixtures of the tests in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.support.browser import chromium


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """A browser with a new profile."""
    with chromium(tmp_path) as browser:
        yield browser
