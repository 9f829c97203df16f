"""Tests of docs/promises.md: each guarantee names tests that exist, each of them once."""

import re

import pytest

from dev.reaper import ROOT
from tests.support.named_tests import is_test

TEXT = (ROOT / "docs" / "promises.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[^`]+::[^`]*)`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| guarantee |")]


@pytest.mark.parametrize("name", NAMED)
def test_named_tests_exist(name: str) -> None:
    """Every test that a guarantee names exists, with its parameter if one is named."""
    assert is_test(name)


def test_every_guarantee_has_a_test() -> None:
    """Each row has a guarantee, its mechanism, and at least one test or command, each of them once."""
    assert len(ROWS) > 45
    for row in ROWS:
        guarantee, mechanism, proof, _ = (cell.strip() for cell in row.strip("|").split("|"))
        assert guarantee, row
        assert mechanism, row
        assert re.search(r"`(tests/|bin/|dev/)", proof), row
        # A file without a test's name would hide the removal of the test.
        assert not re.search(r"`tests/[\w/]+\.py`", proof), row
        named = re.findall(r"`([^`]+)`", proof)
        assert len(named) == len(set(named)), row
