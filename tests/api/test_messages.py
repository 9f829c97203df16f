"""Tests of error messages: each names the field, the rule and the limit, and repeats no value."""

from typing import Any

import pytest

from session_service.api.contract import FILE, read
from tests.support.service import Service

SESSION = "/api/sessions/3f333df6-90a4-4fda-8dd3-9485d27cee36"
START = "/api/sessions/start"
PROGRESS = f"{SESSION}/progress"
BODY: dict[str, Any] = {"user_id": "ada", "quiz_id": 7}
QUESTION_KEY = "which must match: A question id as a key, 0 to 2147483647 in canonical decimal"

# Method, path, body, and the path and message of each detail.
CASES: dict[str, tuple[str, str, Any, list[tuple[str, str]]]] = {
    "an answer of 10 001 characters": (
        "PUT",
        PROGRESS,
        {"question_id": 5, "answer": "x" * 10_001},
        [("body.answer", "must have at most 10000 characters")],
    ),
    "an answer of 101 choices": (
        "PUT",
        PROGRESS,
        {"question_id": 5, "answer": ["x"] * 101},
        [("body.answer", "must have at most 100 items")],
    ),
    "no choice": (
        "PUT",
        PROGRESS,
        {"question_id": 5, "answer": []},
        [("body.answer", "must have at least 1 item")],
    ),
    "a long choice": (
        "PUT",
        PROGRESS,
        {"question_id": 5, "answer": ["x", "x" * 10_001]},
        [("body.answer.1", "must have at most 10000 characters")],
    ),
    "a blank answer": (
        "PUT",
        PROGRESS,
        {"question_id": 5, "answer": " "},
        [("body.answer", "must match: A text that is not all white space and has no U+0000")],
    ),
    "an answer of another type": (
        "PUT",
        PROGRESS,
        {"question_id": 5, "answer": 3.5},
        [("body.answer", "must be of type string or array or null")],
    ),
    "one bad answer of three": (
        "PATCH",
        PROGRESS,
        {"answers": {"1": "good", "2": "", "3": "good"}},
        [("body.answers.2", "must have at least 1 character")],
    ),
    "no answers": (
        "PATCH",
        PROGRESS,
        {"answers": {}},
        [("body.answers", "must have at least 1 entry")],
    ),
    "too many answers": (
        "PATCH",
        PROGRESS,
        {"answers": {str(number): "x" for number in range(501)}},
        [("body.answers", "must have at most 500 entries")],
    ),
    "a key that is no question": (
        "PATCH",
        PROGRESS,
        {"answers": {"f47ac10b-58cc-4372-a567-0e02b2c3d479": "x"}},
        [("body.answers", f"has a wrong key (f47ac10b-58cc-4372-a567-0e02b2c3d479), {QUESTION_KEY}")],
    ),
    "a key that is not plain": (
        "PATCH",
        PROGRESS,
        {"answers": {"<b>": "x"}},
        [("body.answers", f"has a wrong key (1 that cannot be shown), {QUESTION_KEY}")],
    ),
    "an unknown field": (
        "POST",
        START,
        {**BODY, "time_limit": 60},
        [("body", "has unknown names: time_limit")],
    ),
    "unknown fields, some of which are not plain": (
        "POST",
        START,
        {**BODY, "time-limit": 1, "<b>": 2, "x" * 65: 3},
        [("body", "has unknown names: time-limit, 2 more")],
    ),
    "a field that is missing": (
        "PUT",
        PROGRESS,
        {"answer": "x"},
        [("body", "must have question_id")],
    ),
    "limits of a start": (
        "POST",
        START,
        {"user_id": "x" * 256, "quiz_id": 0, "time_limit_seconds": 2_592_001, "if_active": "always"},
        [
            ("body.if_active", "must be one of new, resume"),
            ("body.quiz_id", "must be at least 1"),
            ("body.time_limit_seconds", "must be at most 2592000"),
            ("body.user_id", "must have at most 255 characters"),
        ],
    ),
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
}


@pytest.mark.parametrize("case", CASES)
def test_400_names_the_field_the_rule_and_the_limit(service: Service, case: str) -> None:
    """Each detail of a 400 has the path of a field, and a message with the rule and its limit."""
    method, target, body, expected = CASES[case]
    response = service.client.request(method, target, json=body)
    assert response.status_code == 400
    details = sorted((detail["path"], detail["message"]) for detail in response.json()["details"])
    for (path, message), (expected_path, expected_message) in zip(details, expected, strict=True):
        assert path == expected_path
        assert message.startswith(expected_message)


def test_messages_describe_patterns() -> None:
    """Each schema with a pattern has a description, which messages show instead of the pattern."""
    schemas = read(FILE)["components"]["schemas"].items()
    assert [name for name, schema in schemas if "pattern" in schema and not schema.get("description")] == []


def test_413_names_the_limit(service: Service) -> None:
    """A 413 for the body and one for the session have different messages, each with its limit."""
    response = service.client.post(START, content=b" " * 262_145)
    assert response.json()["message"] == "The body has over 262144 bytes."
    session_id = service.start()["id"]
    responses = [service.save(session_id, number, ["\u00fc" * 1_000] * 100) for number in range(6)]
    assert (
        responses[-1].json()["message"]
        == "The session would have over 10000 answers, or 1048576 bytes of them."
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
