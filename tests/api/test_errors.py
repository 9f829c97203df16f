"""Tests that the errors in the code are those in the contract."""

import re
from typing import Any

import pytest

from session_service.api import errors as http_errors
from session_service.api.health import ServiceNotReadyError, ServiceUnhealthyError
from session_service.sessions import errors
from session_service.sessions.errors import RefusedError, ServiceError
from tests.support.conformance import DOCUMENT, PATHS, resolved

COMPONENTS = DOCUMENT["components"]
INFO = DOCUMENT["info"]["description"]
# Status and code of each complete row: status, code, cause, remedy, retries.
ERROR_TABLE = re.findall(r"^\| (\d+) \| `?(\w+)[^|]* \| [^|]+ \| [^|]+ \| [^|]+ \|$", INFO, re.MULTILINE)


def test_error_classes_and_error_responses_match() -> None:
    """Each error class has a response in the contract, and each error response a class."""
    responses = {name: spec for name, spec in COMPONENTS["responses"].items() if name.endswith("Error")}
    declared = {error for name, spec in responses.items() for error in _values(spec, "error", name)}
    assert {kind.__name__ for kind in _kinds()} == declared


def test_each_class_has_the_code_and_status_of_its_schema() -> None:
    """Name, code and status of an error are the same in the code and in the contract."""
    kinds = {(kind.__name__, kind.code, kind.status) for kind in _kinds()}
    for name, schema in COMPONENTS["schemas"].items():
        if name.endswith("Error"):
            fields = schema["properties"]
            errors_and_codes = zip(_listed(fields["error"]), _listed(fields["errorCode"]), strict=True)
            assert {(*pair, fields["statusCode"]["const"]) for pair in errors_and_codes} <= kinds


def test_each_error_is_declared_under_its_status() -> None:
    """An operation declares an error under the status that the error is sent with."""
    kinds = {kind.__name__: kind.status for kind in _kinds()} | {"SessionEndedError": 410}
    for item in PATHS.values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                name = response["$ref"].rsplit("/", 1)[1]
                assert int(status) == kinds.get(name, int(status))


def test_the_error_table_is_complete() -> None:
    """The table of errors in the contract's description has one row per error code and status."""
    kinds = {(str(kind.status), kind.code) for kind in _kinds() if kind is not ServiceUnhealthyError}
    assert set(ERROR_TABLE) == kinds | {("503", "none")}
    assert len(ERROR_TABLE) == len(set(ERROR_TABLE))


@pytest.mark.parametrize("path", PATHS)
def test_each_operation_links_to_the_error_table(path: str) -> None:
    """Each operation's description starts with "Use it" and links once to the table of errors."""
    assert '<a id="errors"></a>\n\n## Errors\n' in INFO
    for operation in PATHS[path].values():
        assert operation["description"].startswith("Use it ")
        assert operation["description"].count("[Errors](#errors)") == 1


@pytest.mark.parametrize("path", PATHS)
def test_the_error_table_has_each_declared_error(path: str) -> None:
    """Every error that an operation declares is in the table of errors."""
    for operation in PATHS[path].values():
        for status, response in operation["responses"].items():
            if status >= "4":
                declared = {(status, code) for code in _values(resolved(response), "errorCode", "none")}
                assert declared <= set(ERROR_TABLE)


def _values(response: dict[str, Any], field: str, default: str) -> list[str]:
    """Return the values that a field of a response may have, the default for a body without it."""
    schema = resolved(response["content"]["application/json"]["schema"])
    return _listed(schema["properties"].get(field, {"const": default}))


def _listed(schema: dict[str, Any]) -> list[str]:
    """Return the values of a constant or an enumeration."""
    schema = resolved(schema)
    values: list[str] = schema["enum"] if "enum" in schema else [schema["const"]]
    return values


def _kinds() -> set[type[ServiceError]]:
    found = [*vars(errors).values(), *vars(http_errors).values()]
    classes = {kind for kind in found if isinstance(kind, type) and issubclass(kind, ServiceError)}
    return classes - {ServiceError, RefusedError} | {ServiceUnhealthyError, ServiceNotReadyError}
