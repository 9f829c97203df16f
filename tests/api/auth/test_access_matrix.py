"""Tests of the table in docs/access.md: the status of each operation for each kind of token."""

import re
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from dev.reaper import ROOT
from tests.operations.test_every_operation import BODIES, OPERATIONS, key
from tests.support.conformance import PATHS
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Headers, Service

QUIZ = 7  # the quiz of the bodies
# The headers of a request about a session of the user, by column.
TOKENS: dict[str, Callable[[str], Headers]] = {
    "no token": lambda _: {},
    "learner: own": bearer,
    "learner: other": lambda _: bearer("eve"),
    "read": lambda _: bearer("grader", scope="sessions:read"),
    "proctor: own": lambda user: bearer(user, scope="sessions:proctor", quiz_ids=[8]),
    "proctor: inside": lambda _: bearer("teacher", scope="sessions:proctor", quiz_ids=["a", QUIZ]),
    "proctor: outside": lambda _: bearer("teacher", scope="sessions:proctor", quiz_ids=[8]),
    "any": lambda _: bearer("back-end", scope=SERVICE_SCOPE),
    "erase": lambda _: bearer("officer", scope="sessions:erase"),
}
TEXT = (ROOT / "docs" / "access.md").read_text()
# The table's header and rows: operation, then a status for each column.
HEADER, *ROWS = (
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in re.findall(r"^\| (?:operation|`\w+`)(?= \| (?:no token|\d{3}) \|).*$", TEXT, re.MULTILINE)
)
CELLS = [
    (operation, column, int(status))
    for operation, *statuses in ROWS
    for column, status in zip(HEADER[1:], statuses, strict=True)
]


def test_the_table_has_every_operation_and_every_token() -> None:
    """The table has a row for each operation of the contract, and a column for each kind of token."""
    assert sorted(row[0] for row in ROWS) == sorted(OPERATIONS)
    assert ["operation", *TOKENS] == HEADER


@pytest.mark.parametrize(("operation", "column", "status"), CELLS)
def test_each_token_gets_the_status_of_the_table(
    service_with_tokens: Service, operation: str, column: str, status: int
) -> None:
    """A valid request gets the status of its cell; a list has a session if, and only if, it can be read.

    An order for a quiz covers the session of the user only.
    """
    user = f"user-{uuid4()}"
    session_id = _start(service_with_tokens, user)
    response = _request(service_with_tokens, operation, user, session_id, TOKENS[column](user))
    assert response.status_code == status, response.text
    if operation == "exportAnswers" and status == 200:
        assert response.text.count(session_id) == (column not in {"proctor: own", "proctor: outside"})
        return
    if status == 204:
        return
    if "changed" in response.json():
        assert {"changed", "unchanged", "unfinished"} == response.json().keys()
        assert response.json()["changed"] + len(response.json()["unchanged"]) == 1
    if operation == "listSessions" and status == 200:
        (readable,) = (cell for name, place, cell in CELLS if (name, place) == ("getSession", column))
        assert [item["id"] for item in response.json()["items"]] == [session_id] * (readable == 200)


def _start(service: Service, user: str) -> str:
    body = {"user_id": user, "quiz_id": QUIZ}
    response = service.client.post("/api/sessions/start", json=body, headers=bearer(user))
    return str(response.json()["id"])


def _request(
    service: Service, operation: str, user: str, session_id: str, headers: Headers
) -> httpx.Response:
    """Send a valid request about the session: with its id in the path, or its user in query or body."""
    method, path = OPERATIONS[operation]
    declared = PATHS[path][method].get("parameters", [])
    query = {"user_id": user} if any(one.get("name") == "user_id" for one in declared) else {}
    body: dict[str, object] = {**BODIES.get(operation, {})}
    body |= {"user_id": user} if "user_id" in body else {}
    body |= {"quiz_id": QUIZ, "user_ids": [user]} if operation.endswith("s") and "quiz_id" in body else {}
    return service.client.request(
        method,
        path.replace("{id}", session_id),
        params=query,
        json=body or None,
        headers={**key(operation), **headers},
    )
