"""The mutations of tests/verify/mutations/ fit the code and the tests as they are now."""

import ast

import pytest

from dev.reaper import ROOT
from tests.support.named_tests import is_test
from tests.verify.mutations import MUTATIONS
from tests.verify.mutations.mutation import (
    AnchorError,
    Change,
    Mutation,
    SyntaxChange,
    force,
    remove,
    remove_sql,
    replace_lua,
    replace_sql,
    set_constant,
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_the_code(mutation: Mutation) -> None:
    """Its pattern is found as often as it says, the mutated Python parses, and the named test exists."""
    text = (ROOT / mutation.file).read_text()
    changed = mutation.change.apply(text)
    assert changed != text
    if isinstance(mutation.change, SyntaxChange):
        ast.parse(changed)
    assert is_test(mutation.test)


def test_each_mutation_has_a_name_of_its_own() -> None:
    """No two mutations have the same name, or the same change."""
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    assert len({(mutation.file, mutation.change) for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (remove("A.get", "lock()"), "class A:\n  def put(self):\n    lock()\n"),
        (remove("A.get", "lock()"), "class A:\n  def get(self):\n    lock()\n    lock()\n"),
        (set_constant("LIMIT", "2"), "def limit():\n  LIMIT = 1\n"),
        (remove_sql("skip locked"), "select for update -- skip locked\n"),
        (replace_lua("SCRIPT", "held", "0"), 'OTHER = """held"""\n'),
    ],
)
def test_an_anchor_that_is_missing_or_ambiguous_is_an_error(change: Change, text: str) -> None:
    """A pattern in another function, in a comment, in another script, or found twice is not applied."""
    with pytest.raises(AnchorError):
        change.apply(text)


def test_layout_and_names_do_not_matter() -> None:
    """Comments, line breaks and what a metavariable stands for change nothing."""
    python = force("A.get", "$ENTRY.version >= $SEEN", value=True)
    code = "class A:\n  def get(self):\n    return (one.version\n      >= two)\n"
    assert "return (True)" in python.apply(code)
    sql = replace_sql("where $ROW.id = a.id", "where $ROW.id <> a.id")
    assert sql.apply("where\n  s.id -- the row\n  =a.id") == "where s.id <> a.id"
