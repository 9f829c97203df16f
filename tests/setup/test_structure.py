"""Tests of the code's structure: directions of imports, folders of libraries, length, no SQL in Python."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from dev.reaper import ROOT
from tests.support.service import copy_repository

PACKAGE = ROOT / "session_service"
MODULES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("session_service", "dev")
    for path in (ROOT / folder).rglob("*.py")
    if "bench" not in path.relative_to(ROOT).parts
)


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / ".venv" / "bin" / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("sessions/models.py", "from session_service.traffic import deadlines"),
        ("traffic/deadlines.py", "from session_service.storage import pool"),
        ("api/router.py", "from session_service.storage import queries"),
        ("storage/pool.py", "from session_service.api import contract"),
        ("server/serve.py", "from session_service import app"),
    ],
)
def test_import_directions_are_checked(tmp_path: Path, file: str, line: str) -> None:
    """An import against the order of the folders fails import-linter."""
    planted = copy_repository(tmp_path) / "session_service" / file
    planted.write_text(f"{line}\n{planted.read_text()}")
    assert _lint_imports(tmp_path).returncode == 1


@pytest.mark.parametrize("library", ["redis", "psycopg", "jwt", "hypercorn", "httptools", "httpcore"])
def test_folders_of_libraries_are_checked(tmp_path: Path, library: str) -> None:
    """A library that is imported outside its folder fails ruff."""
    planted = copy_repository(tmp_path) / "session_service" / "sessions" / "models.py"
    planted.write_text(f"import {library}\n")
    command = [
        str(ROOT / ".venv" / "bin" / "ruff"),
        "check",
        "--no-cache",
        "--select",
        "TID251",
        str(planted),
    ]
    linted = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (linted.returncode, "TID251" in linted.stdout) == (1, True), linted.stdout


@pytest.mark.parametrize("module", MODULES)
def test_no_middleware(module: str) -> None:
    """There is no middleware: Starlette's costs a task per request and swallows cancellations."""
    names = [node.module or "" for node in _nodes(module) if isinstance(node, ast.ImportFrom)]
    assert [name for name in names if "middleware" in name] == []


def test_http_clients_validate_responses() -> None:
    """HTTP clients in the tests are created only where each response is validated against the contract."""
    client_calls = re.compile(r"httpx\.(get|post|put|patch|delete|request|stream|(Async)?Client\()|urlopen")
    files = {path for path in (ROOT / "tests").rglob("*.py") if ".venv" not in path.relative_to(ROOT).parts}
    assert {path.stem for path in files - {Path(__file__)} if client_calls.search(path.read_text())} == {
        "validating_proxy",
        "service",
    }


@pytest.mark.parametrize("module", MODULES)
def test_no_sql_text_in_python(module: str) -> None:
    """SQL is in .sql files."""
    values = [node.value for node in _nodes(module) if isinstance(node, ast.Constant)]
    verbs = ("select ", "insert into ", "update ", "delete from ", "create ")
    texts = [value for value in values if isinstance(value, str)]
    assert [text for text in texts if text.lower().lstrip().startswith(verbs)] == []


@pytest.mark.parametrize("module", MODULES)
def test_functions_and_files_are_short(module: str) -> None:
    """No function is longer than 30 lines, and no file longer than 300."""
    functions = [node for node in _nodes(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 30} == set()
    assert len((ROOT / module).read_text().splitlines()) <= 300


def _nodes(module: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / module).read_text())))
