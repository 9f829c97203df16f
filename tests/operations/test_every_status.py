"""Checks that a test exists for each declared status of each operation."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.operations.test_every_order import KINDS
from tests.operations.test_every_quiz_order import KINDS as QUIZ_KINDS
from tests.operations.test_paused_writes import WRITES
from tests.support.conformance import PATHS

DECLARED: list[tuple[str, str]] = [
    (operation["operationId"], status)
    for item in PATHS.values()
    for operation in item.values()
    for status in operation["responses"]
]


@pytest.mark.parametrize(("operation", "status"), DECLARED)
def test_every_declared_status_has_a_test(operation: str, status: str) -> None:
    """The files named after an operation, or a shared one, have a test named after each status.

    conftest.py checks that such a test receives the status.
    """
    names = {path.stem for path in Path(__file__).parent.glob(f"test_{_snake_case(operation)}*.py")}
    shared = ["test_every_operation"]
    shared += ["test_every_order"] if operation in KINDS else []
    shared += ["test_every_quiz_order"] if operation in QUIZ_KINDS else []
    shared += ["test_paused_writes"] if operation in WRITES else []
    modules = [import_module(f"tests.operations.{name}") for name in (*names, *shared)]
    assert [test for module in modules for test in vars(module) if test.startswith(f"test_{status}_")]


def operation_id(module: str) -> str:
    """Return the operation whose name a module of this folder begins with."""
    name = module.rsplit(".test_", 1)[1]
    return next(operation for operation, _ in DECLARED if name.startswith(_snake_case(operation)))


def _snake_case(operation: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", operation).lower()
