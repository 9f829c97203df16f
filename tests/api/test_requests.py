"""Tests of requests, byte by byte: JSON, query, content type and headers, as in the contract's Requests."""

import json
from uuid import uuid4

import psutil
import pytest

from tests.support.conformance import PATHS
from tests.support.service import Service

JSON = {"content-type": "application/json"}
VALID = [
    b'{"question_id": 7.0, "answer": "x"}',
    b'{"question_id": 7e0, "answer": "x"}',
    b'{"question_id": 700e-2, "answer": "x"}',
    b'{"question_id": -0, "answer": "x"}',
    b'{"question_id": 2147483647.0, "answer": "x"}',
    b' \t\r\n{"question_id": 7, "answer": "x"} \t\r\n',
    rb'{"question_id": 7, "answer": "\ud83d\ude00"}',
    rb'{"question_id": 7, "answer": "\"version\": 1, \"version\": 2 \\"}',
    rb'{"question_id": 7, "\u0061nswer": "x:y"}',
    b'{"question_id": 7, "answer": ["a:b", "c\\\\", "d:e"]}',
]
INVALID = [
    b"",
    b" ",
    b"null",
    b"{}{}",
    b'{"question_id": 7, "answer": "x",}',
    b"{'question_id': 7, 'answer': 'x'}",
    b'{"question_id": 7, "answer": "x"} // comment',
    b'\xef\xbb\xbf{"question_id": 7, "answer": "x"}',
    '{"question_id": 7, "answer": "x"}'.encode("utf-16"),
    b'{"question_id": 7, "answer": "\xfc"}',
    b'{"question_id": 7, "answer": "\xed\xa0\x80"}',
    rb'{"question_id": 7, "answer": "\ud800"}',
    rb'{"question_id": 7, "answer": "\udc00\ud800"}',
    rb'{"question_id": 7, "answer": "a\u0000b"}',
    b'{"question_id": 7, "answer": "a\x00b"}',
    b'{"question_id": 7, "answer": "a\nb"}',
    b'{"question_id": 07, "answer": "x"}',
    b'{"question_id": +7, "answer": "x"}',
    b'{"question_id": "", "answer": "x"}',
    b'{"question_id": true, "answer": "x"}',
    b'{"question_id": 7.5, "answer": "x"}',
    b'{"question_id": 7e-1, "answer": "x"}',
    b'{"question_id": NaN, "answer": "x"}',
    b'{"question_id": Infinity, "answer": "x"}',
    b'{"question_id": 1e400, "answer": "x"}',
    b'{"question_id": -1, "answer": "x"}',
    b'{"question_id": 9007199254740992, "answer": "x"}',
    b'{"question_id": 9007199254740993, "answer": "x"}',
    b'{"question_id": 18446744073709551616, "answer": "x"}',
    b'{"question_id": 18446744073709551623, "answer": "x"}',
    b'{"question_id": ' + b"7" * 5000 + b', "answer": "x"}',
    b'{"question_id": 7, "question_id": 8, "answer": "x"}',
    b'{"question_id": 7, "answer": "x", "answer": "x"}',
    rb'{"question_id": 7, "answer": "x", "\u0061nswer": "y"}',
    b'{"question_id": 7, "answer": ' + b"[" * 200 + b'"x"' + b"]" * 200 + b"}",
    b'{"question_id": 7, "answer": ' + b"[" * 1000 + b'"x"' + b"]" * 1000 + b"}",
    b"[" * 100_000,
    b'{"answer":' * 20_000,
]
QUERIES = {
    "": 200,
    "?": 200,
    "?&": 200,
    "?user_id=a%20b": 200,
    "?user_id=a+b": 200,
    "?user_id=%C3%BC": 200,
    "?%75ser_id=a": 200,
    "?limit=20": 200,
    "?user_id=": 400,
    "?user_id": 400,
    "?user_id=%FC": 400,
    "?user_id=%": 400,
    "?user_id=%ZZ%": 400,
    "?%G0=a": 400,
    "?user_id=%ED%A0%80": 400,
    "?user_id=%00": 400,
    "?User_Id=a": 400,
    "?user_id=a&user_id=a": 400,
    "?user_id=a&%75ser_id=b": 400,
    "?user_id[]=a": 400,
    "?=": 400,
    "?unknown": 400,
    "?limit=20;quiz_id=7": 400,
    "?limit=": 400,
    "?limit=020": 400,
    "?limit=+20": 400,
    "?limit=%2B20": 400,
    "?limit=20.0": 400,
    "?limit=2e1": 400,
    "?limit=0x14": 400,
    "?limit=%D9%A2%D9%A0": 400,
    "?limit=-0": 400,
    "?quiz_id=9007199254740993": 200,
    "?quiz_id=" + "9" * 4000: 400,
}
TYPES: dict[tuple[str, ...], int] = {
    ("application/json",): 404,
    ("Application/JSON",): 404,
    ("application/json;",): 404,
    ("application/json ; charset=UTF-8",): 404,
    ('application/json;charset="utf-8"',): 404,
    (): 415,
    ("",): 415,
    ("application/json, application/json",): 415,
    ("application/json", "application/json"): 415,
    ("application/json", "text/plain"): 415,
    ("application/json;charset=utf-16",): 415,
    ("application/json;charset=utf-8;charset=utf-16",): 415,
    ('application/json;charset="utf-8',): 415,
    ("application/json;version=1",): 415,
    ("application/json" + ";" + " " * 8000 + "x",): 415,
    ("application/problem+json",): 415,
    ("text/json",): 415,
}
HEADERS: list[tuple[str, list[str], int]] = [
    ("Idempotency-Key", ["a"], 200),
    ("Idempotency-Key", ["a", "a"], 400),
    ("Idempotency-Key", [""], 400),
    ("Idempotency-Key", ["a b"], 400),
    ("Idempotency-Key", ["x" * 256], 400),
    ("If-Match", ['"1"'], 200),
    ("If-Match", ["*"], 200),
    ("If-Match", ['"01"'], 409),
    ("If-Match", ['"+1"'], 409),
    ("If-Match", ['"1"', '"1"'], 200),
    ("If-Match", ['"2"', '"1"'], 200),
    ("If-Match", ['"2"', "*"], 409),
    ("If-Match", [""], 409),
    ("If-Match", ['W/"1"'], 200),
    ("If-Match", ['"18446744073709551617"'], 409),
    ("Prefer", ["respond-async", "return=minimal"], 204),
    ("Prefer", ["return=minimal; x=y"], 204),
    ("Prefer", ["return=maximal"], 200),
    ("x-unknown", ["a", "b"], 200),
]


