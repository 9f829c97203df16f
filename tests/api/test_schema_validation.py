"""Tests that requests are validated as by another JSON Schema validator: a differential property test."""

import json
import re
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_service.api import contract
from tests.support.conformance import DOCUMENT, PATHS, resolved
from tests.support.service import Service

JSON = {"content-type": "application/json"}

# Without the characters that are white space in only one of Python's and ECMAScript's patterns.
TEXT = st.text(st.characters(exclude_characters="\x1c\x1d\x1e\x1f\x85\ufeff", codec="utf-8"), max_size=12)
NUMBER = st.sampled_from(
    [-1, 0, 1, 7, 100, 3600, 3601, 31536000, 31536001, 2**53 - 1, 2**53, 7.0, 7.5, 1e300, -0.0]
)
NAME = st.sampled_from(
    ["version", "status", "id", "", "0", "7", "07", "-1", "x" * 128, "x" * 129, "\x85", "7\n"]
)
SCALAR = st.none() | st.booleans() | NUMBER | TEXT | st.sampled_from(["new", "resume", " ", "", "x" * 256])
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME | TEXT, inner, max_size=4),
    max_leaves=8,
)
ANSWER = VALUE | st.sampled_from(["\x00", ["\x00"], {"\x00": 1}])
CHANGES = st.none() | st.dictionaries(NAME, ANSWER, max_size=2)
NEAR = {
    "user_id": TEXT,
    "quiz_id": NUMBER | NAME,
    "question_id": NUMBER | NAME,
    "if_active": st.sampled_from([None, "new", "resume", "old"]),
    "on_expiry": st.sampled_from([None, "expire", "complete", "stop"]),
    "metadata": CHANGES,
    "answer": ANSWER,
    "annotation": ANSWER,
    "answers": CHANGES,
    "annotations": CHANGES,
}
BODIES = [
    ("POST", "/api/sessions/start", {"user_id": "ada", "quiz_id": 7}, 201),
    ("PUT", "/api/sessions/{id}/progress", {"question_id": 3, "answer": "Paris"}, 404),
    ("PATCH", "/api/sessions/{id}/progress", {"answers": {"3": "Paris"}}, 404),
    ("POST", "/api/sessions/{id}/complete", {}, 404),
]


@pytest.mark.usefixtures("limits_removed")
@pytest.mark.parametrize(("method", "path", "plain", "status"), BODIES)
def test_validation_agrees_with_another_json_schema_validator(
    service: Service, method: str, path: str, plain: dict[str, object], status: int
) -> None:
    """The service accepts a body, small or large, exactly if another JSON Schema validator accepts it."""
    schema = resolved(PATHS[path][method]["requestBody"]["content"]["application/json"]["schema"])
    other_validator = jsonschema.Draft202012Validator(
        _with_strict_ends(schema | {"components": DOCUMENT["components"]})
    )
    near = st.fixed_dictionaries({}, optional={name: NEAR.get(name, NUMBER) for name in schema["properties"]})
    far = st.dictionaries(NAME, VALUE, min_size=1, max_size=1)
    validities: list[bool] = []

    @settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given((near | far).map(lambda changed: {**plain, **changed}) | VALUE, st.sampled_from([0, 1024]))
    def compare(body: object, padding: int) -> None:
        # A null counts as no body, where that is optional.
        is_valid = other_validator.is_valid(body) or (body is None and path.endswith("/complete"))
        response = service.client.request(
            method,
            path.format(id=uuid4()),
            content=json.dumps(body).encode() + b" " * padding,
            headers=JSON,
        )
        # A start beyond `max_attempts` is 403.
        assert response.status_code in ({status, 200, 403} if is_valid else {400}), body
        validities.append(is_valid)

    compare()
    assert min(validities.count(True), validities.count(False)) >= 10


@pytest.mark.parametrize("path", ["answers", "annotations"])
def test_a_large_body_with_thousands_of_violations_is_answered(service: Service, path: str) -> None:
    """Of thousands of violations within one value only the first is looked for, which takes no memory."""
    value = {f"\x00{number}": 1 for number in range(8000)}
    response = service.client.patch(f"/api/sessions/{uuid4()}/progress", json={path: {"1": value}})
    message = "has a wrong key (#1): it must be free of U+0000, in texts and in names"
    assert response.status_code == 400
    assert response.json()["details"] == [{"path": f"body.{path}.1", "message": message}]


def _with_strict_ends(node: Any) -> Any:
    """Return the schema with patterns whose end is strict, as in ECMAScript: not before a final line feed."""
    if isinstance(node, dict):
        return {
            key: value.removesuffix("$") + r"\Z" if key == "pattern" else _with_strict_ends(value)
            for key, value in node.items()
        }
    return [_with_strict_ends(value) for value in node] if isinstance(node, list) else node


def test_a_validator_has_the_schemas_that_it_refers_to() -> None:
    """Each of some seventy validators has the schemas that it refers to, and no others."""
    for operation in contract.load():
        parts = [*operation.parameters.values(), *([operation.body] if operation.body else [])]
        for part in parts:
            referenced = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(part.schema))
            assert set(part.schema["components"]["schemas"]) == set(referenced)
