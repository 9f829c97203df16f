"""What a request may be, down to the bytes: the section Requests of the contract."""

import json
from typing import Any
from uuid import uuid4

import jsonschema
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.conformance import DOCUMENT, PATHS, resolved
from tests.support.service import Service

JSON = {"content-type": "application/json"}
ACCEPTED = [
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
REFUSED = [
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
    b'{"question_id": "7", "answer": "x"}',
    b'{"question_id": true, "answer": "x"}',
    b'{"question_id": 7.5, "answer": "x"}',
    b'{"question_id": 7e-1, "answer": "x"}',
    b'{"question_id": NaN, "answer": "x"}',
    b'{"question_id": Infinity, "answer": "x"}',
    b'{"question_id": 1e400, "answer": "x"}',
    b'{"question_id": -1, "answer": "x"}',
    b'{"question_id": 2147483648, "answer": "x"}',
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
    "?quiz_id=9007199254740993": 400,
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
    ("Idempotency-Key", ["x" * 129], 400),
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


@pytest.mark.parametrize("content", ACCEPTED, ids=repr)
def test_json_that_means_the_same_is_accepted(service: Service, content: bytes) -> None:
    """A number is an integer by its value, and JSON may be written in more than one way."""
    session_id = service.start()["id"]
    reply = service.client.put(f"/api/sessions/{session_id}/progress", content=content, headers=JSON)
    assert reply.status_code == 200
    sent = json.loads(content)
    assert reply.json()["answers"] == {str(int(sent["question_id"])): sent["answer"]}


@pytest.mark.parametrize("content", REFUSED, ids=lambda content: repr(content[:60]))
def test_whatever_else_is_refused(service: Service, content: bytes) -> None:
    """What is no I-JSON, and what the schema does not have, is refused before the session is looked for."""
    reply = service.client.put(f"/api/sessions/{uuid4()}/progress", content=content, headers=JSON)
    assert reply.status_code == 400


def test_what_is_refused_costs_little(service: Service) -> None:
    """No body, however it is made, costs more than 50 ms of the processor."""
    path = f"/api/sessions/{uuid4()}/progress"
    process = psutil.Process(service.process.pid)

    def spent() -> float:
        times = process.cpu_times()
        return times.user + times.system

    for content in REFUSED:
        before = spent()
        for _ in range(5):
            assert service.client.put(path, content=content, headers=JSON).status_code == 400
        assert (spent() - before) / 5 < 0.05, content[:60]


def test_a_name_twice_is_refused_at_any_depth(service: Service) -> None:
    """Of two answers to one question none is dropped in silence."""
    session = service.start()
    content = b'{"answers": {"3": "Paris", "4": ["a:b"], "3": "Rome"}}'
    reply = service.client.patch(f"/api/sessions/{session['id']}/progress", content=content, headers=JSON)
    assert reply.status_code == 400
    assert service.read(session["id"]).json() == session


@pytest.mark.parametrize(("query", "status"), QUERIES.items())
def test_a_query_is_what_the_contract_says(service: Service, query: str, status: int) -> None:
    """Percent-encoded UTF-8, plain integers, each known parameter once."""
    assert service.client.get(service.url + "/api/sessions" + query).status_code == status


def test_a_query_is_read_as_utf_8(service: Service) -> None:
    """What a user is named comes back, however it was encoded."""
    for name, query in (("a b", "a+b"), ("a b", "a%20b"), ("ü+&=", "%C3%BC%2B%26%3D")):
        started = service.start(user_id=name)
        page = service.client.get(f"{service.url}/api/sessions?user_id={query}&limit=1").json()
        assert page["items"][0]["id"] == started["id"]


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/api/sessions"])
def test_no_operation_takes_an_unknown_query_parameter(service: Service, path: str) -> None:
    """A parameter that an operation does not have is refused by each."""
    for method in PATHS[path]:
        url = path.format(id=uuid4())
        reply = service.client.request(method, url, params={"user_id": "ada"})
        assert reply.status_code == 400
        assert reply.json()["details"][0]["path"] == "query"


@pytest.mark.parametrize(("types", "status"), TYPES.items())
def test_a_body_is_said_to_be_json(service: Service, types: tuple[str, ...], status: int) -> None:
    """One content type, JSON in UTF-8."""
    reply = service.client.put(
        f"/api/sessions/{uuid4()}/progress",
        content=b'{"question_id": 7, "answer": "x"}',
        headers=[("content-type", kind) for kind in types],
    )
    assert reply.status_code == status


@pytest.mark.parametrize("encoding", ["gzip", "identity, gzip", ""])
def test_a_body_is_not_encoded(service: Service, encoding: str) -> None:
    """No content encoding is undone."""
    headers = {**JSON, "content-encoding": encoding}
    reply = service.client.put(f"/api/sessions/{uuid4()}/progress", content=b"{}", headers=headers)
    assert reply.status_code == 415


@pytest.mark.parametrize(("name", "values", "status"), HEADERS)
def test_a_header_is_the_list_of_its_values(
    service: Service, name: str, values: list[str], status: int
) -> None:
    """A header that is there twice counts as its values with a comma between."""
    reply = service.client.put(
        f"/api/sessions/{service.start()['id']}/progress",
        json={"question_id": 7, "answer": "x"},
        headers=[(name, value) for value in values],
    )
    assert reply.status_code == status


@pytest.mark.parametrize("path", ["/health", "/api/sessions"])
def test_a_body_where_none_is_declared_is_ignored(service: Service, path: str) -> None:
    """What nobody asked for is not read as anything."""
    assert service.client.request("GET", path, content=b"\xff{", headers=JSON).status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=1, */*;q=0", "nonsense"])
def test_a_reply_is_json_whatever_is_asked_for(service: Service, accept: str) -> None:
    """There is one form of a reply, and a client that asks for another one gets it."""
    assert service.client.get("/health", headers={"accept": accept}).status_code == 200


# Characters that Python's patterns take for white space and ECMAScript's do not, or the other way round.
TEXT = st.text(st.characters(exclude_characters="\x1c\x1d\x1e\x1f\x85\ufeff", codec="utf-8"), max_size=12)
NUMBER = st.sampled_from([-1, 0, 1, 7, 100, 2147483647, 2147483648, 2592000, 2592001, 7.0, 7.5, 1e300, -0.0])
NAME = st.sampled_from(
    ["version", "status", "id", "", "0", "7", "07", "-1", "7.0", "2147483647", "2147483648", "7\n"]
)
SCALAR = st.none() | st.booleans() | NUMBER | TEXT | st.sampled_from(["new", "resume", " ", "", "x" * 256])
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME | TEXT, inner, max_size=4),
    max_leaves=8,
)
ANSWER = st.none() | TEXT | st.lists(TEXT, max_size=2)
KEY = st.sampled_from(["0", "7", "2147483647", "07"])
NEAR = {
    "user_id": TEXT,
    "if_active": st.sampled_from(["new", "resume", "old"]),
    "answer": ANSWER,
    "answers": st.dictionaries(KEY, ANSWER, max_size=2),
}
BODIES = [
    ("POST", "/api/sessions/start", {"user_id": "ada", "quiz_id": 7}, 201),
    ("PUT", "/api/sessions/{id}/progress", {"question_id": 3, "answer": "Paris"}, 404),
    ("PATCH", "/api/sessions/{id}/progress", {"answers": {"3": "Paris"}}, 404),
    ("POST", "/api/sessions/{id}/complete", {}, 404),
]


@pytest.mark.parametrize(("method", "path", "plain", "status"), BODIES)
def test_a_second_judge_of_the_schemas_agrees(
    service: Service, method: str, path: str, plain: dict[str, object], status: int
) -> None:
    """Of bodies near the contract the service takes those, and only those, that another validator takes."""
    schema = resolved(PATHS[path][method]["requestBody"]["content"]["application/json"]["schema"])
    judge = jsonschema.Draft202012Validator(_python(schema | {"components": DOCUMENT["components"]}))
    near = st.fixed_dictionaries({}, optional={name: NEAR.get(name, NUMBER) for name in schema["properties"]})
    far = st.dictionaries(NAME, VALUE, min_size=1, max_size=1)
    verdicts: list[bool] = []

    @settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given((near | far).map(lambda changed: {**plain, **changed}) | VALUE)
    def compare(body: object) -> None:
        fits = judge.is_valid(body)
        reply = service.client.request(
            method, path.format(id=uuid4()), content=json.dumps(body).encode(), headers=JSON
        )
        assert reply.status_code in ({status, 200} if fits else {400}), body
        verdicts.append(fits)

    compare()
    assert min(verdicts.count(True), verdicts.count(False)) >= 10


def _python(node: Any) -> Any:
    """Return the schema with patterns that end where ECMAScript's do: not before a last line feed."""
    if isinstance(node, dict):
        return {
            key: value.removesuffix("$") + r"\Z" if key == "pattern" else _python(value)
            for key, value in node.items()
        }
    return [_python(value) for value in node] if isinstance(node, list) else node
