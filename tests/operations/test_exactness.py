"""Exactness: what is accepted comes back equal as JSON."""

import json
from typing import Any
from uuid import uuid4

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from redis import Redis

from tests.support.ageing import age
from tests.support.service import Service

FRESH = {"cache-control": "no-cache"}
NUMBERS = [
    0,
    -0.0,
    1.0,
    0.1,
    1e308,
    -1.7976931348623157e308,
    5e-324,
    2.2250738585072014e-308,
    2**53 - 1,
    2**53,
    2**53 + 1,
    -(2**53) - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**21,
]
NAMES = [
    "",
    "7",
    "07",
    "-1",
    "1e3",
    "__proto__",
    "constructor",
    "toString",
    "null",
    "a\tb\n",
    "\U0001f600",
    "\\",
    '"',
]
NASTY: dict[str, Any] = {
    "numbers": NUMBERS,
    "nulls": {"null": None, "nulls": [None, {"null": None}], "empty": [{}, [], ""]},
    "names": {name: {name: None} for name in NAMES},
    "__proto__": {"__proto__": {"polluted": True}},
    "blank": " \t\r\n ",
    "false": False,
    "zero": 0,
    "text": "",
    "list": [],
    "object": {},
    "unicode": "\u0001\u001f\u007f\u0085\u2028\ufeff\ufffe\uffff\U0010ffff e\u0301 \u00e9",
    "true": [True, 1, 1.0, "true", "1"],
}
ESSAY = "Wort " * 1700

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NUMBER = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
)
LEAF = st.one_of(st.none(), st.booleans(), NUMBER, TEXT)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(TEXT, st.sampled_from(NAMES)), inner, max_size=4),
    ),
    max_leaves=8,
)
ID = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"]),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["7", "07", "-1", "__proto__", "null"]),
)
CHANGES = st.dictionaries(ID, VALUE.filter(lambda value: value is not None), min_size=1, max_size=4)
METADATA = st.dictionaries(ID, VALUE, max_size=4).filter(lambda value: len(json.dumps(value)) < 2048)


def _canonical(value: Any) -> str:
    """Return a text that two values share if, and only if, they are equal as I-JSON."""

    def plain(node: Any) -> Any:
        if isinstance(node, bool) or not isinstance(node, int | float | list | dict):
            return node
        if isinstance(node, int | float):
            # Adding 0 turns -0.0 into 0.0, which is equal.
            return float(node) + 0.0
        if isinstance(node, list):
            return [plain(member) for member in node]
        return {name: plain(member) for name, member in node.items()}

    return json.dumps(plain(value), sort_keys=True)


