"""Every example in the document is executed for real: what it shows is what the running service does."""

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

from tests.api.test_health import ask_at_the_end
from tests.conftest import Urls, migrate
from tests.support.conformance import DOCUMENT, PATHS, resolved, validator
from tests.support.issuer import bearer
from tests.support.raw_http import HEALTH, exchange
from tests.support.service import Service, running
from tests.support.waiting import eventually

START = "/api/sessions/start"
ID, TIME = r"[0-9a-f]{8}-[0-9a-f-]{27}", r"20\d\d-[0-9T:.-]+Z"
COMPONENTS = DOCUMENT["components"]
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, item in PATHS.items()
    for method, operation in item.items()
}

# What the document shows: `operation.example`, `operation.parameter`, `response.example`, `header`.
REQUESTS = {
    f"{operation}.{name}": resolved(example)["value"]
    for operation, (_, _, spec) in OPERATIONS.items()
    for media in spec.get("requestBody", {}).get("content", {}).values()
    for name, example in media.get("examples", {}).items()
}
PARAMETERS = {
    f"{operation}.{parameter['name']}": {**resolved(parameter["schema"]), **parameter}
    for operation, (_, path, spec) in OPERATIONS.items()
    for parameter in map(resolved, DOCUMENT["paths"][path].get("parameters", []) + spec.get("parameters", []))
}
RESPONSES = {
    f"{response}.{name}": resolved(example)["value"]
    for response, spec in COMPONENTS["responses"].items()
    for media in spec.get("content", {}).values()
    for name, example in media.get("examples", {}).items()
}
HEADERS = {
    name: resolved(header)["example"]
    for spec in COMPONENTS["responses"].values()
    for name, header in spec["headers"].items()
    if "example" in resolved(header)
}

# What each request is told, status and version: on a session just started, and on one saved to since.
SENT = {
    "startSession.defaultLimit": ('201 "1"', '201 "1"'),
    "startSession.ownLimit": ('201 "1"', '201 "1"'),
    "startSession.resume": ('200 "1"', '200 "2"'),
    "updateProgress.text": ('200 "2"', '200 "3"'),
    "updateProgress.multiSelect": ('200 "2"', '409 "2"'),
    "updateProgress.clear": ('200 "2"', '200 "3"'),
    "saveAnswers.several": ('200 "2"', '200 "3"'),
    "saveAnswers.onVersion": ('200 "2"', '409 "2"'),
    "completeSession.plain": ('200 "2"', '200 "3"'),
    "completeSession.lastAnswers": ('200 "2"', '409 "2"'),
}

# What a request with each parameter is told: on a session at version 3, and when it is sent once more.
SENT_WITH = {
    "startSession.Idempotency-Key": ('201 "1"', '200 "1"'),
    "listSessions.user_id": ("200", "200"),
    "listSessions.quiz_id": ("200", "200"),
    "listSessions.status": ("200", "200"),
    "listSessions.limit": ("200", "200"),
    "listSessions.cursor": ("200", "200"),
    "getSession.id": ('200 "3"', '200 "3"'),
    "getSession.If-None-Match": ('304 "3"', '304 "3"'),
    "getSession.Cache-Control": ('200 "3"', '200 "3"'),
    "updateProgress.id": ('200 "4"', '200 "5"'),
    "updateProgress.Idempotency-Key": ('200 "4"', '200 "4"'),
    "updateProgress.If-Match": ('200 "4"', '409 "4"'),
    "updateProgress.Prefer": ('204 "4"', '204 "5"'),
    "saveAnswers.id": ('200 "4"', '200 "5"'),
    "saveAnswers.Idempotency-Key": ('200 "4"', '200 "4"'),
    "saveAnswers.If-Match": ('200 "4"', '409 "4"'),
    "saveAnswers.Prefer": ('204 "4"', '204 "5"'),
    "completeSession.id": ('200 "4"', '200 "4"'),
    "completeSession.Idempotency-Key": ('200 "4"', '200 "4"'),
    "completeSession.If-Match": ('200 "4"', '200 "4"'),
}


def _session(service: Service, version: int, **fields: object) -> str:
    """Return the id of a session of ada's that has come to the version as those in the document have."""
    session_id = str(service.start(user_id="ada", **fields)["id"])
    time.sleep(0.002)  # a time that the document shows as later has to be
    for question, answer in ((3, "Paris"), (4, ["a", "c"]))[: version - 1]:
        assert service.save(session_id, question, answer).status_code == 200
    return session_id


def _expired(service: Service) -> str:
    """Return the id of a session with one answer that is stored as expired, and so stays as it is."""
    session_id = _session(service, 2, time_limit_seconds=3)
    expired = _wait(
        lambda: service.read(session_id), lambda told: told.get("session", {}).get("version") == 3
    )
    session = expired.json()["session"]
    # Once in a long while the sweeper comes within a millisecond of the end: not what the document shows.
    return session_id if session["updated_at"] > session["expires_at"] else _expired(service)


def _completed(service: Service) -> str:
    session_id = _session(service, 2)
    service.complete(session_id)
    return session_id


