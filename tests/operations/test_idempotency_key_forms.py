"""Idempotency keys: their forms, what a digest covers, and what an ended session keeps."""

import re
import string
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.ageing import age, stored
from tests.support.service import Service, running
from tests.support.waiting import eventually

VISIBLE = "".join(sorted(string.ascii_letters + string.digits + string.punctuation))
# The header of a key, and its content. Without quotes a backslash is a character like others.
FORMS = [
    ("k", "k"),
    ('"k"', "k"),
    ("x" * 255, "x" * 255),
    (f'"{"x" * 255}"', "x" * 255),
    (r'"a\"b"', 'a"b'),
    (r'"a\\b"', "a\\b"),
    (r'"\"\\\""', r'"\"'),
    (r"a\b", r"a\b"),
    ('a"b', 'a"b'),
    ("a,b;c=d", "a,b;c=d"),
    ('"a,b"', "a,b"),
    (VISIBLE[0] + VISIBLE[2:], VISIBLE[0] + VISIBLE[2:]),
    (r'"' + "\\\\" * 255 + '"', "\\" * 255),
]
REFUSED = [
    "",
    "a b",
    '"a b"',
    '"',
    '""',
    '"a',
    r'"a\"',
    r'"a\b"',
    '"a"b"',
    '"a";p=1',
    "x" * 256,
    f'"{"x" * 256}"',
    "a\tb",
    "\u00fc",
]


def _quoted(content: str) -> str:
    return '"' + content.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _save(service: Service, session_id: object, answer: object, *keys: str) -> httpx.Response:
    return service.client.put(
        f"/api/sessions/{session_id}/progress",
        json={"question_id": 1, "answer": answer},
        headers=[("idempotency-key", key) for key in keys],
    )


@pytest.mark.parametrize(("header", "content"), FORMS, ids=range(len(FORMS)))
def test_a_quoted_key_is_its_content(
    service: Service, database: psycopg.Connection, header: str, content: str
) -> None:
    """A key of visible ASCII and the same key in quotes are one; the content is stored."""
    session_id = service.start()["id"]
    saved = _save(service, session_id, "x", header)
    assert saved.status_code == 200, saved.text
    quoted = _save(service, session_id, "x", _quoted(content))
    assert (quoted.status_code, quoted.json()) == (200, saved.json())
    assert _save(service, session_id, "y", _quoted(content)).status_code == 422
    ((entry,),) = stored(database, session_id, "recent_writes")
    assert entry.rsplit(" ", 1)[0] == content
    if not content.startswith('"'):
        assert _save(service, session_id, "x", content).json() == saved.json()
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7}
    starts = [
        service.client.post("/api/sessions/start", json=body, headers={"idempotency-key": key})
        for key in (header, _quoted(content))
    ]
    assert [start.status_code for start in starts] == [201, 200]
    assert stored(database, starts[0].json()["id"], "start_key") == (content,)


@pytest.mark.parametrize("key", REFUSED, ids=range(len(REFUSED)))
def test_other_forms_are_refused(service: Service, key: str) -> None:
    """A key that is neither 1 to 255 visible ASCII characters nor a quoted one is refused by its header."""
    session = service.start()
    headers = [(b"idempotency-key", key.encode("latin-1")), (b"content-type", b"application/json")]
    for method, path, body in (
        ("POST", "start", b'{"user_id":"ada","quiz_id":7}'),
        ("PUT", f"{session['id']}/progress", b'{"question_id":1,"answer":"x"}'),
        ("PATCH", f"{session['id']}/progress", b'{"answers":{"1":"x"}}'),
        ("POST", f"{session['id']}/complete", b""),
    ):
        response = service.client.request(method, f"/api/sessions/{path}", content=body, headers=headers)
        assert response.status_code == 400, response.text
        assert response.json()["details"][0]["path"] == "header.Idempotency-Key"
        assert "255" in response.json()["details"][0]["message"]
    assert service.read(session["id"], {"cache-control": "no-cache"}).json() == session


@pytest.mark.parametrize("keys", [("a", "a"), ("a", "b"), ('"a"', '"b"')])
def test_a_repeated_header_is_refused(service: Service, keys: tuple[str, str]) -> None:
    """Two keys in one request are refused."""
    assert _save(service, service.start()["id"], "x", *keys).status_code == 400


def test_a_digest_covers_the_fields_as_sent(migrated: Urls) -> None:
    """A repeat after a change of the defaults is a repeat; a default that is sent is another start."""
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7}
    explicit = {**body, "user_id": f"user-{uuid4()}", "time_limit_seconds": 60, "grace_seconds": 5}
    key = {"idempotency-key": "k"}

    def start(service: Service, sent: dict[str, Any]) -> httpx.Response:
        return service.client.post("/api/sessions/start", json=sent, headers=key)

    with running(migrated, SESSION_TIMEOUT_SECONDS="60", GRACE_SECONDS="5") as before:
        started, chosen = start(before, body), start(before, explicit)
        assert (started.status_code, chosen.status_code) == (201, 201)
        for default in ({"time_limit_seconds": 60}, {"grace_seconds": 5}, {"if_active": "new"}):
            assert start(before, {**body, **default}).status_code == 422
    with running(migrated, SESSION_TIMEOUT_SECONDS="90", GRACE_SECONDS="0") as after:
        for sent, first in ((body, started), (explicit, chosen)):
            again = start(after, sent)
            assert (again.status_code, again.json()) == (200, first.json())


