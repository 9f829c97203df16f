"""Looks up tests by name: `file::test_function` or `file::test_function[parameter]`."""

import ast
import subprocess
import sys
from functools import cache

from dev.reaper import ROOT


@cache
def is_test(name: str) -> bool:
    """Return whether the name is that of a test, and of one of its parameters if it has one."""
    file, _, test = name.partition("::")
    function, bracket, _ = test.partition("[")
    if not function.startswith("test_") or function not in _functions(file):
        return False
    return not bracket or _is_collected(name)


@cache
def _functions(file: str) -> set[str]:
    path = ROOT / file
    nodes = ast.parse(path.read_text()).body if path.is_file() else []
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _is_collected(name: str) -> bool:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", name]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
