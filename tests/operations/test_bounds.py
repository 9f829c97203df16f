"""Bounds of a session by bytes and counts: each is told with its number."""

import json
import re
from typing import Any

import httpx
import pytest

from tests.support.service import Service

FRESH = {"cache-control": "no-cache"}
MINIMAL = {"prefer": "return=minimal"}
MAX_BYTES = 1_048_576
MAX_ENTRIES = 10_000
HUGE = "1" + "0" * 308
TINY = "0." + "0" * 323 + "5"


def _fill(service: Service, session_id: object, answers: dict[str, Any], **fields: object) -> None:
    saved = service.save_many(session_id, answers, MINIMAL, **fields)
    assert saved.status_code == 204, saved.text


def _size(response: httpx.Response) -> int:
    """Return the bytes of the answers and annotations in the text of a response."""
    found = re.search(r'"answers":(.*),"annotations":(.*),"attempt":', response.text)
    assert found
    return len(found[1].encode()) + len(found[2].encode())


def _refused(response: httpx.Response, *numbers: int) -> None:
    assert (response.status_code, response.json()["errorCode"]) == (413, "PAYLOAD_TOO_LARGE")
    for number in numbers:
        assert str(number) in response.json()["message"]


@pytest.mark.parametrize("field", ["answers", "annotations"])
def test_a_session_holds_10000_entries(service: Service, field: str) -> None:
    """A session holds 10 000 answers and as many annotations; one more is a 413 that tells the number."""
    session_id = service.start()["id"]
    other = "annotations" if field == "answers" else "answers"
    path = f"/api/sessions/{session_id}/progress"
    service.client.patch(path, json={other: {"x": "y"}}, headers=MINIMAL)
    for first in range(0, MAX_ENTRIES, 500):
        entries = {str(entry): 1 for entry in range(first, first + 500)}
        assert service.client.patch(path, json={field: entries}, headers=MINIMAL).status_code == 204
    full = service.read(session_id, FRESH).json()
    _refused(service.client.patch(path, json={field: {"more": 1}}), MAX_ENTRIES)
    _refused(
        service.client.post(f"/api/sessions/{session_id}/complete", json={field: {"more": 1}}), MAX_ENTRIES
    )
    assert service.read(session_id, FRESH).json() == full
    assert (len(full[field]), len(full[other])) == (MAX_ENTRIES, 1)
    swapped = service.client.patch(path, json={field: {"more": 1, "0": None}, other: {"z": 1}})
    assert (swapped.status_code, len(swapped.json()[field])) == (200, MAX_ENTRIES)


def test_answers_and_annotations_together_have_1_mib(service: Service) -> None:
    """Answers and annotations together have 1 MiB of the returned text; a byte more is a 413."""
    session_id = service.start()["id"]
    answers = {str(question): "\u00e4" * 100_000 for question in range(4)}
    for question, text in answers.items():
        _fill(service, session_id, {question: text})
    used = len(json.dumps(answers, ensure_ascii=False).encode()) + len('{"a": ""}')
    path = f"/api/sessions/{session_id}/progress"
    rest = MAX_BYTES - used
    service.client.patch(path, json={"answers": {"4": "x" * (rest - 100_010)}}, headers=MINIMAL)
    rest -= rest - 100_010 + len(', "4": ""')
    _refused(service.client.patch(path, json={"annotations": {"a": "x" * (rest + 1)}}), MAX_BYTES)
    assert service.read(session_id, FRESH).json()["annotations"] == {}
    full = service.client.patch(path, json={"annotations": {"a": "x" * rest}})
    assert (full.status_code, _size(full)) == (200, MAX_BYTES)
    _refused(service.client.patch(path, json={"answers": {"0": "\u00e4" * 100_000 + "x"}}), MAX_BYTES)
    _refused(service.complete(session_id, annotations={"a": "x" * (rest + 1)}), MAX_BYTES)
    assert service.complete(session_id, annotations={"a": "x" * rest}).status_code == 200


@pytest.mark.parametrize(("number", "text"), [(1e308, HUGE), (5e-324, TINY)], ids=["1e308", "5e-324"])
def test_numbers_count_as_they_are_returned(service: Service, number: float, text: str) -> None:
    """A number counts with all digits with which it is returned, however few it was sent with."""
    session_id = service.start()["id"]
    each = len(text) + len(", ")
    count = (MAX_BYTES - 100) // each
    used = len('{"0": []}{}') - len(", ") + count * each
    rest = MAX_BYTES - used - len(', "1": ""')
    within, beyond = ({"0": [number] * count, "1": "x" * length} for length in (rest, rest + 1))
    _refused(service.save_many(session_id, beyond), MAX_BYTES)
    full = service.save_many(session_id, within)
    assert (full.status_code, _size(full)) == (200, MAX_BYTES)
    assert json.loads(full.text, parse_int=float)["answers"] == within


@pytest.mark.parametrize("field", ["answers", "annotations"])
def test_a_request_changes_500_entries(service: Service, field: str) -> None:
    """A request with 500 answers or annotations is accepted, one with 501 is a 400 with the number."""
    session_id = service.start()["id"]
    for path, method in (("progress", "PATCH"), ("complete", "POST")):
        for count, status in ((501, 400), (500, 200)):
            body = {field: {str(entry): "x" for entry in range(count)}}
            response = service.client.request(method, f"/api/sessions/{session_id}/{path}", json=body)
            assert response.status_code == status, response.text
            if status == 400:
                (detail,) = response.json()["details"]
                assert (detail["path"], "500" in detail["message"]) == (f"body.{field}", True)


def _start(service: Service, metadata: object) -> httpx.Response:
    body = {"user_id": "ada", "quiz_id": 7, "metadata": metadata}
    return service.client.post("/api/sessions/start", json=body)


@pytest.mark.parametrize("letter", ["x", "\u00e4", "\U0001f600", "\\"])
def test_metadata_have_2048_bytes(service: Service, letter: str) -> None:
    """Metadata of 2048 bytes as compact JSON in UTF-8 are accepted, a byte more is a 400 with the number."""
    empty = len('{"a":[1,2.5],"k":""}')
    each = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    count = (2048 - empty) // each
    text = letter * count + "x" * (2048 - empty - count * each)
    accepted = _start(service, {"a": [1, 2.5], "k": text})
    assert (accepted.status_code, accepted.json()["metadata"]) == (201, {"a": [1, 2.5], "k": text})
    refused = _start(service, {"a": [1, 2.5], "k": text + "x"})
    (detail,) = refused.json()["details"]
    assert (refused.status_code, detail["path"]) == (400, "body.metadata")
    assert "2048" in detail["message"]


def test_metadata_have_16_names(service: Service) -> None:
    """Metadata of 16 names are accepted, a name more is a 400 with the number."""
    metadata = {f"name {n}": n for n in range(16)}
    assert _start(service, metadata).json()["metadata"] == metadata
    refused = _start(service, {**metadata, "more": 1})
    (detail,) = refused.json()["details"]
    assert (refused.status_code, detail["path"]) == (400, "body.metadata")
    assert "16" in detail["message"]


@pytest.mark.parametrize("metadata", ["x", [], 7, True])
def test_metadata_are_an_object(service: Service, metadata: object) -> None:
    """Metadata that are no object are refused."""
    refused = _start(service, metadata)
    assert (refused.status_code, refused.json()["details"][0]["path"]) == (400, "body.metadata")
