"""Annotations: values of a front end beside the answers."""

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.support.conformance import DOCUMENT
from tests.support.service import Service

FRESH = {"cache-control": "no-cache"}
VALUES: list[Any] = [True, False, 0, 12.5, "", "note", [], {}, {"review": True, "seconds": 12, "x": None}]
SCHEMAS = DOCUMENT["components"]["schemas"]
# A valid body of each kind without optional fields; SaveAnswers needs one of its fields.
KEY = {"idempotency-key": "null"}
PLAIN: dict[str, dict[str, Any]] = {
    "StartSession": {"quiz_id": 7},
    "SaveAnswer": {"question_id": 1, "answer": "x"},
    "SaveAnswers": {"answers": {"1": "x"}},
    "CompleteSession": {},
    "ChangeDeadline": {"extra_seconds": 1},
    "PauseSession": {},
    "ResumeSession": {},
    "ReopenSession": {"time_limit_seconds": 60, "reason": "x"},
    "ChangeDeadlines": {"quiz_id": "no-session", "extra_seconds": 1},
    "PauseSessions": {"quiz_id": "no-session"},
    "ResumeSessions": {"quiz_id": "no-session"},
}
# Method, and path with the session's id, of each request body.
TARGETS = {
    "StartSession": ("POST", "start"),
    "SaveAnswer": ("PUT", "{}/progress"),
    "SaveAnswers": ("PATCH", "{}/progress"),
    "CompleteSession": ("POST", "{}/complete"),
    "ChangeDeadline": ("PUT", "{}/deadline"),
    "PauseSession": ("POST", "{}/pause"),
    "ResumeSession": ("POST", "{}/resume"),
    "ReopenSession": ("POST", "{}/reopen"),
    "ChangeDeadlines": ("POST", "deadline"),
    "PauseSessions": ("POST", "pause"),
    "ResumeSessions": ("POST", "resume"),
}
OPTIONAL = [
    (kind, name)
    for kind in PLAIN
    for name in SCHEMAS[kind]["properties"]
    if name not in SCHEMAS[kind].get("required", [])
]


def _patch(service: Service, session_id: object, **fields: object) -> Any:
    response = service.client.patch(f"/api/sessions/{session_id}/progress", json=fields)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_any_value_is_an_annotation(service: Service, value: object) -> None:
    """An annotation is any JSON value but `null`; it is saved without changing the answers."""
    session_id = service.start()["id"]
    _patch(service, session_id, answers={"1": "x"})
    saved = _patch(service, session_id, annotations={"1": value, "q": value})
    assert (saved["answers"], saved["annotations"]) == ({"1": "x"}, {"1": value, "q": value})
    assert (saved["version"], saved["current_question"]) == (3, 0)
    assert service.read(session_id, FRESH).json() == saved


def test_annotations_are_merged_and_cleared(service: Service) -> None:
    """Annotations are merged by question, whole, and `null` clears one; the answers are another map."""
    session_id = service.start()["id"]
    assert service.start()["annotations"] == {}
    _patch(service, session_id, annotations={"1": {"a": 1}, "2": "b"}, answers={"1": "x", "3": "z"})
    merged = _patch(service, session_id, annotations={"1": {"c": 2}, "2": None, "9": None, "4": "d"})
    assert merged["annotations"] == {"1": {"c": 2}, "4": "d"}
    assert merged["answers"] == {"1": "x", "3": "z"}
    swapped = _patch(service, session_id, answers={"1": None}, annotations={"4": None, "3": "n"})
    assert (swapped["answers"], swapped["annotations"]) == ({"3": "z"}, {"1": {"c": 2}, "3": "n"})


def test_one_answer_may_have_an_annotation(service: Service) -> None:
    """A save of one answer also saves its annotation; without one, or with `null`, the old one stays."""
    session_id = service.start()["id"]
    path = f"/api/sessions/{session_id}/progress"
    body = {"question_id": "q", "answer": "x", "annotation": {"seconds": 3}}
    saved = service.client.put(path, json=body).json()
    assert (saved["answers"], saved["annotations"]) == ({"q": "x"}, {"q": {"seconds": 3}})
    for more in ({}, {"annotation": None}):
        kept = service.client.put(path, json={"question_id": "q", "answer": None, **more}).json()
        assert (kept["answers"], kept["annotations"]) == ({}, {"q": {"seconds": 3}})


