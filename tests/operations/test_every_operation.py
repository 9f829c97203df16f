"""What operations answer alike, whatever they are for."""

import http.client
import re
from uuid import uuid4

import httpx
import pytest

from tests.support import conformance
from tests.support.conformance import PATHS
from tests.support.service import Service
from tests.support.waiting import eventually

OPERATIONS = {
    operation["operationId"]: (method, path)
    for path, item in PATHS.items()
    for method, operation in item.items()
}
# Those that are for callers; the others are about the service itself.
SESSIONS = [
    operation["operationId"]
    for item in PATHS.values()
    for operation in item.values()
    if operation.get("security") != []
]
BODIES = {
    "startSession": {"user_id": "ada", "quiz_id": 7},
    "updateProgress": {"question_id": 1, "answer": "x"},
    "saveAnswers": {"answers": {"1": "x"}},
}


@pytest.mark.parametrize("operation", SESSIONS)
def test_401_without_a_token(operation: str, guarded: Service) -> None:
    """Where tokens are asked for, a request without one is nobody's."""
    reply = _ask(guarded, operation)
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("operation", SESSIONS)
def test_401_with_a_token_that_is_none(operation: str, guarded: Service) -> None:
    """What is no token of the issuer's is refused, without a word on why."""
    reply = _ask(guarded, operation, authorization="Bearer not.a.token")
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


@pytest.mark.parametrize("operation", OPERATIONS)
def test_408_for_a_body_that_does_not_come(
    operation: str, service: Service, stalled: dict[str, http.client.HTTPConnection]
) -> None:
    """A request whose body is not there within ten seconds is told so, and its connection ends.

    By its own log the service has waited for as long; only one that waits for longer takes twice the time.
    """
    name = operation
    with stalled[name].getresponse() as told:
        reply = httpx.Response(told.status, headers=told.getheaders(), content=told.read())
    method, path = OPERATIONS[name]
    reply.request = httpx.Request(method, f"http://service{filled(path)}")
    conformance.check(reply)
    assert (reply.status_code, reply.headers["connection"]) == (408, "close")
    line = rf" {reply.headers['x-request-id']} .* 408 ([\d.]+)ms\n"
    logged = eventually(lambda: re.search(line, service.log.read_text()))
    assert logged is not None
    assert 9_900 < float(logged[1]) < 20_000


@pytest.mark.parametrize("operation", OPERATIONS)
def test_414_over_4_kib(operation: str, service: Service) -> None:
    """A path and a query of over 4 KiB are refused before anybody looks at them."""
    assert _ask(service, operation, query="x=" + 4096 * "x").status_code == 414


@pytest.mark.parametrize("operation", SESSIONS)
def test_429_when_it_asks_too_often(operation: str, limited: Service) -> None:
    """A caller that has used up its minute is told when to come back."""
    reply = next(reply for _ in range(100) if (reply := _ask(limited, operation)).status_code == 429)
    assert reply.headers["retry-after"] == "1"
    assert reply.json()["retryAfterSeconds"] == 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_431_over_100_header_lines(operation: str, service: Service) -> None:
    """A head with too many lines is refused."""
    headers = [(f"x-{number}", "1") for number in range(101)]
    method, path = OPERATIONS[operation]
    assert service.client.request(method, filled(path), headers=headers).status_code == 431


def filled(path: str) -> str:
    """Return the path with the id of no session."""
    return path.replace("{id}", str(uuid4()))


def _ask(service: Service, name: str, query: str = "", **headers: str) -> httpx.Response:
    method, path = OPERATIONS[name]
    return service.client.request(method, f"{filled(path)}?{query}", json=BODIES.get(name), headers=headers)
