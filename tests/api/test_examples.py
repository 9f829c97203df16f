"""Tests that every example in the contract is what the running service accepts and returns."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from redis import Redis

from tests.api.contract_examples import (
    HEADERS,
    OPERATIONS,
    PARAMETER_OUTCOMES,
    PARAMETERS,
    REQUEST_OUTCOMES,
    REQUESTS,
    RESPONSES,
    nodes,
)
from tests.api.test_health import readiness_during_shutdown
from tests.conftest import Urls, migrate
from tests.support.conformance import DOCUMENT, resolved, validator
from tests.support.issuer import bearer
from tests.support.raw_http import HEALTH, exchange
from tests.support.service import Service, running
from tests.support.waiting import eventually

START = "/api/sessions/start"
ID, TIME = r"[0-9a-f]{8}-[0-9a-f-]{27}", r"20\d\d-[0-9T:.-]+Z"
COMPONENTS = DOCUMENT["components"]


def _session(service: Service, version: int, **fields: object) -> str:
    """Return the id of a new session of ada, saved to until it has the version, as the examples show it."""
    session_id = str(service.start(user_id="ada", **fields)["id"])
    time.sleep(0.002)  # times that differ in an example must differ in the response, too
    for question, answer in ((3, "Paris"), (4, ["a", "c"]))[: version - 1]:
        assert service.save(session_id, question, answer).status_code == 200
    return session_id


def _expired(service: Service) -> str:
    """Return the id of a session with one answer that the sweeper has marked as expired."""
    session_id = _session(service, 2, time_limit_seconds=3)
    expired = _response_when(
        lambda: service.read(session_id), lambda body: body.get("session", {}).get("version") == 3
    )
    session = expired.json()["session"]
    # The example shows different times; rarely the sweeper runs within a millisecond of the expiry.
    return session_id if session["updated_at"] > session["expires_at"] else _expired(service)


def _completed(service: Service) -> str:
    session_id = _session(service, 2)
    service.complete(session_id)
    return session_id


def _history(service: Service) -> httpx.Response:
    session_id, tab = _session(service, 1), {"client-id": "tab-7c1e2f90"}
    service.save(session_id, 3, "Paris", tab)
    time.sleep(0.002)
    service.complete(session_id, tab, answers={"4": ["a", "c"]})
    return service.client.get(f"/api/sessions/{session_id}/events")


def _reuse_a_key(service: Service) -> httpx.Response:
    session_id, key = _session(service, 1), {"idempotency-key": "k"}
    service.save(session_id, 3, "Paris", key)
    return service.save(session_id, 3, "Rome", key)


def _exhaust_attempts(service: Service) -> httpx.Response:
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, "max_attempts": 1}
    return [service.client.post(START, json=body) for _ in range(2)][1]


def _ask_health(service: Service) -> httpx.Response:
    # On a busy machine the circuit breaker of Redis may be open for a second.
    return _response_when(
        lambda: service.client.get("/health"), lambda health: health["checks"]["redis"] == "up"
    )


def _ask_too_often(service: Service) -> httpx.Response:
    return next(reply for _ in range(100) if (reply := service.read(uuid4())).status_code == 429)


def _response_when(ask: Callable[[], httpx.Response], ready: Callable[[Any], bool]) -> httpx.Response:
    responses: list[httpx.Response] = []

    def is_ready() -> bool:
        responses.append(ask())
        return ready(responses[-1].json())

    eventually(is_ready, lambda: responses[-1].text)
    return responses[-1]


# Requests that get each response example, by the fixture of the service.
SCENARIOS: dict[str, dict[str, Callable[[Service], httpx.Response]]] = {
    "service": {
        "Session.inProgress": lambda at: at.read(_session(at, 3)),
        "Session.completed": lambda at: at.complete(_session(at, 3)),
        "SessionEventPage.history": _history,
        "StartedSession.started": lambda at: at.client.post(START, json={"user_id": "ada", "quiz_id": 7}),
        "Health.healthy": _ask_health,
        "ValidationError.validationError": lambda at: at.save(uuid4(), -1, "Paris"),
        "SessionNotFoundError.sessionNotFoundError": lambda at: at.read(uuid4()),
        "RouteNotFoundError.routeNotFoundError": lambda at: at.client.get("/api"),
        "MethodNotAllowedError.methodNotAllowedError": lambda at: at.client.delete("/health"),
        "SessionConflictError.sessionConflictError": lambda at: at.save(_session(at, 2), 4, "a", version=1),
        "SessionExpiredError.sessionExpiredError": lambda at: at.read(_expired(at)),
        "SessionEndedError.sessionExpiredError": lambda at: at.save(_expired(at), 4, "a"),
        "SessionEndedError.sessionCompletedError": lambda at: at.save_many(_completed(at), {"4": "a"}),
        "StartForbiddenError.attemptsExhaustedError": _exhaust_attempts,
        "PayloadTooLargeError.payloadTooLargeError": lambda at: at.client.post(START, content=b" " * 262_145),
        "UnsupportedMediaTypeError.unsupportedMediaTypeError": lambda at: at.client.post(START, content="x"),
        "IdempotencyKeyReusedError.idempotencyKeyReusedError": _reuse_a_key,
        "Liveness.alive": lambda at: at.client.get("/health/live"),
        "Readiness.ready": lambda at: at.client.get("/health/ready"),
        "RequestTimeoutError.requestTimeoutError": lambda at: exchange(
            at.url, b"GET /health HTTP/1.1\r\n", targets=(HEALTH,)
        )[0],
        "UriTooLongError.uriTooLongError": lambda at: at.client.get("/api/sessions?user_id=" + 4096 * "x"),
        "HeadersTooLargeError.headersTooLargeError": lambda at: at.client.get(
            "/health", headers=[(f"x-{number}", "1") for number in range(101)]
        ),
    },
    "service_with_tokens": {
        "UnauthenticatedError.unauthenticatedError": lambda at: at.read(uuid4()),
        "ForbiddenError.forbiddenError": lambda at: at.client.get(
            "/api/sessions", params={"user_id": "grace"}, headers=bearer("ada")
        ),
        "StartForbiddenError.forbiddenError": lambda at: at.client.post(
            START, json={"user_id": "grace", "quiz_id": 7}, headers=bearer("ada")
        ),
    },
    "service_with_rate_limit": {"RateLimitedError.rateLimitedError": _ask_too_often},
    "service_with_one_session": {"SessionPage.last": lambda at: at.client.get("/api/sessions")},
    "service_without_table": {"InternalServerError.internalServerError": lambda at: at.read(uuid4())},
    "service_without_postgresql": {
        "ServiceUnavailableError.serviceUnavailableError": lambda at: at.read(uuid4()),
        # Health checks are cached for a second.
        "ServiceUnhealthyError.unhealthy": lambda at: _response_when(
            lambda: at.client.get("/health"),
            lambda body: body["checks"] == {"postgres": "down", "redis": "up"},
        ),
        "ServiceNotReadyError.unavailable": lambda at: _response_when(
            lambda: at.client.get("/health/ready"), lambda body: body["status"] != "ready"
        ),
    },
    "service_to_shut_down": {"ServiceNotReadyError.draining": readiness_during_shutdown},
}
FIXTURES = {name: fixture for fixture, scenarios in SCENARIOS.items() for name in scenarios}

# The response example that has each header.
HEADER_SOURCES = {
    "etag": "Session.inProgress",
    "session-expires-at": "Session.inProgress",
    "session-now": "Session.inProgress",
    "location": "StartedSession.started",
    "retry-after": "SessionConflictError.sessionConflictError",
    "allow": "MethodNotAllowedError.methodNotAllowedError",
    "www-authenticate": "UnauthenticatedError.unauthenticatedError",
}


@pytest.fixture
def service_with_one_session(fresh_database: Urls) -> Iterator[Service]:
    """A service whose database has one session."""
    migrate(fresh_database)
    with running(fresh_database) as service:
        _session(service, 3)
        yield service


@pytest.fixture
def service_to_shut_down(migrated: Urls) -> Iterator[Service]:
    """A service that the test shuts down."""
    with running(migrated) as service:
        yield service


@pytest.fixture
def example_session_id(service: Service, database: psycopg.Connection, cache: Redis) -> Iterator[str]:
    """The session id of the contract's example, of a session at version 3; the example key is unused."""
    session_id = COMPONENTS["parameters"]["SessionIdPath"]["example"]
    key = COMPONENTS["parameters"]["IdempotencyKeyHeader"]["example"]

    def clear() -> None:
        database.execute("delete from quiz_sessions where id = %s or start_key = %s", [session_id, key])
        database.execute("delete from session_events where session_id = %s", [session_id])
        cache.delete(f"session:{session_id}")

    # Schemathesis also sends the examples.
    clear()
    query = "update quiz_sessions set id = %s where id = %s"
    database.execute(query, [session_id, _session(service, 3)])
    yield session_id
    clear()


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_example_is_accepted(service: Service, database: psycopg.Connection, name: str) -> None:
    """A request example succeeds; one with a version is 409 on a session of another version."""
    operation, _ = name.split(".")
    # Schemathesis also sends the examples.
    database.execute("delete from quiz_sessions where user_id = 'ada' and max_attempts is not null")
    seen = [_send(service, operation, _session(service, version), REQUESTS[name]) for version in (1, 2)]
    assert tuple(seen) == REQUEST_OUTCOMES[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_example_works(service: Service, example_session_id: str, name: str) -> None:
    """A parameter example, sent twice to each operation that has it, has the expected status and ETag."""
    operation, parameter = name.split(".")
    place, example = PARAMETERS[name]["in"], str(PARAMETERS[name]["example"])
    headers, query = ({parameter: example} if place == kind else {} for kind in ("header", "query"))
    body = next((body for request, body in REQUESTS.items() if request.startswith(f"{operation}.")), None)
    seen = [
        _send(service, operation, example_session_id, body, headers=headers, params=query) for _ in range(2)
    ]
    assert tuple(seen) == PARAMETER_OUTCOMES[name]


def test_the_cache_control_example_bypasses_the_cache(service: Service, database: psycopg.Connection) -> None:
    """The example of Cache-Control reads a change that the cache does not have."""
    session_id = _session(service, 1)
    database.execute("update quiz_sessions set current_question = 9 where id = %s", [session_id])
    header = {"cache-control": PARAMETERS["getSession.Cache-Control"]["example"]}
    assert service.read(session_id, header).json()["current_question"] == 9


@pytest.mark.parametrize("name", RESPONSES)
def test_every_response_example_is_returned(request: pytest.FixtureRequest, name: str) -> None:
    """A response equals its example, except for ids and times."""
    reply = SCENARIOS[FIXTURES[name]][name](request.getfixturevalue(FIXTURES[name]))
    assert _masked(reply.json()) == _masked(RESPONSES[name])


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_example_is_returned(request: pytest.FixtureRequest, name: str) -> None:
    """A header equals its example, except for ids."""
    response = HEADER_SOURCES[name]
    reply = SCENARIOS[FIXTURES[response]][response](request.getfixturevalue(FIXTURES[response]))
    assert _masked(reply.headers[name]) == _masked(str(HEADERS[name]))


def test_every_example_is_tested() -> None:
    """Every example in the contract is tested, and every test has an example."""
    assert REQUESTS.keys() == REQUEST_OUTCOMES.keys()
    assert PARAMETERS.keys() == PARAMETER_OUTCOMES.keys()
    assert RESPONSES.keys() == FIXTURES.keys()
    assert HEADERS.keys() == HEADER_SOURCES.keys()
    found = list(nodes(DOCUMENT))
    shown = sum(len(node.get("examples", {})) for node in found if "schema" in node)
    assert shown == len(REQUESTS) + len(RESPONSES)
    assert not [media for node in found for media in node.get("content", {}).values() if "example" in media]
    used = {node["$ref"] for node in found if "$ref" in node}
    assert {f"#/components/examples/{name}" for name in COMPONENTS["examples"]} <= used


def test_every_example_fits_its_schema() -> None:
    """Examples in bodies, parameters, headers and schemas are valid against their schema."""
    for node in nodes(DOCUMENT):
        named = node.get("examples", {}) if "schema" in node else {}
        values = [resolved(example)["value"] for example in named.values()]
        values += [node["example"]] if "example" in node else []
        for value in values:
            validator(node.get("schema", node)).validate(value)


def _send(service: Service, operation: str, session_id: str, body: object, **extra: Any) -> str:
    """Send a request; return the status and the ETag of its response."""
    method, path, _ = OPERATIONS[operation]
    reply = service.client.request(method, path.format(id=session_id), json=body, **extra)
    return f"{reply.status_code} {reply.headers.get('etag', '')}".rstrip()


def _masked(value: object) -> str:
    """Return the value as JSON with ids and times replaced by their order: equal ones stay equal."""
    text = json.dumps(value, sort_keys=True, indent=1)
    ids, times = list(dict.fromkeys(re.findall(ID, text))), sorted(set(re.findall(TIME, text)))
    text = re.sub(ID, lambda found: f"id {ids.index(found[0])}", text)
    return re.sub(TIME, lambda found: f"time {times.index(found[0])}", text)
