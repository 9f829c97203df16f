"""Tests of error messages: each names the field, the rule and the limit, and repeats no value."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.api.contract_examples import OPERATIONS, PARAMETERS, REQUESTS
from tests.support.conformance import DOCUMENT
from tests.support.service import Service
from tests.support.violations import MARK, Violation, keywords, of_body, of_parameter

SESSION_ID = "3f333df6-90a4-4fda-8dd3-9485d27cee36"
PROGRESS = f"/api/sessions/{SESSION_ID}/progress"
START = "/api/sessions/start"
BODY: dict[str, Any] = {"user_id": "ada", "quiz_id": 7}
JSON = {"content-type": "application/json"}
# Orders need a key; it is no violation of the others.
KEY = {"idempotency-key": "k"}

BODIES = {
    name: spec["requestBody"]["content"]["application/json"]["schema"]
    for name, (_, _, spec) in OPERATIONS.items()
    if "requestBody" in spec
}
FORM = re.compile(r"(must (not )?(be|have) \S|has (a wrong key \(|unknown names: |twice: )).*(?<![.])")
JARGON = (
    *("oneOf", "anyOf", "propertyNames", "additionalProperties", "none of the forms", "schema", "contract"),
    *("of type", "must be must", "must be be", "it must be it", "[^", "\\x", "{1,", "(?", "None", "  "),
)

# Method, path, body, and the path and message of each detail.
CASES: dict[str, tuple[str, str, Any, list[tuple[str, str]]]] = {
    "one bad answer of three": (
        "PATCH",
        PROGRESS,
        {"answers": {"1": "good", "2": "\x00", "3": "good"}},
        [("body.answers.2", "must be free of U+0000, in texts and in names")],
    ),
    "one bad answer among keys that are the same number": (
        "PATCH",
        PROGRESS,
        {"answers": {"7": "good", "007": "bad\x00", "+7": "good"}},
        [("body.answers.007", "must be free of U+0000, in texts and in names")],
    ),
    "one bad answer under a key with many zeros": (
        "PATCH",
        PROGRESS,
        {"answers": {"7": "good", "0" * 40 + "7": "bad\x00"}},
        [("body.answers." + "0" * 40 + "7", "must be free of U+0000, in texts and in names")],
    ),
    "one bad answer under a key that is not plain": (
        "PATCH",
        PROGRESS,
        {"annotations": {"1": "good", "<b>": ["\x00"]}},
        [("body.annotations.#2.0", "must be free of U+0000, in texts and in names")],
    ),
    "a key that is too long": (
        "PATCH",
        PROGRESS,
        {"answers": {"1": "good", "x" * 129: "good"}},
        [("body.answers", "has a wrong key (#2): it must have at most 128 characters")],
    ),
    "an answer of 65 levels in a batch": (
        "PATCH",
        PROGRESS,
        b'{"answers": {"1": 1, "2": ' + b"[" * 65 + b"]" * 65 + b"}}",
        [("body.answers.2", "must have at most 64 levels of arrays and objects")],
    ),
    "an answer of more levels than the validator has": (
        "PATCH",
        PROGRESS,
        b'{"answers": {"1": 1, "2": ' + b"[" * 999 + b"]" * 999 + b"}}",
        [("body", "must have at most 64 levels of arrays and objects in each value")],
    ),
    "a save of nothing": (
        "PATCH",
        PROGRESS,
        {"answers": None, "version": 1},
        [("body", "must have answers, annotations or current_question")],
    ),
    "unknown fields, some of which are not plain": (
        "POST",
        START,
        {**BODY, "time-limit": 1, "<b>": 2, "x" * 65: 3},
        [("body", "has unknown names: time-limit, 2 more")],
    ),
    "several faults at once": (
        "POST",
        START,
        {"user_id": "x" * 256, "quiz_id": -1, "time_factor": 0, "if_active": "always"},
        [
            ("body.if_active", "must be one of new, resume"),
            ("body.quiz_id", "must be at least 1"),
            ("body.time_factor", "must be at least 1"),
            ("body.user_id", "must have at most 255 characters"),
        ],
    ),
    "a body that is no JSON": ("POST", START, b"{", [("body", "must be I-JSON (RFC 7493): JSON in UTF-8, ")]),
    "no body": ("POST", START, b"", [("body", "must be there")]),
    "a body of null": ("POST", START, b"null", [("body", "must be an object")]),
    "a body that is an array": ("POST", START, [BODY], [("body", "must be an object")]),
    "an unknown parameter": (
        "GET",
        "/api/sessions?answers=true&limit=101",
        None,
        [("query", "has unknown names: answers"), ("query.limit", "must be at most 100")],
    ),
    "a parameter twice": (
        "GET",
        "/api/sessions?limit=1&limit=2",
        None,
        [("query", "has twice: limit")],
    ),
    "malformed percent-encoding": (
        "GET",
        "/api/sessions?user_id=%zz",
        None,
        [("query", "must be percent-encoded UTF-8")],
    ),
}


def _request(name: str) -> tuple[str, str]:
    """Return the method and the path of an operation."""
    method, path, _ = OPERATIONS[name]
    return method, path.replace("{id}", SESSION_ID)


def _complaints(response: httpx.Response, place: str, violation: Violation) -> Iterator[str]:
    """Yield the complaints about a response to a violation: not one detail, a wrong path, a bad message."""
    if response.status_code != 400 or len(response.json()["details"]) != 1:
        yield f"not one detail: {response.text}"
        return
    (detail,) = response.json()["details"]
    message = detail["message"]
    if detail["path"] != ".".join([place, *violation.steps]):
        yield f"wrong path: {detail}"
    if not FORM.fullmatch(message) or len(message) > 200:
        yield f"no readable form: {message}"
    yield from (f"has {word}: {message}" for word in JARGON if word in message)
    yield from (f"does not name {name}: {message}" for name in violation.names if name not in message)
    number = isinstance(violation.value, int) and re.search(rf"\b{violation.value}\b", message)
    if MARK in message or (number and violation.keyword != "not"):
        yield f"repeats the value: {message}"


@pytest.mark.parametrize("operation", BODIES)
def test_each_violation_of_a_body_has_a_readable_message(service: Service, operation: str) -> None:
    """Each keyword of a body that is violated gives one detail with its path, and the rule in plain words."""
    method, target = _request(operation)
    examples = [body for name, body in REQUESTS.items() if name.startswith(f"{operation}.") and body != {}]
    found = []
    for violation in of_body(BODIES[operation], *examples):
        if violation.value is None and not OPERATIONS[operation][2]["requestBody"]["required"]:
            continue
        # httpx sends no body for None.
        content = {"content": b"null"} if violation.value is None else {"json": violation.value}
        response = service.client.request(method, target, headers=JSON | KEY, **content)
        found += [f"{violation.keyword}: {one}" for one in _complaints(response, "body", violation)]
    assert found == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_violation_of_a_parameter_has_a_readable_message(service: Service, name: str) -> None:
    """Each keyword of a parameter that is violated gives one detail with its name, and the rule."""
    operation, parameter = name.split(".")
    method, target = _request(operation)
    kind = PARAMETERS[name]["in"]
    body = next((body for key, body in REQUESTS.items() if key.startswith(f"{operation}.")), None)
    found = []
    for violation in of_parameter(PARAMETERS[name]["schema"]):
        text, headers = violation.value, KEY
        if kind == "header":
            headers = {**KEY, parameter.lower(): text}
        if kind == "header" and not text.isprintable():
            continue
        if kind == "query":
            target = f"{_request(operation)[1]}?{parameter}={quote(text)}"
        if kind == "path":
            target = target.replace(SESSION_ID, quote(text))
        response = service.client.request(method, target, json=body, headers=headers)
        found += [f"{text!r}: {one}" for one in _complaints(response, f"{kind}.{parameter}", violation)]
    assert found == []


def test_every_keyword_of_a_request_is_violated() -> None:
    """The tests above violate every keyword that the schemas of requests have."""
    schemas = [*BODIES.values(), *(parameter["schema"] for parameter in PARAMETERS.values())]
    violated = {one.keyword for body in BODIES.values() for one in of_body(body, {})}
    assert set().union(*map(keywords, schemas)) == violated
    assert {"x-max-bytes", "x-max-depth", "propertyNames", "pattern", "not", "enum"} <= violated


@pytest.mark.parametrize("case", CASES)
def test_400_names_the_field_the_rule_and_the_limit(service: Service, case: str) -> None:
    """Each detail of a 400 has the path of a field, and a message with the rule and its limit."""
    method, target, body, expected = CASES[case]
    sent = {"content": body, "headers": JSON} if isinstance(body, bytes) else {"json": body}
    response = service.client.request(method, target, **sent)
    assert response.status_code == 400
    details = sorted((detail["path"], detail["message"]) for detail in response.json()["details"])
    for (path, message), (expected_path, expected_message) in zip(details, expected, strict=True):
        assert path == expected_path
        assert message.startswith(expected_message)


def test_messages_describe_patterns() -> None:
    """Each schema with a pattern has a description, which messages show instead of the pattern."""
    schemas = DOCUMENT["components"]["schemas"].items()
    assert [name for name, schema in schemas if "pattern" in schema and not schema.get("description")] == []


def test_413_names_the_limit(service: Service) -> None:
    """A 413 for the body and one for the session have different messages, each with its limits."""
    response = service.client.post(START, content=b" " * 262_145)
    assert response.json()["message"] == "The body has over 262144 bytes."
    session_id = service.start()["id"]
    responses = [service.save(session_id, number, ["\u00fc" * 1_000] * 100) for number in range(6)]
    assert responses[-1].json()["message"] == (
        "The session would have over 10000 answers or annotations, or over 1048576 bytes of both."
    )


def test_414_names_the_limit(service: Service) -> None:
    """The message of a 414 has the maximum length."""
    response = service.client.get("/api/sessions?user_id=" + "x" * 5000)
    assert (response.status_code, "4096" in response.json()["message"]) == (414, True)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"content-type": "application/json", "content-encoding": "gzip"},
            "must not have a content encoding",
        ),
        ({"content-type": "application/json", "content-encoding": "identity, br"}, "content encoding"),
        ({"content-type": "text/plain"}, "content type application/json"),
        ({"content-type": "application/json; charset=latin1"}, "content type application/json"),
    ],
)
def test_415_names_the_content_type_or_encoding(
    service: Service, headers: dict[str, str], message: str
) -> None:
    """The message of a 415 names the content type or the content encoding."""
    response = service.client.post(START, content=b"{}", headers=headers)
    assert response.status_code == 415
    assert message in response.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json;charset=utf8"},
        {"content-type": 'application/json; charset="UTF-8"'},
        {"content-type": "application/json", "content-encoding": "identity"},
    ],
)
def test_equivalent_content_types_are_accepted(service: Service, headers: dict[str, str]) -> None:
    """Other spellings of the charset, and the encoding identity, are accepted."""
    content = service.client.build_request("POST", START, json=BODY).content
    assert service.client.post(START, content=content, headers=headers).status_code == 201
