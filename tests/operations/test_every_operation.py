"""Responses that all operations share: authentication, timeouts, limits."""

import http.client
import re
from uuid import uuid4

import httpx
import pytest

from tests.support import conformance, issuer
from tests.support.conformance import PATHS
from tests.support.orders import AGAIN
from tests.support.service import Service
from tests.support.waiting import eventually

OPERATIONS = {
    operation["operationId"]: (method, path)
    for path, item in PATHS.items()
    for method, operation in item.items()
}
# Operations on sessions; the others are about the service itself.
SESSIONS = [
    operation["operationId"]
    for item in PATHS.values()
    for operation in item.values()
    if operation.get("security") != []
]
BODIES: dict[str, dict[str, object]] = {
    "startSession": {"user_id": "ada", "quiz_id": 7},
    "updateProgress": {"question_id": 1, "answer": "x"},
    "saveAnswers": {"answers": {"1": "x"}},
    "changeDeadline": {"extra_seconds": 60},
    "reopenSession": AGAIN,
    "changeDeadlines": {"quiz_id": "no-quiz", "extra_seconds": 60},
    "pauseSessions": {"quiz_id": "no-quiz"},
    "resumeSessions": {"quiz_id": "no-quiz"},
}


def key(operation: str) -> dict[str, str]:
    """Return the header with the key that the operation needs, if it does."""
    method, path = OPERATIONS[operation]
    return {"idempotency-key": str(uuid4())} if "Orders" in PATHS[path][method]["tags"] else {}


@pytest.mark.parametrize("operation", SESSIONS)
def test_401_without_a_token(operation: str, service_with_tokens: Service) -> None:
    """A request without a token is rejected if the service requires tokens."""
    response = _request(service_with_tokens, operation)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("operation", SESSIONS)
def test_401_with_an_invalid_token(operation: str, service_with_tokens: Service) -> None:
    """A request with an invalid token is rejected, without a reason."""
    response = _request(service_with_tokens, operation, authorization="Bearer not.a.token")
    assert (response.status_code, response.headers["www-authenticate"]) == (
        401,
        'Bearer error="invalid_token"',
    )


@pytest.mark.parametrize("operation", SESSIONS)
def test_403_with_a_token_for_another_operation(operation: str, service_with_tokens: Service) -> None:
    """A valid request is rejected if the scopes of its token do not allow the operation."""
    erases = operation.startswith("erase")
    token = issuer.bearer("back-end", scope=issuer.SERVICE_SCOPE if erases else "sessions:erase")
    response = _request(service_with_tokens, operation, **token)
    assert (response.status_code, response.json()["errorCode"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_408_for_a_body_that_does_not_arrive(
    operation: str, service: Service, stalled: dict[str, http.client.HTTPConnection]
) -> None:
    """A request whose body does not arrive within ten seconds gets 408, and its connection is closed.

    The service logs the time that it waited; up to twice the timeout is accepted.
    """
    name = operation
    with stalled[name].getresponse() as received:
        response = httpx.Response(received.status, headers=received.getheaders(), content=received.read())
    method, path = OPERATIONS[name]
    response.request = httpx.Request(method, f"http://service{filled(path)}")
    conformance.check(response)
    assert (response.status_code, response.headers["connection"]) == (408, "close")
    line = rf" {response.headers['x-request-id']} .* 408 ([\d.]+)ms\n"
    logged = eventually(lambda: re.search(line, service.log.read_text()))
    assert logged is not None
    assert 9_900 < float(logged[1]) < 20_000


@pytest.mark.parametrize("operation", OPERATIONS)
def test_414_over_4_kib(operation: str, service: Service) -> None:
    """A target over 4 KiB is rejected."""
    assert _request(service, operation, query="x=" + 4096 * "x").status_code == 414


@pytest.mark.parametrize("operation", SESSIONS)
def test_429_over_the_rate_limit(operation: str, service_with_rate_limit: Service) -> None:
    """A request over the rate limit gets 429 with Retry-After."""
    # On a busy machine the circuit breaker for Redis may open, and the process count anew.
    response = next(
        response
        for _ in range(1000)
        if (response := _request(service_with_rate_limit, operation)).status_code == 429
    )
    assert response.headers["retry-after"] == "1"
    assert response.json()["retryAfterSeconds"] == 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_431_over_100_header_lines(operation: str, service: Service) -> None:
    """A request with more than 100 header fields is rejected."""
    headers = [(f"x-{number}", "1") for number in range(101)]
    method, path = OPERATIONS[operation]
    assert service.client.request(method, filled(path), headers=headers).status_code == 431


def filled(path: str) -> str:
    """Return the path with a random id."""
    return path.replace("{id}", str(uuid4()))


def _request(service: Service, name: str, query: str = "", **headers: str) -> httpx.Response:
    method, path = OPERATIONS[name]
    query = query or ("user_id=nobody" if name == "eraseSessions" else "")
    return service.client.request(
        method, f"{filled(path)}?{query}", json=BODIES.get(name), headers=key(name) | headers
    )
