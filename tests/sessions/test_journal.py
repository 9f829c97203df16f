"""The journal: each change of a session has one line, which is stored together with it."""

import hashlib
import hmac
import json
import re
from typing import Any

import orjson
import psycopg
import pytest
from redis import Redis

from tests.conftest import Urls, migrate
from tests.support.ageing import age, stored
from tests.support.journal import lines, replayed, shown
from tests.support.service import Service, running
from tests.support.waiting import eventually

SYSTEM = {"actor": {"type": "system"}, "client_id": None, "request_id": None, "trace_id": None}
KEPT = 8 * 1024  # bytes of a change that a line keeps
STARTS = [
    {"quiz_id": 7},
    {"quiz_id": "7", "time_limit_seconds": 0, "grace_seconds": 5, "metadata": {"a": [None, 1.5, {}]}},
    {"quiz_id": "quiz-\u00e4", "time_limit_seconds": 90, "time_factor": 1.25, "on_expiry": "complete"},
    {"quiz_id": "007", "max_attempts": 3, "if_active": "resume", "grace_seconds": 3600},
]


@pytest.mark.parametrize("chosen", STARTS, ids=json.dumps)
@pytest.mark.usefixtures("limits_removed")
def test_a_start_has_a_line(service: Service, chosen: dict[str, Any]) -> None:
    """The line of a start has every field of the session that it decides."""
    session = service.start(**chosen)
    (line,) = lines(service, session["id"])
    assert replayed(session["id"], [line]) == session
    given = {name: value for name, value in chosen.items() if name not in ("if_active", "quiz_id")}
    assert {name: line["data"][name] for name in given} == given
    assert line["data"]["quiz_id"] == session["quiz_id"]


def test_a_start_with_the_service_defaults(migrated: Urls) -> None:
    """The line of a start has the limits that the service has chosen."""
    with running(migrated, SESSION_TIMEOUT_SECONDS="77", GRACE_SECONDS="8") as service:
        (line,) = lines(service, service.start()["id"])
    data = line["data"]
    assert (data["time_limit_seconds"], data["grace_seconds"], data["time_factor"]) == (77, 8, 1.0)
    assert (data["max_attempts"], data["attempt"], data["on_expiry"]) == (None, None, "expire")


def test_a_start_that_finds_its_session_has_no_line(service: Service) -> None:
    """A repeated start and a resume change nothing, and write no line."""
    body, key = {"user_id": "found", "quiz_id": 7}, {"idempotency-key": "found"}
    ids = {
        service.client.post("/api/sessions/start", json=sent, headers=headers).json()["id"]
        for sent, headers in ((body, key), (body, key), (body | {"if_active": "resume"}, {}))
    }
    (session_id,) = ids
    assert len(lines(service, session_id)) == 1


def test_a_refused_or_repeated_write_has_no_line(service: Service) -> None:
    """A conflict, a used key, a repeat, an invalid save and a write after the end write no line."""
    session_id, key = service.start()["id"], {"idempotency-key": "k"}
    statuses = [
        service.save(session_id, 1, "x", key).status_code,
        service.save(session_id, 1, "x", key).status_code,
        service.save(session_id, 1, "y", key).status_code,
        service.save(session_id, 1, "y", version=1).status_code,
        service.save(session_id, -1, "y").status_code,
        service.complete(session_id).status_code,
        service.complete(session_id).status_code,
        service.complete(session_id, answers={"1": "z"}).status_code,
        service.save(session_id, 1, "z").status_code,
    ]
    assert statuses == [200, 200, 422, 409, 400, 200, 200, 410, 410]
    found = lines(service, session_id)
    assert [line["type"] for line in found] == ["session.started", "session.saved", "session.completed"]
    assert replayed(session_id, found) == shown(service, session_id)


