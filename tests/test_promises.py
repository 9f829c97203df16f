"""docs/promises.md: every promise names the tests that hold it, and they are there."""

import ast
import re
from functools import cache

import pytest

from dev.reaper import ROOT

TEXT = (ROOT / "docs" / "promises.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)))
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| promise |")]


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_every_test_that_is_named_is_there(file: str, name: str) -> None:
    """A promise rests on no test that was renamed or taken out."""
    assert (ROOT / file).exists()
    assert not name or name in _functions(file)


def test_every_promise_has_a_test() -> None:
    """Each row says what is promised, how it is kept and which test or command holds it."""
    assert len(ROWS) > 45
    for row in ROWS:
        promise, how, held, _ = (cell.strip() for cell in row.strip("|").split("|"))
        assert promise, row
        assert how, row
        assert re.search(r"`(tests/|bin/|bench/)", held), row
        # Of a whole file the one test that matters may be taken out.
        assert not re.search(r"`tests/[\w/]+\.py`", held), row


@pytest.mark.parametrize("name", [f"R{number}" for number in range(1, 69)])
def test_every_requirement_is_met_or_spoken_of(name: str) -> None:
    """None of the 68 requirements that the project set itself is passed over in silence."""
    assert re.search(rf"\b{name}\b", TEXT)


@pytest.mark.parametrize("name", [f"S{number}" for number in range(1, 21)])
def test_every_scenario_is_played(name: str) -> None:
    """Each of the 20 scenarios has a row."""
    assert [row for row in ROWS if re.search(rf"\b{name}\b", row)]


@cache
def _functions(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