def test_last_saved_at_moves_for_what_was_saved(service: Service, database: psycopg.Connection) -> None:
    """`last_saved_at` is the time of the last answer or annotation, saved or cleared, not of a position."""
    session_id = service.start()["id"]
    reset = "update quiz_sessions set last_saved_at = timestamptz '2026-01-01 00:00:00Z' where id = %s"
    long_ago = "2026-01-01T00:00:00.000Z"
    changes: list[dict[str, Any]] = [
        {"answers": {"1": "x"}},
        {"answers": {"9": None}},
        {"annotations": {"1": "x"}},
        {"annotations": {"9": None}},
    ]
    for change in changes:
        database.execute(reset, [session_id])
        moved = _patch(service, session_id, current_question=5)
        assert moved["last_saved_at"] == long_ago < moved["updated_at"]
        saved = _patch(service, session_id, **change)
        assert saved["last_saved_at"] == saved["updated_at"]
    database.execute(reset, [session_id])
    assert service.complete(session_id).json()["last_saved_at"] == long_ago


def test_a_position_is_saved_alone(service: Service) -> None:
    """A save of the position alone is a new version, with the answers and annotations as they were."""
    session_id = service.start()["id"]
    saved = _patch(service, session_id, answers={"1": "x"}, annotations={"1": "y"})
    moved = _patch(service, session_id, current_question="q5")
    assert (moved["current_question"], moved["version"]) == ("q5", 3)
    unchanged = saved.keys() - {"current_question", "version", "updated_at"}
    assert {name: moved[name] for name in unchanged} == {name: saved[name] for name in unchanged}


def test_a_completion_saves_annotations(service: Service) -> None:
    """A completion merges annotations; its repeat is a repeat, and one with others is refused."""
    session_id = service.start()["id"]
    _patch(service, session_id, annotations={"1": "a", "2": "b"})
    last: dict[str, Any] = {"annotations": {"1": None, "3": {"c": 1}}, "answers": {"1": "x"}}
    completed = service.complete(session_id, **last).json()
    assert completed["annotations"] == {"2": "b", "3": {"c": 1}}
    assert completed["last_saved_at"] == completed["completed_at"]
    repeats: list[dict[str, Any]] = [last, {}, {"annotations": {"2": "b"}}, {"annotations": {"9": None}}]
    for repeat in repeats:
        again = service.complete(session_id, **repeat)
        assert (again.status_code, again.json()) == (200, completed)
    for other in ({"annotations": {"2": "x"}}, {"annotations": {"2": None}}, {"answers": {"2": "x"}}):
        refused = service.complete(session_id, **other)
        assert (refused.status_code, refused.json()["session"]) == (410, completed)


