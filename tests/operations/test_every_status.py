"""No operation declares a status that no test produces."""

import re
from importlib import import_module

import pytest

from tests.support.conformance import PATHS

DECLARED = [
    (operation["operationId"], status)
    for item in PATHS.values()
    for operation in item.values()
    for status in operation["responses"]
]


@pytest.mark.parametrize(("operation", "status"), DECLARED)
def test_every_declared_status_has_a_test(operation: str, status: str) -> None:
    """The file named after an operation, or the one for all, has a test named after each status.

    conftest sees to its truth.
    """
    name = re.sub(r"([A-Z])", r"_\1", operation).lower()
    modules = [import_module(f"tests.operations.test_{one}") for one in (name, "every_operation")]
    assert [test for module in modules for test in vars(module) if test.startswith(f"test_{status}_")]


def operation_id(module: str) -> str:
    """Return the operation that a module of this folder is named after."""
    first, *rest = module.rsplit(".test_", 1)[1].split("_")
    return first + "".join(word.capitalize() for word in rest)
