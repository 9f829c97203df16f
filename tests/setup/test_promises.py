"""Tests of docs/promises.md: each guarantee names tests that exist."""

import ast
import re
from functools import cache

import pytest

from dev.reaper import ROOT

TEXT = (ROOT / "docs" / "promises.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| guarantee |")]


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_named_tests_exist(file: str, name: str) -> None:
    """Every test that a guarantee names exists."""
    assert (ROOT / file).exists()
    assert not name or name in _functions(file)


def test_every_guarantee_has_a_test() -> None:
    """Each row has a guarantee, its mechanism, and at least one test or command."""
    assert len(ROWS) > 45
    for row in ROWS:
        guarantee, mechanism, proof, _ = (cell.strip() for cell in row.strip("|").split("|"))
        assert guarantee, row
        assert mechanism, row
        assert re.search(r"`(tests/|bin/|dev/)", proof), row
        # A file without a test's name would hide the removal of the test.
        assert not re.search(r"`tests/[\w/]+\.py`", proof), row


@cache
def _functions(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
