"""A mutation: a small change of the service that removes one guarantee, and the test that detects it.

Patterns have metavariables, so that a mutation outlives renames and new formatting. In Python, matched as
syntax by ast-grep within a named function or class, `$NAME` stands for one expression or statement and `$$$`
for any number of them. In SQL, Lua and JavaScript, matched by tokens without whitespace and without comments
of SQL, `$NAME` stands for one token. In a replacement `$NAME` is the text that it stands for in the pattern.
"""

import re
from pathlib import Path
from typing import Any, Protocol

from ast_grep_py import SgRoot
from attrs import frozen

Rule = dict[str, Any]
"""A rule of ast-grep."""

_DEFINITIONS: list[Rule] = [{"kind": "function_definition"}, {"kind": "class_definition"}]
_TOKEN = re.compile(r"--[^\n]*|\s+|(\$?\w+|'[^'\n]*'|\S)")

Token = tuple[str, int, int]
"""A token's text, its start and its end."""


class AnchorError(Exception):
    """A pattern that is not found as often as its change expects."""


class Change(Protocol):
    """A change of the text of a file."""

    def apply(self, text: str) -> str:
        """Return the changed text; raise AnchorError if the pattern is not found as often as expected."""


@frozen
class Mutation:
    """A change of a file, named after the guarantee that it removes, and the test that then fails."""

    name: str
    file: str
    change: Change
    test: str

    def apply(self, root: Path) -> None:
        """Apply the change to a copy of the repository."""
        file = root / self.file
        file.write_text(self.change.apply(file.read_text()))


@frozen
class SyntaxChange:
    """A change of Python code within a function or a class.

    `scope` is its qualified name, empty for code of the module itself.
    `part` is the kind of the node to replace, for a pattern that is code only within a larger piece.
    """

    scope: str
    pattern: str
    replacement: str
    part: str = ""
    times: int = 1

    def apply(self, text: str) -> str:
        root = SgRoot(text, "python").root()
        rule: Rule = {
            "pattern": {"context": self.pattern, "selector": self.part} if self.part else self.pattern,
            **_scope(self.scope),
        }
        found = root.find_all(**rule)
        _check(self.pattern, len(found), self.times)
        edits = []
        for node in found:
            captured = {name: node[name].text() for name in re.findall(r"\$([A-Z]+)", self.replacement)}
            edits.append(node.replace(_filled(self.replacement, captured)))
        return root.commit_edits(edits)


@frozen
class TokenChange:
    """A change of SQL, or of the Lua script in a constant of a Python module."""

    pattern: str
    replacement: str
    constant: str = ""

    def apply(self, text: str) -> str:
        start, end = _constant(text, self.constant) if self.constant else (0, len(text))
        tokens = _tokens(text[start:end])
        pattern = [token for token, _, _ in _tokens(self.pattern)]
        found = []
        for first in range(len(tokens)):
            window = tokens[first : first + len(pattern)]
            captured = _match(pattern, [token for token, _, _ in window])
            if captured is not None:
                found.append((start + window[0][1], start + window[-1][2], captured))
        _check(self.pattern, len(found), 1)
        first, last, captured = found[0]
        return text[:first] + _filled(self.replacement, captured) + text[last:]


def remove(scope: str, statement: str, times: int = 1) -> Change:
    """Remove a statement."""
    return SyntaxChange(scope, statement, "pass", times=times)


def force(scope: str, condition: str, *, value: bool) -> Change:
    """Make a condition constant."""
    return SyntaxChange(scope, condition, str(value))


def replace(scope: str, pattern: str, replacement: str) -> Change:
    """Replace an expression or a statement."""
    return SyntaxChange(scope, pattern, replacement)


def set_argument(scope: str, name: str, value: str) -> Change:
    """Set a keyword argument of a call to another value."""
    return SyntaxChange(scope, f"call({name}=$VALUE)", f"{name}={value}", part="keyword_argument")


def set_constant(name: str, value: str) -> Change:
    """Set a constant of the module to another value."""
    return SyntaxChange("", f"{name} = $VALUE", f"{name} = {value}")


def remove_sql(pattern: str) -> Change:
    """Remove a part of a statement."""
    return TokenChange(pattern, "")


def replace_sql(pattern: str, replacement: str) -> Change:
    """Replace a part of a statement."""
    return TokenChange(pattern, replacement)


def replace_script(pattern: str, replacement: str) -> Change:
    """Replace a part of a script of a page."""
    return TokenChange(pattern, replacement)


def replace_lua(constant: str, pattern: str, replacement: str) -> Change:
    """Replace a part of the Lua script in the constant."""
    return TokenChange(pattern, replacement, constant)


def _scope(name: str) -> Rule:
    """Return the rule of a node within the definition with the qualified name, or outside of any."""
    if not name:
        return {"not": {"inside": {"any": _DEFINITIONS, "stopBy": "end"}}}
    rule: Rule = {}
    for part in name.split("."):
        has: Rule = {"field": "name", "regex": f"^{part}$"}
        rule = {"inside": {"any": _DEFINITIONS, "has": has, **rule, "stopBy": "end"}}
    return rule


def _check(pattern: str, found: int, expected: int) -> None:
    if found != expected:
        raise AnchorError(f"found {found} times, not {expected}: {pattern}")


def _filled(replacement: str, captured: dict[str, str]) -> str:
    return re.sub(r"\$([A-Z]+)", lambda match: captured[match[1]], replacement)


def _constant(text: str, name: str) -> tuple[int, int]:
    """Return where the text of a constant in triple quotes begins and ends."""
    match = re.search(rf'^{name} = """(.*?)"""', text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise AnchorError(f"there is no text {name}")
    return match.span(1)


def _tokens(text: str) -> list[Token]:
    return [(match[1], match.start(1), match.end(1)) for match in _TOKEN.finditer(text) if match[1]]


def _match(pattern: list[str], tokens: list[str]) -> dict[str, str] | None:
    """Return what the pattern's metavariables stand for; None if the tokens do not match the pattern."""
    if len(pattern) != len(tokens):
        return None
    captured: dict[str, str] = {}
    for wanted, token in zip(pattern, tokens, strict=True):
        named = re.fullmatch(r"\$([A-Z]+)", wanted)
        if token != (captured.setdefault(named[1], token) if named else wanted):
            return None
    return captured