def test_a_key_covers_the_annotations(service: Service) -> None:
    """The same key with other annotations is another write."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "k"}
    saved = service.save_many(session_id, {"1": "x"}, key, annotations={"1": "a"})
    again = service.save_many(session_id, {"1": "x"}, key, annotations={"1": "a"})
    assert again.json() == saved.json()
    for other in ({"annotations": {"1": "b"}}, {}):
        assert service.save_many(session_id, {"1": "x"}, key, **other).status_code == 422
    path, key = f"/api/sessions/{session_id}/progress", {"idempotency-key": "one"}
    body: dict[str, Any] = {"question_id": 1, "answer": "x"}
    assert service.client.put(path, json={**body, "annotation": 1}, headers=key).status_code == 200
    assert service.client.put(path, json=body, headers=key).status_code == 422


def test_every_request_has_optional_fields() -> None:
    """The test of `null` knows every request body of the contract, and each has optional fields."""
    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        for item in DOCUMENT["paths"].values()
        for method, operation in item.items()
        if method != "parameters" and "requestBody" in operation
    }
    assert bodies == set(PLAIN) == {kind for kind, _ in OPTIONAL}


@pytest.mark.parametrize(("kind", "name"), OPTIONAL)
def test_null_is_left_out(service: Service, kind: str, name: str) -> None:
    """A request with `null` for an optional field is a repeat of the request without the field."""
    body = {"current_question": 5} if name == "answers" and kind == "SaveAnswers" else PLAIN[kind]
    if name == "extra_seconds":
        body = {**body, "time_limit_seconds": 60}
        del body[name]
    user, session_id, key = f"user-{uuid4()}", service.start()["id"], f"k-{kind}-{name}"

    def send(fields: dict[str, Any]) -> httpx.Response:
        method, path = TARGETS[kind]
        sent = {"user_id": user, **fields} if kind == "StartSession" else fields
        place = f"/api/sessions/{path.format(session_id)}"
        return service.client.request(method, place, json=sent, headers={"idempotency-key": key})

    with_null, without = send({**body, name: None}), send(body)
    assert with_null.status_code in (200, 201), with_null.text
    assert (without.status_code, without.json()) == (200, with_null.json())


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in PLAIN for name in SCHEMAS[kind].get("required", [])]
)
def test_null_for_a_required_field(service: Service, kind: str, name: str) -> None:
    """`null` for a required field is refused, but for an answer, which it clears."""
    body = {"user_id": "ada", **PLAIN[kind]} if kind == "StartSession" else PLAIN[kind]
    session_id = service.start()["id"]
    method, path = TARGETS[kind]
    response = service.client.request(
        method, f"/api/sessions/{path.format(session_id)}", json={**body, name: None}, headers=KEY
    )
    assert response.status_code == (200 if name == "answer" else 400)
    if name != "answer":
        assert {detail["path"] for detail in response.json()["details"]} == {f"body.{name}"}


@pytest.mark.parametrize("content", [b"", b"null", b" null\n", b"{}", b'{"answers":null,"annotations":null}'])
def test_a_completion_without_a_body(service: Service, content: bytes) -> None:
    """A completion with an empty body, or with `null`, is one without a body."""
    session_id = service.start()["id"]
    path, headers = f"/api/sessions/{session_id}/complete", {"content-type": "application/json"}
    completed = service.client.post(path, content=content, headers={**headers, "idempotency-key": "k"})
    assert (completed.status_code, completed.json()["status"]) == (200, "completed")
    assert service.complete(session_id).json() == completed.json()


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"x"', b"7", b"false"])
def test_a_save_needs_a_body(service: Service, content: bytes) -> None:
    """A start or save with an empty body, with `null` or with another value than an object is refused."""
    path, headers = f"/api/sessions/{service.start()['id']}", {"content-type": "application/json"}
    for method, place in (
        ("POST", "/api/sessions/start"),
        ("PUT", f"{path}/progress"),
        ("PATCH", f"{path}/progress"),
    ):
        response = service.client.request(method, place, content=content, headers=headers)
        assert (response.status_code, response.json()["details"][0]["path"]) == (400, "body")
    if content not in (b"", b"null"):
        assert service.client.post(f"{path}/complete", content=content, headers=headers).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": 1},
        {"answers": None},
        {"annotations": None, "answers": None, "current_question": None},
        {"current_question": None, "version": 1},
    ],
)
def test_a_save_has_something_to_save(service: Service, body: dict[str, Any]) -> None:
    """A save without answers, annotations and position is refused with the names of all three."""
    session = service.start()
    refused = service.client.patch(f"/api/sessions/{session['id']}/progress", json=body)
    assert refused.status_code == 400, refused.text
    (detail,) = refused.json()["details"]
    assert detail["path"] == "body"
    assert all(name in detail["message"] for name in ("answers", "annotations", "current_question"))
    assert service.read(session["id"], FRESH).json() == session


@pytest.mark.parametrize("field", ["answers", "annotations"])
def test_an_empty_map_is_refused(service: Service, field: str) -> None:
    """Empty answers or annotations are refused by their field."""
    refused = service.client.patch(f"/api/sessions/{service.start()['id']}/progress", json={field: {}})
    assert refused.status_code == 400, refused.text
    assert refused.json()["details"][0]["path"] == f"body.{field}"