@pytest.mark.parametrize("content", VALID, ids=repr)
def test_equivalent_json_is_accepted(service: Service, content: bytes) -> None:
    """Equivalent forms of JSON are accepted: 7.0 is an integer, escapes and white space are free."""
    session_id = service.start()["id"]
    response = service.client.put(f"/api/sessions/{session_id}/progress", content=content, headers=JSON)
    assert response.status_code == 200
    sent = json.loads(content)
    assert response.json()["answers"] == {str(int(sent["question_id"])): sent["answer"]}


@pytest.mark.parametrize("content", INVALID, ids=lambda content: repr(content[:60]))
def test_invalid_json_is_rejected(service: Service, content: bytes) -> None:
    """A body that is not I-JSON or not valid against the schema is 400, before the session is looked up."""
    response = service.client.put(f"/api/sessions/{uuid4()}/progress", content=content, headers=JSON)
    assert response.status_code == 400


def test_invalid_bodies_are_cheap(service: Service) -> None:
    """An invalid body costs less than 50 ms of CPU time."""
    path = f"/api/sessions/{uuid4()}/progress"
    process = psutil.Process(service.process.pid)

    def spent() -> float:
        times = process.cpu_times()
        return times.user + times.system

    for content in INVALID:
        before = spent()
        for _ in range(5):
            assert service.client.put(path, content=content, headers=JSON).status_code == 400
        assert (spent() - before) / 5 < 0.05, content[:60]


def test_duplicate_names_are_rejected_at_any_depth(service: Service) -> None:
    """A duplicate name at any depth is 400: no answer is dropped silently."""
    session = service.start()
    content = b'{"answers": {"3": "Paris", "4": ["a:b"], "3": "Rome"}}'
    response = service.client.patch(f"/api/sessions/{session['id']}/progress", content=content, headers=JSON)
    assert response.status_code == 400
    assert service.read(session["id"]).json() == session


@pytest.mark.parametrize(("query", "status"), QUERIES.items())
def test_query_syntax(service: Service, query: str, status: int) -> None:
    """A query is percent-encoded UTF-8 with canonical integers and each known parameter once."""
    assert service.client.get(service.url + "/api/sessions" + query).status_code == status


def test_a_query_is_decoded_as_utf_8(service: Service) -> None:
    """A user_id in the query is decoded, in whichever way it was encoded."""
    for name, query in (("a b", "a+b"), ("a b", "a%20b"), ("ü+&=", "%C3%BC%2B%26%3D")):
        started = service.start(user_id=name)
        page = service.client.get(f"{service.url}/api/sessions?user_id={query}&limit=1").json()
        assert page["items"][0]["id"] == started["id"]


@pytest.mark.parametrize("path", PATHS)
def test_unknown_query_parameters_are_rejected(service: Service, path: str) -> None:
    """An unknown query parameter is 400 in every operation."""
    for method in PATHS[path]:
        url = path.format(id=uuid4())
        response = service.client.request(method, url, params={"unknown": "ada"})
        assert response.status_code == 400
        assert response.json()["details"][0]["path"] == "query"


@pytest.mark.parametrize(("types", "status"), TYPES.items())
def test_content_type_must_be_json(service: Service, types: tuple[str, ...], status: int) -> None:
    """The Content-Type is application/json once, without a charset other than UTF-8."""
    response = service.client.put(
        f"/api/sessions/{uuid4()}/progress",
        content=b'{"question_id": 7, "answer": "x"}',
        headers=[("content-type", kind) for kind in types],
    )
    assert response.status_code == status


@pytest.mark.parametrize("encoding", ["gzip", "identity, gzip", ""])
def test_content_encoding_is_rejected(service: Service, encoding: str) -> None:
    """A Content-Encoding is 415."""
    headers = {**JSON, "content-encoding": encoding}
    response = service.client.put(f"/api/sessions/{uuid4()}/progress", content=b"{}", headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize(("name", "values", "status"), HEADERS)
def test_repeated_headers_are_joined(service: Service, name: str, values: list[str], status: int) -> None:
    """A repeated header is equivalent to its values joined by commas."""
    response = service.client.put(
        f"/api/sessions/{service.start()['id']}/progress",
        json={"question_id": 7, "answer": "x"},
        headers=[(name, value) for value in values],
    )
    assert response.status_code == status


@pytest.mark.parametrize("path", ["/health", "/api/sessions"])
def test_an_undeclared_body_is_ignored(service: Service, path: str) -> None:
    """A body is ignored in an operation that declares none."""
    assert service.client.request("GET", path, content=b"\xff{", headers=JSON).status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=1, */*;q=0", "nonsense"])
def test_accept_is_ignored(service: Service, accept: str) -> None:
    """A response is JSON for every Accept header."""
    assert service.client.get("/health", headers={"accept": accept}).status_code == 200