def _reuse_a_key(service: Service) -> httpx.Response:
    session_id, key = _session(service, 1), {"idempotency-key": "k"}
    service.save(session_id, 3, "Paris", key)
    return service.save(session_id, 3, "Rome", key)


def _ask_health(service: Service) -> httpx.Response:
    # On a busy machine the service may doubt its Redis for a second.
    return _wait(lambda: service.client.get("/health"), lambda health: health["checks"]["redis"] == "up")


def _ask_too_often(service: Service) -> httpx.Response:
    return next(reply for _ in range(100) if (reply := service.read(uuid4())).status_code == 429)


def _wait(ask: Callable[[], httpx.Response], ready: Callable[[Any], bool]) -> httpx.Response:
    replies: list[httpx.Response] = []

    def is_ready() -> bool:
        replies.append(ask())
        return ready(replies[-1].json())

    eventually(is_ready, lambda: replies[-1].text)
    return replies[-1]


# What has each response told, by the service that tells it.
SCENARIOS: dict[str, dict[str, Callable[[Service], httpx.Response]]] = {
    "service": {
        "Session.inProgress": lambda at: at.read(_session(at, 3)),
        "Session.completed": lambda at: at.complete(_session(at, 3)),
        "StartedSession.started": lambda at: at.client.post(START, json={"user_id": "ada", "quiz_id": 7}),
        "Health.healthy": _ask_health,
        "ValidationError.validationError": lambda at: at.save(uuid4(), -1, "Paris"),
        "SessionNotFoundError.sessionNotFoundError": lambda at: at.read(uuid4()),
        "RouteNotFoundError.routeNotFoundError": lambda at: at.client.get("/api"),
        "MethodNotAllowedError.methodNotAllowedError": lambda at: at.client.delete("/health"),
        "SessionConflictError.sessionConflictError": lambda at: at.save(_session(at, 2), 4, "a", version=1),
        "SessionExpiredError.sessionExpiredError": lambda at: at.read(_expired(at)),
        "SessionCompletedError.sessionCompletedError": lambda at: at.save(_completed(at), 4, "a"),
        "SessionEndedError.sessionExpiredError": lambda at: at.save(_expired(at), 4, "a"),
        "SessionEndedError.sessionCompletedError": lambda at: at.save_many(_completed(at), {"4": "a"}),
        "PayloadTooLargeError.payloadTooLargeError": lambda at: at.client.post(START, content=b" " * 262_145),
        "UnsupportedMediaTypeError.unsupportedMediaTypeError": lambda at: at.client.post(START, content="x"),
        "IdempotencyKeyReusedError.idempotencyKeyReusedError": _reuse_a_key,
        "Liveness.alive": lambda at: at.client.get("/health/live"),
        "Readiness.ready": lambda at: at.client.get("/health/ready"),
        "RequestTimeoutError.requestTimeoutError": lambda at: exchange(
            at.url, b"GET /health HTTP/1.1\r\n", asked=(HEALTH,)
        )[0],
        "UriTooLongError.uriTooLongError": lambda at: at.client.get("/api/sessions?user_id=" + 4096 * "x"),
        "HeadersTooLargeError.headersTooLargeError": lambda at: at.client.get(
            "/health", headers=[(f"x-{number}", "1") for number in range(101)]
        ),
    },
    "guarded": {
        "UnauthenticatedError.unauthenticatedError": lambda at: at.read(uuid4()),
        "ForbiddenError.forbiddenError": lambda at: at.client.get(
            "/api/sessions", params={"user_id": "grace"}, headers=bearer("ada")
        ),
    },
    "limited": {"RateLimitedError.rateLimitedError": _ask_too_often},
    "service_of_one": {"SessionPage.last": lambda at: at.client.get("/api/sessions")},
    "broken_service": {"InternalServerError.internalServerError": lambda at: at.read(uuid4())},
    "cut_off_service": {
        "ServiceUnavailableError.serviceUnavailableError": lambda at: at.read(uuid4()),
        # For a second the probes answer with their verdict of before.
        "ServiceUnhealthyError.unhealthy": lambda at: _wait(
            lambda: at.client.get("/health"),
            lambda told: told["checks"] == {"postgres": "down", "redis": "up"},
        ),
        "ServiceNotReadyError.unavailable": lambda at: _wait(
            lambda: at.client.get("/health/ready"), lambda told: told["status"] != "ready"
        ),
    },
    "service_to_end": {"ServiceNotReadyError.draining": ask_at_the_end},
}
WHERE = {name: fixture for fixture, scenarios in SCENARIOS.items() for name in scenarios}

# The response that shows each header.
TOLD = {
    "etag": "Session.inProgress",
    "location": "StartedSession.started",
    "retry-after": "SessionConflictError.sessionConflictError",
    "allow": "MethodNotAllowedError.methodNotAllowedError",
    "www-authenticate": "UnauthenticatedError.unauthenticatedError",
}


@pytest.fixture
def service_of_one(fresh_database: Urls) -> Iterator[Service]:
    """A service that has one session."""
    migrate(fresh_database)
    with running(fresh_database) as service:
        _session(service, 3)
        yield service


