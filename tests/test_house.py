"""The house: which module may import which, and where each library lives."""

import ast
import re
import sys
from pathlib import Path

import pytest

import session_service

PACKAGE = Path(session_service.__file__).parent

# A module imports from lower floors only.
FLOORS = [
    {"urls"},
    {
        "models",
        "settings",
        "contract",
        "smoke",
        "crowd",
        "deadlines",
        "embedded",
        "exposure",
        "jwks",
        "log",
        "reply",
        "supervisor",
    },
    {"errors", "keeper", "keys", "connections", "cors"},
    {"wire", "pool", "together", "tokens", "heads", "hypercorn_work", "uvicorn_client"},
    {"sql", "hypercorn_client", "uvicorn_server", "callers"},
    {"queries", "cache", "hypercorn_server"},
    {"store", "migrations", "health", "limits", "servers"},
    {"sessions"},
    {"handlers", "endpoint", "docs", "routes"},
    {"edge"},
    {"app"},
    {"__main__"},
    {"launcher"},
]

# A library is known to these modules only; attrs and Python's own are everywhere.
HOMES = {
    "cattrs": {"wire"},
    "h11": {"heads", "hypercorn_client"},
    "httptools": {"uvicorn_client"},
    "hypercorn": {"hypercorn_client", "hypercorn_server", "hypercorn_work"},
    "jsonschema_rs": {"contract"},
    "jwt": {"jwks", "tokens"},
    "orjson": {"models", "sql", "wire"},
    "psycopg": {"embedded", "exposure", "migrations", "pool", "sql", "urls"},
    "psycopg_pool": {"pool"},
    "redis": {"cache"},
    "starlette": {
        "app",
        "connections",
        "cors",
        "docs",
        "edge",
        "endpoint",
        "hypercorn_work",
        "reply",
        "routes",
    },
    "uvicorn": {"uvicorn_client", "uvicorn_server"},
    "uvloop": {"servers"},
    "yaml": {"contract"},
}

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    """A module imports from lower floors only, never sideways."""
    floor = _floor(module)
    inner = {name.split(".")[1] for name in _imports(module) if name.startswith("session_service.")}
    assert {name for name in inner if _floor(name) >= floor} == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_used_at_home_only(module: str) -> None:
    """What a library can do is asked of its home, so that it can be changed in one place."""
    libraries = {name.split(".")[0] for name in _imports(module)} & HOMES.keys()
    assert {library for library in libraries if module not in HOMES[library]} == set()


def test_nothing_stands_between_a_request_and_its_handler() -> None:
    """There is no middleware: Starlette's costs a task or a generator each, and swallows cancellations."""
    assert {module for module in MODULES if any("middleware" in name for name in _imports(module))} == set()


def test_every_library_has_a_home() -> None:
    """No library comes in without a line here."""
    known = HOMES.keys() | {"attrs", "session_service"}
    imported = {name.split(".")[0] for module in MODULES for name in _imports(module)}
    assert {name for name in imported if name not in known | sys.stdlib_module_names} == set()


def test_no_reply_goes_unjudged() -> None:
    """The tests ask the service only in places that hold each reply against the contract."""
    asking = re.compile(r"httpx\.(get|post|put|patch|delete|request|stream|(Async)?Client\()|urlopen")
    files = set(Path(__file__).parent.rglob("*.py")) - {Path(__file__)}
    assert {path.stem for path in files if asking.search(path.read_text())} == {"judge", "service"}


@pytest.mark.parametrize("module", MODULES)
def test_no_sql_text_in_python(module: str) -> None:
    """SQL stands in .sql files."""
    values = [node.value for node in _nodes(module) if isinstance(node, ast.Constant)]
    verbs = ("select ", "insert into ", "update ", "delete from ", "create ")
    texts = [value for value in values if isinstance(value, str)]
    assert [text for text in texts if text.lower().lstrip().startswith(verbs)] == []


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module: str) -> None:
    """No function is longer than 30 lines."""
    functions = [node for node in _nodes(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 30} == set()


def _floor(module: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if module in floor)


def _nodes(module: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())))


def _imports(module: str) -> set[str]:
    """Return the full names of the modules that a module imports."""
    names = set()
    for node in _nodes(module):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "session_service":
            names |= {f"session_service.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names