def _nested(depth: int, *, objects: bool = False) -> Any:
    value: Any = {} if objects else []
    for _ in range(depth - 1):
        value = {"a": value} if objects else [value]
    return value


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(answers=CHANGES, annotations=CHANGES, metadata=METADATA)
@example(
    answers=NASTY, annotations=NASTY, metadata={"numbers": NUMBERS, "names": NASTY["names"], "null": None}
)
@example(answers={"essay": ESSAY, "7": ""}, annotations={"x": ESSAY}, metadata={})
def test_every_reply_has_equal_values(
    service: Service, answers: dict[str, Any], annotations: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """Accepted answers, annotations and metadata are equal as JSON in every reply that shows them."""
    wanted = _canonical([answers, annotations, metadata])
    started = service.start(metadata=metadata)
    session_id = started["id"]
    saved = service.save_many(session_id, answers, annotations=annotations)
    assert saved.status_code == 200, saved.text
    shown = [
        saved.json(),
        service.read(session_id).json(),
        service.read(session_id, FRESH).json(),
        service.save(session_id, 1, "x", version=1).json()["session"],
        service.complete(session_id, answers=answers, annotations=annotations).json(),
        service.save(session_id, 1, "x").json()["session"],
    ]
    assert _canonical(started["metadata"]) == _canonical(metadata)
    for session in shown:
        assert _canonical([session["answers"], session["annotations"], session["metadata"]]) == wanted


def test_an_expired_session_has_equal_values(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """The 410 of an expired session has the equal values, from the database and from the cache."""
    session_id = service.start(time_limit_seconds=60, metadata={"null": None})["id"]
    body = {"question_id": "q", "answer": NASTY, "annotation": NASTY}
    assert service.client.put(f"/api/sessions/{session_id}/progress", json=body).status_code == 200
    age(database, cache, session_id, 61)
    for headers in (FRESH, {}):
        expired = service.read(session_id, headers)
        session = expired.json()["session"]
        shown = [session["answers"], session["annotations"], session["metadata"]]
        assert (expired.status_code, _canonical(shown)) == (
            410,
            _canonical([{"q": NASTY}, {"q": NASTY}, {"null": None}]),
        )


@pytest.mark.parametrize("objects", [False, True])
def test_the_bound_of_nesting_is_64(service: Service, *, objects: bool) -> None:
    """A value of 64 levels comes back equal, one of 65 is refused with the number, and changes nothing."""
    within, beyond = _nested(64, objects=objects), _nested(65, objects=objects)
    path = f"/api/sessions/{service.start()['id']}/progress"
    saved = service.client.put(path, json={"question_id": 1, "answer": within, "annotation": within}).json()
    assert _canonical([saved["answers"], saved["annotations"]]) == _canonical([{"1": within}] * 2)
    for method, body in (
        ("PUT", {"question_id": 1, "answer": beyond}),
        ("PUT", {"question_id": 1, "answer": "x", "annotation": beyond}),
        ("PATCH", {"answers": {"1": beyond}}),
        ("PATCH", {"annotations": {"1": beyond}}),
    ):
        refused = service.client.request(method, path, json=body)
        assert refused.status_code == 400, refused.text
        assert "64" in refused.json()["details"][0]["message"]
    assert service.read(saved["id"], FRESH).json() == saved


def test_the_bound_of_nesting_holds_for_metadata(service: Service) -> None:
    """Metadata of 64 levels, itself included, comes back equal, and deeper metadata is refused."""
    metadata = {"a": _nested(63)}
    assert service.start(metadata=metadata)["metadata"] == metadata
    refused = service.client.post(
        "/api/sessions/start", json={"user_id": "ada", "quiz_id": 7, "metadata": {"a": _nested(64)}}
    )
    assert refused.status_code == 400
    assert "64" in refused.json()["details"][0]["message"]


@pytest.mark.parametrize("depth", [100, 128, 200, 253, 254, 255, 256, 257, 1000, 1024, 1025, 50_000])
def test_any_depth_beyond_is_refused(service: Service, depth: int) -> None:
    """A value with any number of levels beyond the bound is a 400 in every place."""
    value = "[" * depth + "]" * depth
    session = service.start()
    path = f"/api/sessions/{session['id']}"
    for method, place, body in (
        ("POST", "/api/sessions/start", '{"user_id":"ada","quiz_id":7,"metadata":{"a":%s}}'),
        ("PUT", f"{path}/progress", '{"question_id":1,"answer":%s}'),
        ("PATCH", f"{path}/progress", '{"answers":{"1":%s}}'),
        ("PATCH", f"{path}/progress", '{"annotations":{"1":%s}}'),
        ("POST", f"{path}/complete", '{"answers":{"1":%s}}'),
    ):
        refused = service.client.request(
            method, place, content=body % value, headers={"content-type": "application/json"}
        )
        assert refused.status_code == 400, (body, refused.text)
    assert service.read(session["id"], FRESH).json() == session


@pytest.mark.parametrize(
    "value",
    [
        r'"a\u0000b"',
        r'{"a":{"\u0000":1}}',
        r'[[{"a":"\u0000"}]]',
        r'"\ud800"',
        r'{"\udc00":1}',
        r'["\ud800\ud800"]',
        "NaN",
        "[Infinity]",
        "1e400",
        "-1e309",
        '{"a":1,"a":1}',
        '[{"a":{"b":1,"b":2}}]',
    ],
)
def test_values_outside_the_contract_are_refused(service: Service, value: str) -> None:
    """U+0000, lone surrogates, numbers beyond a double and repeated names are refused at any depth."""
    session = service.start()
    path = f"/api/sessions/{session['id']}/progress"
    for method, place, body in (
        ("POST", "/api/sessions/start", '{"user_id":"ada","quiz_id":7,"metadata":{"a":%s}}'),
        ("PUT", path, '{"question_id":1,"answer":%s}'),
        ("PUT", path, '{"question_id":1,"answer":1,"annotation":%s}'),
        ("PATCH", path, '{"answers":{"1":%s}}'),
        ("PATCH", path, '{"annotations":{"1":%s}}'),
    ):
        refused = service.client.request(
            method, place, content=body % value, headers={"content-type": "application/json"}
        )
        assert refused.status_code == 400, (body, refused.text)
    assert service.read(session["id"], FRESH).json() == session


def test_an_unknown_session_has_the_same_rules(service: Service) -> None:
    """A value within the bounds for a session that does not exist is a 404, not a 400."""
    path = f"/api/sessions/{uuid4()}/progress"
    assert service.client.put(path, json={"question_id": 1, "answer": NASTY}).status_code == 404