@pytest.fixture
def service_to_end(migrated: Urls) -> Iterator[Service]:
    """A service that nobody else needs."""
    with running(migrated) as service:
        yield service


@pytest.fixture
def planted(service: Service, database: psycopg.Connection, cache: Redis) -> Iterator[str]:
    """The id that the document shows, of a session at version 3; the key that it shows is unused."""
    session_id = COMPONENTS["parameters"]["SessionId"]["example"]
    key = COMPONENTS["parameters"]["IdempotencyKey"]["example"]

    def clear() -> None:
        database.execute("delete from quiz_sessions where id = %s or start_key = %s", [session_id, key])
        cache.delete(f"session:{session_id}")

    # Schemathesis sends the examples, too.
    clear()
    query = "update quiz_sessions set id = %s where id = %s"
    database.execute(query, [session_id, _session(service, 3)])
    yield session_id
    clear()


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_example_is_accepted(service: Service, name: str) -> None:
    """It succeeds on what its summary speaks of; what is for version 1 only is refused on another."""
    operation, _ = name.split(".")
    told = [_send(service, operation, _session(service, version), REQUESTS[name]) for version in (1, 2)]
    assert tuple(told) == SENT[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_example_does_what_it_is_for(service: Service, planted: str, name: str) -> None:
    """Each operation that takes the parameter is sent the example, twice."""
    operation, parameter = name.split(".")
    place, example = PARAMETERS[name]["in"], str(PARAMETERS[name]["example"])
    headers, query = ({parameter: example} if place == kind else {} for kind in ("header", "query"))
    body = next((body for request, body in REQUESTS.items() if request.startswith(f"{operation}.")), None)
    told = [_send(service, operation, planted, body, headers=headers, params=query) for _ in range(2)]
    assert tuple(told) == SENT_WITH[name]


def test_the_cache_control_example_asks_the_database(service: Service, database: psycopg.Connection) -> None:
    """With it a change is seen that the cache does not know of."""
    session_id = _session(service, 1)
    database.execute("update quiz_sessions set current_question = 9 where id = %s", [session_id])
    header = {"cache-control": PARAMETERS["getSession.Cache-Control"]["example"]}
    assert service.read(session_id, header).json()["current_question"] == 9


@pytest.mark.parametrize("name", RESPONSES)
def test_every_response_example_is_answered(request: pytest.FixtureRequest, name: str) -> None:
    """The reply is the example to the word, but for ids and times."""
    reply = SCENARIOS[WHERE[name]][name](request.getfixturevalue(WHERE[name]))
    assert _masked(reply.json()) == _masked(RESPONSES[name])


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_example_is_answered(request: pytest.FixtureRequest, name: str) -> None:
    """The header is the example to the letter, but for ids."""
    response = TOLD[name]
    reply = SCENARIOS[WHERE[response]][response](request.getfixturevalue(WHERE[response]))
    assert _masked(reply.headers[name]) == _masked(str(HEADERS[name]))


def test_every_example_has_its_scenario() -> None:
    """No example is left out, wherever it stands, and no scenario is without its example."""
    assert REQUESTS.keys() == SENT.keys()
    assert PARAMETERS.keys() == SENT_WITH.keys()
    assert RESPONSES.keys() == WHERE.keys()
    assert HEADERS.keys() == TOLD.keys()
    nodes = list(_nodes(DOCUMENT))
    shown = sum(len(node.get("examples", {})) for node in nodes if "schema" in node)
    assert shown == len(REQUESTS) + len(RESPONSES)
    assert not [media for node in nodes for media in node.get("content", {}).values() if "example" in media]
    used = {node["$ref"] for node in nodes if "$ref" in node}
    assert {f"#/components/examples/{name}" for name in COMPONENTS["examples"]} <= used


def test_every_example_fits_its_schema() -> None:
    """What the contract shows is what it says: in bodies, parameters, headers and schemas."""
    for node in _nodes(DOCUMENT):
        named = node.get("examples", {}) if "schema" in node else {}
        values = [resolved(example)["value"] for example in named.values()]
        values += [node["example"]] if "example" in node else []
        for value in values:
            validator(node.get("schema", node)).validate(value)


def _send(service: Service, operation: str, session_id: str, body: object, **extra: Any) -> str:
    """Send a request and return what it was told: the status and, where there is one, the ETag."""
    method, path, _ = OPERATIONS[operation]
    reply = service.client.request(method, path.format(id=session_id), json=body, **extra)
    return f"{reply.status_code} {reply.headers.get('etag', '')}".rstrip()


def _nodes(node: object) -> Iterator[dict[str, Any]]:
    """Return every object of the document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(inner)


def _masked(value: object) -> str:
    """Return the value as JSON with a number for each id and each time: equal and in order stay what is."""
    text = json.dumps(value, sort_keys=True, indent=1)
    ids, times = list(dict.fromkeys(re.findall(ID, text))), sorted(set(re.findall(TIME, text)))
    text = re.sub(ID, lambda found: f"id {ids.index(found[0])}", text)
    return re.sub(TIME, lambda found: f"time {times.index(found[0])}", text)