@pytest.mark.parametrize("on_expiry", ["expire", "complete"])
@pytest.mark.parametrize("finder", ["read", "save", "completion", "start", "sweeper"])
def test_an_end_by_the_deadline_has_a_line_of_the_service(
    service: Service, database: psycopg.Connection, cache: Redis, on_expiry: str, finder: str
) -> None:
    """The line of an end by the deadline is the service's, whichever request finds the session first."""
    body = {
        "user_id": f"{finder} {on_expiry}",
        "quiz_id": 7,
        "time_limit_seconds": 60,
        "on_expiry": on_expiry,
    }
    headers = {"idempotency-key": f"{finder} {on_expiry}".replace(" ", "-"), "client-id": "finder"}
    session_id = service.client.post("/api/sessions/start", json=body, headers=headers).json()["id"]
    service.save(session_id, 1, "before")
    age(database, cache, session_id, 61)
    if finder == "read":
        service.read(session_id)
    elif finder == "save":
        service.save(session_id, 2, "late", {"client-id": "finder"})
    elif finder == "completion":
        service.complete(session_id, {"client-id": "finder"}, answers={"2": "late"})
    elif finder == "start":
        service.client.post("/api/sessions/start", json=body, headers=headers)
    eventually(lambda: stored(database, session_id, "version") == (3,))
    session, (_, _, end) = shown(service, session_id), lines(service, session_id)
    kind, times = (
        ("completed", {"completed_at": session["closes_at"]}) if on_expiry == "complete" else ("expired", {})
    )
    assert (end["version"], end["type"], end["at"]) == (3, f"session.{kind}", session["updated_at"])
    assert {name: end[name] for name in SYSTEM} == SYSTEM
    assert end["data"] == {"ended_by": "deadline", **times}


def test_a_change_over_8_kib_has_sizes_and_digests(migrated: Urls) -> None:
    """A line keeps a change of 8 KiB; of a longer one it has the size and a keyed digest of each value."""
    key = "0123456789abcdef0123456789abcdef"
    with running(migrated, DIGEST_KEY=key) as service:
        session_id = service.start()["id"]
        frame = len(orjson.dumps({"answers": {"1": ""}, "current_question": 1}))
        service.save(session_id, 1, (KEPT - frame) * "x")
        service.save(session_id, 1, (KEPT - frame + 1) * "x")
        answers = {"1": None, "2": {"b": 1, "a": 9000 * "\u00e4"}, "3": "short"}
        service.save_many(session_id, answers, annotations={"2": None, "3": [1]}, current_question="q")
        _, kept, long, several = (line["data"] for line in lines(service, session_id))
        assert kept == {"answers": {"1": (KEPT - frame) * "x"}, "current_question": 1}
        assert long == {
            "answer_digests": {"1": _digest(key, (KEPT - frame + 1) * "x")},
            "current_question": 1,
        }
        assert several == {
            "answers": {"1": None},
            "answer_digests": {"2": _digest(key, answers["2"]), "3": _digest(key, "short")},
            "annotations": {"2": None},
            "annotation_digests": {"3": _digest(key, [1])},
            "current_question": "q",
        }
        service.complete(session_id, answers={"1": 9000 * "y"})
        assert lines(service, session_id)[-1]["data"]["answer_digests"] == {"1": _digest(key, 9000 * "y")}


def _digest(key: str, value: object) -> dict[str, object]:
    """Return the expected entry of a value; the mark of the key is that of any digest."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    mark = hmac.digest(key.encode(), b"fingerprint", "sha256").hex()[:8]
    digest = hmac.new(key.encode(), b"value " + text, hashlib.sha256).hexdigest()
    return {"bytes": len(text), "digest": f"2-{mark}.{digest}"}


def test_a_large_save_has_one_line(service: Service) -> None:
    """A save that is sent alone, since it is large, writes its line once, with its actor and its request."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, 20_000 * "x", {"client-id": "large"})
    _, line = lines(service, session_id)
    assert (line["client_id"], line["request_id"]) == ("large", saved.headers["x-request-id"])
    assert re.fullmatch(r"2-[0-9a-f]{8}\.[0-9a-f]{64}", line["data"]["answer_digests"]["1"]["digest"])


def test_a_change_whose_line_is_refused_is_not_made(fresh_database: Urls) -> None:
    """If PostgreSQL refuses the line of a change, it refuses the change: there is none without its line."""
    migrate(fresh_database)
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        running(fresh_database) as service,
    ):
        session_id, due = service.start()["id"], service.start(time_limit_seconds=60)["id"]
        database.execute("alter table session_events add constraint refused check (version < 1) not valid")
        age(database, None, due, 61)
        body = {"user_id": "ada", "quiz_id": 7}
        statuses = [
            service.save(session_id, 1, "x").status_code,
            service.save_many(session_id, {"1": "x"}).status_code,
            service.complete(session_id).status_code,
            service.save(due, 1, "x").status_code,
            service.client.post("/api/sessions/start", json=body).status_code,
        ]
        assert statuses == [500] * 5
        eventually(lambda: "overdue sessions were not ended" in service.log.read_text())
        rows = database.execute("select status, version from quiz_sessions").fetchall()
        assert rows == [("in_progress", 1)] * 2
        database.execute("alter table session_events drop constraint refused")
        eventually(lambda: stored(database, due, "status") == ("expired",))
        assert service.save(session_id, 1, "x").json()["version"] == 2
