"""docs/promises.md: every guarantee names its tests, and they exist."""

import ast
import re
from functools import cache

import pytest

from dev.reaper import ROOT

TEXT = (ROOT / "docs" / "promises.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| guarantee |")]


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_every_test_that_is_named_is_there(file: str, name: str) -> None:
    """No guarantee names a test that was renamed or removed."""
    assert (ROOT / file).exists()
    assert not name or name in _functions(file)


def test_every_promise_has_a_test() -> None:
    """Each row has a guarantee, its mechanism, and at least one test or command."""
    assert len(ROWS) > 45
    for row in ROWS:
        promise, how, held, _ = (cell.strip() for cell in row.strip("|").split("|"))
        assert promise, row
        assert how, row
        assert re.search(r"`(tests/|bin/|dev/)", held), row
        # With a whole file, the one test that matters could be removed unnoticed.
        assert not re.search(r"`tests/[\w/]+\.py`", held), row


@cache
def _functions(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
