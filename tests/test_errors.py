"""The errors that the code can raise are the errors that the contract declares."""

import re

import pytest

from session_service.api import errors as http_errors
from session_service.api.health import ServiceNotReadyError, ServiceUnhealthyError
from session_service.sessions import errors
from session_service.sessions.errors import RefusedError, ServiceError
from tests.conformance import DOCUMENT, PATHS

COMPONENTS = DOCUMENT["components"]
INFO = DOCUMENT["info"]["description"]


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
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", INFO, re.MULTILINE)
    kinds = {(str(kind.status), kind.code) for kind in _kinds() if kind is not ServiceUnhealthyError}
    assert {row[:2] for row in rows} == kinds
    assert len(rows) == len(kinds)


@pytest.mark.parametrize("path", PATHS)
def test_each_operation_says_what_to_do_on_each_error(path: str) -> None:
    """An operation's description says when to use it, and what to do on every error that it declares."""
    for operation in PATHS[path].values():
        use, remedies = operation["description"].split("**On an error.**")
        assert use.startswith("Use it ")
        declared = {status for status in operation["responses"] if status >= "4"}
        assert set(re.findall(r"\b[45]\d\d\b", remedies)) == declared


def _kinds() -> set[type[ServiceError]]:
    found = [*vars(errors).values(), *vars(http_errors).values()]
    classes = {kind for kind in found if isinstance(kind, type) and issubclass(kind, ServiceError)}
    return classes - {ServiceError, RefusedError} | {ServiceUnhealthyError, ServiceNotReadyError}
