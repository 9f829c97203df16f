"""Tests of `x-access` in the contract, with other values than the operations of today have."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from session_service.api import contract
from session_service.api.contract import ContractError
from tests.conftest import Urls
from tests.support.issuer import SERVICE_SCOPE, bearer, token_settings
from tests.support.service import Headers, Service, copy_repository, running

LEARNERS = "x-access: [learner, 'sessions:any']"
# Access of an order, of erasing, and of an operation on all sessions, for operations that have others.
CHANGED = {
    "completeSession": "x-access: ['sessions:proctor', 'sessions:any']",
    "saveAnswers": "x-access: ['sessions:erase']",
    "startSession": "x-access: ['sessions:proctor', 'sessions:any']",
}


def _service() -> Headers:
    """Return a new token of a service: one from the import of this file would expire in a long run."""
    return bearer("back-end", scope=SERVICE_SCOPE)


def _changed(folder: Path, operation: str, access: str) -> Path:
    """Change the access of the operation in the contract of the folder; return the file."""
    file = folder / "openapi.yaml"
    before, found, after = file.read_text().partition(f"operationId: {operation}\n")
    assert LEARNERS in after
    file.write_text(before + found + after.replace(LEARNERS, access, 1))
    return file


@pytest.fixture(scope="module")
def service_with_orders(migrated: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in which completing is an order, and saving answers needs the scope of erasing."""
    folder = copy_repository(tmp_path_factory.mktemp("orders"))
    for operation, access in CHANGED.items():
        _changed(folder, operation, access)
    with running(migrated, folder, **token_settings(folder / "keys.json")) as service:
        yield service


def _started(service: Service, user: str, quiz_id: object = 7) -> str:
    body = {"user_id": user, "quiz_id": quiz_id}
    return str(service.client.post("/api/sessions/start", json=body, headers=_service()).json()["id"])


def _proctor(name: str, *quiz_ids: object, more: str = "") -> Headers:
    return bearer(name, scope=f"sessions:proctor {more}", quiz_ids=quiz_ids)


def test_an_order_needs_a_proctor_of_the_quiz(service_with_orders: Service) -> None:
    """An operation for proctors is applied inside of their quizzes, and 403 for the subject's own session."""
    user = f"user-{uuid4()}"
    for headers, status in (
        (bearer(user), 403),
        (bearer("eve"), 404),
        (_proctor(user), 403),
        (_proctor(user, 7), 403),
        (_proctor("teacher"), 404),
        (_proctor("teacher", 8), 404),
        (_proctor("teacher", 8, 7), 200),
        (_proctor("teacher", 8, more="sessions:read"), 404),
        (_proctor("teacher", 7, more="sessions:read"), 200),
        (_proctor(user, more="sessions:any"), 200),
        (bearer("grader", scope="sessions:read"), 403),
        (bearer("officer", scope="sessions:erase"), 403),
        (_service(), 200),
    ):
        session_id = _started(service_with_orders, user)
        assert service_with_orders.complete(session_id, headers).status_code == status, headers
        version = service_with_orders.read(session_id, _service()).json()["version"]
        assert version == (2 if status == 200 else 1), headers


def test_no_other_scope_includes_erasing(service_with_orders: Service) -> None:
    """An operation for `sessions:erase` is 403 with every other scope, and reaches all sessions with it."""
    user = f"user-{uuid4()}"
    for headers, status in (
        (bearer(user), 403),
        (bearer("eve"), 404),
        (_proctor("teacher", 7), 403),
        (_proctor("teacher", 8), 404),
        (bearer("grader", scope="sessions:read"), 403),
        (_service(), 403),
        (bearer("back-end", scope=f"{SERVICE_SCOPE} sessions:erase"), 200),
        (_proctor("teacher", 8, more="sessions:erase"), 200),
        (bearer("officer", scope="sessions:erase"), 200),
    ):
        session_id = _started(service_with_orders, user)
        saved = service_with_orders.save_many(session_id, {"1": "x"}, headers)
        assert saved.status_code == status, headers


def test_a_missing_session_is_not_found(service_with_orders: Service) -> None:
    """An order on a session that does not exist is 404, as on one that the token does not reach."""
    for headers in (bearer("ada"), _proctor("teacher", 7), _service()):
        assert service_with_orders.complete(uuid4(), headers).status_code == 404


def test_an_operation_on_many_sessions_needs_its_scope(service_with_orders: Service) -> None:
    """An operation that is not for learners, and names no session, is 403 with the token of a learner."""
    body = {"user_id": "ada", "quiz_id": 7}
    for headers, status in ((bearer("ada"), 403), (_proctor("ada", 7), 201), (_service(), 201)):
        response = service_with_orders.client.post("/api/sessions/start", json=body, headers=headers)
        assert response.status_code == status


@pytest.mark.parametrize(
    ("operation", "access"),
    [
        ("completeSession", "x-other: []"),
        ("completeSession", "x-access: []"),
        ("completeSession", "x-access: [learner, 'sessions:all']"),
        ("completeSession", "security: []\n      x-access: [learner]"),
    ],
)
def test_a_contract_with_unclear_access_is_an_error(tmp_path: Path, operation: str, access: str) -> None:
    """The contract is not loaded if an operation has no access, an unknown one, or one without a token."""
    file = _changed(copy_repository(tmp_path), operation, access)
    with pytest.raises(ContractError, match="completeSession: x-access"):
        contract.load(file)