@pytest.mark.parametrize(
    ("fields", "same", "other"),
    [
        ({"time_factor": 2}, {"time_factor": 2.0}, {"time_factor": 2.5}),
        ({"time_limit_seconds": 60}, {"time_limit_seconds": 60.0}, {"time_limit_seconds": 61}),
        ({"max_attempts": 2}, {"max_attempts": 2.0}, {"max_attempts": 3}),
        ({"grace_seconds": 5}, {"grace_seconds": 5.0}, {"grace_seconds": 6}),
        ({"metadata": {"a": 1, "b": 2}}, {"metadata": {"b": 2, "a": 1}}, {"metadata": {"a": 1}}),
        ({"on_expiry": "complete"}, {"on_expiry": "complete"}, {"on_expiry": "expire"}),
    ],
)
def test_each_field_of_a_start_is_covered(
    service: Service, fields: dict[str, Any], same: dict[str, Any], other: dict[str, Any]
) -> None:
    """A start with the same values in another form is a repeat; one with another value is another start."""
    body, key = {"user_id": f"user-{uuid4()}", "quiz_id": 7}, {"idempotency-key": "k"}
    responses = [
        service.client.post("/api/sessions/start", json={**body, **more}, headers=key)
        for more in (fields, same, other, {})
    ]
    assert [response.status_code for response in responses] == [201, 200, 422, 422]
    assert responses[1].json() == responses[0].json()


def _sweep(database: psycopg.Connection, session_id: object) -> None:
    eventually(lambda: stored(database, session_id, "status") != ("in_progress",))


ENDS: dict[str, Callable[[Service, psycopg.Connection, object], object]] = {
    "completion": lambda service, _, one: service.complete(one),
    "read": lambda service, _, one: service.read(one),
    "save": lambda service, _, one: service.save(one, 1, "z"),
    "sweeper": lambda _, database, one: _sweep(database, one),
}


@pytest.mark.parametrize("on_expiry", ["expire", "complete"])
@pytest.mark.parametrize("end", list(ENDS))
def test_an_ended_session_keeps_its_keys(
    service: Service, database: psycopg.Connection, cache: Redis, end: str, on_expiry: str
) -> None:
    """When a session ends its digests go and its keys stay; a start of its quiz with the key finds it."""
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, "time_limit_seconds": 60, "on_expiry": on_expiry}
    key = {"idempotency-key": "start"}
    session_id = service.client.post("/api/sessions/start", json=body, headers=key).json()["id"]
    for name in ("one", '"t,w\\"o"', "three"):
        assert _save(service, session_id, name, name).status_code == 200
    (writes, digest) = stored(database, session_id, "recent_writes", "start_digest")
    form = re.compile(r"[0-9A-Za-z]+-[0-9a-f]{8}\.[0-9a-f]{64}")
    assert all(form.fullmatch(text) for text in [digest, *(write.split(" ")[1] for write in writes)])
    if end != "completion":
        age(database, cache, session_id, 61)
    ENDS[end](service, database, session_id)
    kept = stored(database, session_id, "recent_writes", "start_key", "start_digest")
    assert kept == (["three", 't,w"o', "one"], "start", None)
    again = service.client.post("/api/sessions/start", json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, session_id)
    other = service.client.post("/api/sessions/start", json={**body, "time_limit_seconds": 61}, headers=key)
    assert (other.status_code, other.json()["id"]) == (200, session_id)
    other = service.client.post("/api/sessions/start", json={**body, "quiz_id": 8}, headers=key)
    assert other.status_code == 422


def test_a_completion_keeps_its_own_key(service: Service, database: psycopg.Connection) -> None:
    """The key of a completion is the newest of the kept keys, and there are at most 16."""
    session_id = service.start()["id"]
    for n in range(16):
        _save(service, session_id, "x", f"k{n}")
    service.complete(session_id, {"idempotency-key": '"end"'})
    (keys,) = stored(database, session_id, "recent_writes")
    assert keys == ["end", *(f"k{n}" for n in range(15, 0, -1))]


@pytest.mark.parametrize("entry", ["k", "k 9-0123abcd.ff", f"k {'a' * 64}"])
def test_a_key_without_a_comparable_digest_is_a_repeat(
    service: Service, database: psycopg.Connection, cache: Redis, entry: str
) -> None:
    """A write whose key has no digest, or one of another format, is a repeat."""
    session = service.start()
    update = "update quiz_sessions set recent_writes = %s where id = %s"
    database.execute(update, [[entry], session["id"]])
    cache.delete(f"session:{session['id']}")
    repeated = _save(service, session["id"], "late", "k")
    assert (repeated.status_code, repeated.json()) == (200, session)
    assert _save(service, session["id"], "new", "k2").json()["answers"] == {"1": "new"}
