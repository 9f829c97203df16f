"""Responses that all orders of one session share: access, versions, keys, limits."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.orders import AGAIN, METHODS, order
from tests.support.service import Service

KINDS = {
    "changeDeadline": "deadline",
    "pauseSession": "pause",
    "resumeSession": "resume",
    "reopenSession": "reopen",
}
BODIES: dict[str, dict[str, Any]] = {"changeDeadline": {"extra_seconds": 60}, "reopenSession": AGAIN}
ORDERS = pytest.mark.parametrize("operation", list(KINDS))


def _order(service: Service, operation: str, session_id: object, *args: Any, **more: Any) -> Any:
    body = BODIES.get(operation, {}) | more.pop("fields", {})
    return order(service, KINDS[operation], session_id, body, *args, **more)


@ORDERS
def test_400_without_a_key(service: Service, operation: str) -> None:
    """An order without a key is rejected, and the session does not change."""
    session = service.start()
    refused = _order(service, operation, session["id"], None)
    assert (refused.status_code, refused.json()["details"][0]["path"]) == (400, "header")
    assert service.read(session["id"]).json() == session


@ORDERS
def test_403_for_the_learner_of_the_session(service_with_tokens: Service, operation: str) -> None:
    """A learner's token may give no order: 403 for its own session, 404 for another one, and no change."""
    service, user = service_with_tokens, f"user-{uuid4()}"
    start = {"user_id": user, "quiz_id": 7}
    session = service.client.post("/api/sessions/start", json=start, headers=bearer(user)).json()
    refused = _order(service, operation, session["id"], **bearer(user))
    assert (refused.status_code, refused.json()["errorCode"]) == (403, "FORBIDDEN")
    assert _order(service, operation, session["id"], **bearer("eve")).status_code == 404
    assert service.read(session["id"], bearer(user)).json() == session
    staff = bearer("back-end", scope=SERVICE_SCOPE)
    assert _order(service, operation, session["id"], **staff).status_code == 200


@ORDERS
def test_404_for_an_unknown_id(service: Service, operation: str) -> None:
    """An order for an unknown session is 404."""
    assert _order(service, operation, uuid4()).status_code == 404


@ORDERS
def test_409_on_a_stale_version(service: Service, operation: str) -> None:
    """An order onto a stale version changes nothing."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x").json()
    refused = _order(service, operation, session_id, fields={"version": 1})
    assert (refused.status_code, refused.json()["session"]) == (409, saved)
    assert service.read(session_id).json() == saved
    assert _order(service, operation, session_id, fields={"version": 2}).status_code == 200


@ORDERS
def test_409_on_another_if_match(service: Service, operation: str) -> None:
    """`If-Match` is the expected version if the body has none."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x").json()
    for tag in ('"1"', 'W/"3"', '"1", "3"', "another"):
        refused = _order(service, operation, session_id, **{"if-match": tag})
        assert (refused.status_code, refused.json()["session"]) == (409, saved)
    assert service.read(session_id).json() == saved
    sent = {"fields": {"version": 2}, "if-match": '"1"'}
    assert _order(service, operation, session_id, **sent).status_code == 200
    assert _order(service, operation, session_id, **{"if-match": '"1", "2", "3"'}).status_code == 200


@ORDERS
def test_413_over_256_kib(service: Service, operation: str) -> None:
    """A body over 256 KiB is rejected."""
    kind = KINDS[operation]
    path = f"/api/sessions/{uuid4()}/{kind}"
    assert service.client.request(METHODS[kind], path, content=b" " * 262_145).status_code == 413


@ORDERS
def test_415_for_anything_but_json(service: Service, operation: str) -> None:
    """A body must be application/json."""
    kind = KINDS[operation]
    headers = {"content-type": "text/plain", "idempotency-key": "k"}
    path = f"/api/sessions/{uuid4()}/{kind}"
    refused = service.client.request(METHODS[kind], path, content=b"{}", headers=headers)
    assert refused.status_code == 415


@ORDERS
def test_422_for_a_key_of_another_order(service: Service, operation: str) -> None:
    """A key that another order of the session has used is 422 and changes nothing; one of a save is free."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x", {"idempotency-key": "save"})
    first = order(service, "deadline", session_id, {"extra_seconds": 77}, "k").json()
    refused = _order(service, operation, session_id, "k")
    assert (refused.status_code, refused.json()["errorCode"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert service.read(session_id).json() == first
    assert _order(service, operation, session_id, "save").status_code == 200


@ORDERS
def test_500_reveals_only_the_request_id(service_without_table: Service, operation: str) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert _order(service_without_table, operation, uuid4()).status_code == 500


@ORDERS
def test_503_without_postgresql(service_without_postgresql: Service, operation: str) -> None:
    """An order is not acknowledged without the database."""
    assert _order(service_without_postgresql, operation, uuid4()).status_code == 503
