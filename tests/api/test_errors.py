"""The errors that the code can raise are the errors that the contract declares."""

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
# Status and code of each row that has a status, a code, a cause, a remedy and a word on retries.
CATALOGUE = re.findall(r"^\| (\d+) \| `?(\w+)[^|]* \| [^|]+ \| [^|]+ \| [^|]+ \|$", INFO, re.MULTILINE)


def test_each_class_is_a_response_and_each_response_a_class() -> None:
    """Every error class has its entry under components/responses, and every error there its class.

    SessionEndedError is where the contract has two errors under one status.
    """
    declared = {name for name in COMPONENTS["responses"] if name.endswith("Error")} - {"SessionEndedError"}
    assert {kind.__name__ for kind in _kinds()} == declared


def test_each_class_has_the_code_and_status_of_its_schema() -> None:
    """Name, code and status of an error are the same in the code and in the contract."""
    for kind in _kinds():
        schema = COMPONENTS["schemas"].get(kind.__name__)
        if schema is None:
            continue
        fields = schema["properties"]
        told = tuple(fields[name]["const"] for name in ("error", "errorCode", "statusCode"))
        assert told == (kind.__name__, kind.code, kind.status)


def test_each_response_stands_under_its_own_status() -> None:
    """An operation declares an error under the status that the error is sent with."""
    kinds = {kind.__name__: kind.status for kind in _kinds()} | {"SessionEndedError": 410}
    for item in PATHS.values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                name = response["$ref"].rsplit("/", 1)[1]
                assert int(status) == kinds.get(name, int(status))


def test_the_catalogue_has_every_error() -> None:
    """The table in the contract's description has a row with a remedy for each error code and status."""
    kinds = {(str(kind.status), kind.code) for kind in _kinds() if kind is not ServiceUnhealthyError}
    assert set(CATALOGUE) == kinds | {("503", "none")}
    assert len(CATALOGUE) == len(set(CATALOGUE))


@pytest.mark.parametrize("path", PATHS)
def test_each_operation_links_to_the_catalogue(path: str) -> None:
    """An operation's description says when to use it, and links to the section that has its errors."""
    assert '<a id="errors"></a>\n\n## Errors\n' in INFO
    for operation in PATHS[path].values():
        assert operation["description"].startswith("Use it ")
        assert operation["description"].count("[Errors](#errors)") == 1


@pytest.mark.parametrize("path", PATHS)
def test_the_catalogue_has_each_declared_error(path: str) -> None:
    """Every error that an operation declares has a row under its status and its code."""
    for operation in PATHS[path].values():
        for status, response in operation["responses"].items():
            if status >= "4":
                declared = {(status, code) for code in _codes(resolved(response))}
                assert declared <= set(CATALOGUE)


def _codes(response: dict[str, Any]) -> list[str]:
    """Return the error codes of a response; `none` for a body that has no code."""
    schema = resolved(response["content"]["application/json"]["schema"])
    kinds = [resolved(kind) for kind in schema.get("oneOf", [schema])]
    return [kind["properties"].get("errorCode", {"const": "none"})["const"] for kind in kinds]


def _kinds() -> set[type[ServiceError]]:
    found = [*vars(errors).values(), *vars(http_errors).values()]
    classes = {kind for kind in found if isinstance(kind, type) and issubclass(kind, ServiceError)}
    return classes - {ServiceError, RefusedError} | {ServiceUnhealthyError, ServiceNotReadyError}
