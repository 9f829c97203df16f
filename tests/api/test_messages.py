"""Messages of refused requests: each names the field, the rule and the limit, and no value that was sent."""

from typing import Any

import pytest

from session_service.api.contract import FILE, read
from tests.support.service import Service

SESSION = "/api/sessions/3f333df6-90a4-4fda-8dd3-9485d27cee36"
START = "/api/sessions/start"
PROGRESS = f"{SESSION}/progress"
BODY: dict[str, Any] = {"user_id": "ada", "quiz_id": 7}
QUESTION_KEY = "which must match: A question id as a key, 0 to 2147483647 in canonical decimal"

# Method, path, body or query, and the place and the message of each detail.
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
def test_a_400_names_the_place_the_rule_and_the_limit(service: Service, case: str) -> None:
    """Each detail says where, which rule and which limit, in a sentence that a person understands."""
    method, path, body, expected = CASES[case]
    reply = service.client.request(method, path, json=body)
    assert reply.status_code == 400
    details = sorted((detail["path"], detail["message"]) for detail in reply.json()["details"])
    for (place, message), (expected_place, expected_message) in zip(details, expected, strict=True):
        assert place == expected_place
        assert message.startswith(expected_message)


def test_no_pattern_of_the_contract_is_shown_to_a_client() -> None:
    """Each schema with a pattern has a description, which a message shows instead."""
    schemas = read(FILE)["components"]["schemas"].items()
    assert [name for name, schema in schemas if "pattern" in schema and not schema.get("description")] == []


def test_413_says_which_limit(service: Service) -> None:
    """A body that is too large and a session that would be are told apart, each with its number."""
    reply = service.client.post(START, content=b" " * 262_145)
    assert reply.json()["message"] == "The body has over 262144 bytes."
    session_id = service.start()["id"]
    replies = [service.save(session_id, number, ["\u00fc" * 1_000] * 100) for number in range(6)]
    assert (
        replies[-1].json()["message"]
        == "The session would have over 10000 answers, or 1048576 bytes of them."
    )


def test_414_says_the_limit(service: Service) -> None:
    """A target that is too long is told how long it may be."""
    reply = service.client.get("/api/sessions?user_id=" + "x" * 5000)
    assert (reply.status_code, "4096" in reply.json()["message"]) == (414, True)


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
def test_415_says_what_is_not_taken(service: Service, headers: dict[str, str], message: str) -> None:
    """A content encoding and a content type are told apart."""
    reply = service.client.post(START, content=b"{}", headers=headers)
    assert reply.status_code == 415
    assert message in reply.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json;charset=utf8"},
        {"content-type": 'application/json; charset="UTF-8"'},
        {"content-type": "application/json", "content-encoding": "identity"},
    ],
)
def test_other_ways_to_say_json_are_taken(service: Service, headers: dict[str, str]) -> None:
    """The usual spelling of the charset, and the encoding that is none, change nothing."""
    content = service.client.build_request("POST", START, json=BODY).content
    assert service.client.post(START, content=content, headers=headers).status_code == 201
