"""Tests that every example in the contract is what the running service accepts and returns."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

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
from tests.api.example_scenarios import FIXTURES, SCENARIOS, new_session
from tests.conftest import Urls, migrate
from tests.support.conformance import DOCUMENT, resolved, validator
from tests.support.service import Service, running

CURSOR = r'(?<=")A[Q-Za-f][A-Za-z0-9_-]{34}(?=")'
ID, TIME = r"[0-9a-f]{8}-[0-9a-f-]{27}", r"20\d\d-[0-9T:.-]+Z"
COMPONENTS = DOCUMENT["components"]

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
        new_session(service, 3)
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
        # Several operations have the same example of a key.
        database.execute("delete from quiz_orders")
        cache.delete(f"session:{session_id}")

    # Schemathesis also sends the examples.
    clear()
    query = "update quiz_sessions set id = %s where id = %s"
    database.execute(query, [session_id, new_session(service, 3)])
    yield session_id
    clear()


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_example_is_accepted(service: Service, database: psycopg.Connection, name: str) -> None:
    """A request example succeeds; one with a version is 409 on a session of another version."""
    operation, _ = name.split(".")
    # Schemathesis also sends the examples.
    database.execute("delete from quiz_sessions where user_id = 'ada' and max_attempts is not null")
    seen = [_send(service, operation, new_session(service, version), REQUESTS[name]) for version in (1, 2)]
    assert tuple(seen) == REQUEST_OUTCOMES[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_example_works(service: Service, example_session_id: str, name: str) -> None:
    """A parameter example, sent twice to each operation that has it, has the expected status and ETag."""
    operation, parameter = name.split(".")
    place, example = PARAMETERS[name]["in"], PARAMETERS[name]["example"]
    example = example if isinstance(example, list) else str(example)
    headers, query = ({parameter: example} if place == kind else {} for kind in ("header", "query"))
    body = next((body for request, body in REQUESTS.items() if request.startswith(f"{operation}.")), None)
    seen = [
        _send(service, operation, example_session_id, body, headers=headers, params=query) for _ in range(2)
    ]
    assert tuple(seen) == PARAMETER_OUTCOMES[name]


def test_the_cache_control_example_bypasses_the_cache(service: Service, database: psycopg.Connection) -> None:
    """The example of Cache-Control reads a change that the cache does not have."""
    session_id = new_session(service, 1)
    database.execute("update quiz_sessions set current_question = 9 where id = %s", [session_id])
    header = {"cache-control": PARAMETERS["getSession.Cache-Control"]["example"]}
    assert service.read(session_id, header).json()["current_question"] == 9


@pytest.mark.parametrize("name", RESPONSES)
def test_every_response_example_is_returned(request: pytest.FixtureRequest, name: str) -> None:
    """A response equals its example, except for ids, times and cursors."""
    reply = SCENARIOS[FIXTURES[name]][name](request.getfixturevalue(FIXTURES[name]))
    shown = reply.json() if isinstance(RESPONSES[name], dict) else reply.text
    assert _masked(shown) == _masked(RESPONSES[name])


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
    """Send a request; return the status and, if it is a version, the ETag of its response."""
    method, path, spec = OPERATIONS[operation]
    if spec["tags"] == ["Orders"]:
        extra["headers"] = {"idempotency-key": str(uuid4())} | {
            name.lower(): value for name, value in extra.get("headers", {}).items()
        }
    reply = service.client.request(method, path.format(id=session_id), json=body, **extra)
    version = re.fullmatch(r'"\d{1,10}"', reply.headers.get("etag", ""))
    return f"{reply.status_code} {version[0] if version else ''}".rstrip()


def _masked(value: object) -> str:
    """Return the value as JSON with ids, times and cursors replaced by their order: equal ones stay equal."""
    text = json.dumps(value, sort_keys=True, indent=1)
    cursors = list(dict.fromkeys(re.findall(CURSOR, text)))
    text = re.sub(CURSOR, lambda found: f"cursor {cursors.index(found[0])}", text)
    ids, times = list(dict.fromkeys(re.findall(ID, text))), sorted(set(re.findall(TIME, text)))
    text = re.sub(ID, lambda found: f"id {ids.index(found[0])}", text)
    return re.sub(TIME, lambda found: f"time {times.index(found[0])}", text)
