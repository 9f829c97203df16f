"""Digests of writes with an idempotency key: the stored digests reveal nothing about cleared answers."""

import hashlib
import hmac
import re
from contextlib import closing
from typing import Any

import orjson
import psycopg
import pytest

from tests.conftest import Urls, migrate
from tests.support.service import Service, running
from tests.support.waiting import eventually

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "fedcba9876543210fedcba9876543210"


def _stored(database: psycopg.Connection, session_id: object) -> list[str]:
    query = "select recent_writes from quiz_sessions where id = %s"
    (row,) = database.execute(query, [session_id]).fetchall()
    return list(row[0])


def _save(service: Service, session_id: object, answer: object, key: str = "k") -> Any:
    return service.save(session_id, 1, answer, {"idempotency-key": key})


def test_a_cleared_answer_cannot_be_guessed_from_its_digest(
    service: Service, database: psycopg.Connection
) -> None:
    """Without the secret key, the digest of a short answer cannot be found by brute force."""
    session_id = service.start()["id"]
    _save(service, session_id, "B")
    _save(service, session_id, None, "clear")
    (stored,) = [entry for entry in _stored(database, session_id) if entry.startswith("k ")]
    digest = stored.removeprefix("k ")
    assert re.fullmatch(r"2-[0-9a-f]{8}\.[0-9a-f]{64}", digest)
    for version in ({}, {"version": None}, {"expected_versions": None}):
        changes = {"answers": {"1": "B"}, "annotations": {}}
        fields = {"operation": "update_progress", **changes, "current_question": 1, "key": "k"}
        text = orjson.dumps(fields | version, option=orjson.OPT_SORT_KEYS)
        assert hashlib.sha256(text).hexdigest() not in digest
        assert hmac.digest(b"", text, "sha256").hex() not in digest


def test_each_installation_has_its_own_digest_key(migrated: Urls, fresh_database: Urls) -> None:
    """The migration of each database creates another key; a second migration keeps it."""
    migrate(fresh_database)
    keys = [_secret(migrated), _secret(fresh_database)]
    migrate(fresh_database)
    assert _secret(fresh_database) == keys[1]
    assert keys[0] != keys[1]
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def _secret(urls: Urls) -> str:
    with closing(psycopg.connect(urls["MIGRATION_DATABASE_URL"])) as database:
        ((value,),) = database.execute("select value from installation_secrets where name = 'digest_key'")
        return str(value)


def test_a_completed_session_keeps_no_digest(service: Service, database: psycopg.Connection) -> None:
    """A completion deletes all digests of the session and keeps the keys, also its own."""
    session_id = service.start()["id"]
    _save(service, session_id, "B")
    assert len(_stored(database, session_id)) == 1
    completed = service.complete(session_id, {"idempotency-key": "end"}, answers={"2": "C"}).json()
    assert _stored(database, session_id) == ["end", "k"]
    assert service.complete(session_id, {"idempotency-key": "end"}, answers={"2": "C"}).json() == completed


def test_an_expired_session_keeps_no_digest(service: Service, database: psycopg.Connection) -> None:
    """The sweeper deletes all digests of an expired session and keeps the keys."""
    session_id = service.start(time_limit_seconds=1)["id"]
    _save(service, session_id, "B")
    query = "select status from quiz_sessions where id = %s"
    eventually(lambda: database.execute(query, [session_id]).fetchone() == ("expired",))
    assert _stored(database, session_id) == ["k"]


def test_an_idempotency_key_works_on_every_instance(migrated: Urls, service: Service) -> None:
    """Instances with the same database compute the same digests: a repeat is 200, another write is 422."""
    session_id = service.start()["id"]
    saved = _save(service, session_id, "B").json()
    with running(migrated) as other:
        assert _save(other, session_id, "B").json() == saved
        assert _save(other, session_id, "C").status_code == 422


def test_a_changed_digest_key_causes_no_422(migrated: Urls, service: Service) -> None:
    """After a change of DIGEST_KEY, a repeat of an earlier write or start is still a repeat."""
    body = {"user_id": "digest-key", "quiz_id": 7}
    with running(migrated, DIGEST_KEY=KEY) as old:
        started = old.client.post("/api/sessions/start", json=body, headers={"idempotency-key": "s"}).json()
        saved = _save(old, started["id"], "B").json()
        assert _save(old, started["id"], "C").status_code == 422
    with running(migrated, DIGEST_KEY=OTHER_KEY) as new:
        again = new.client.post("/api/sessions/start", json=body, headers={"idempotency-key": "s"})
        assert (again.status_code, again.json()) == (200, saved)
        assert _save(new, started["id"], "B").json() == saved
    assert service.read(started["id"]).json() == saved


@pytest.mark.parametrize("digest", ["a" * 64, "", "0123.4"])
def test_digests_of_older_releases_match(service: Service, database: psycopg.Connection, digest: str) -> None:
    """A repeat after an upgrade is a repeat, whatever format the stored digest has."""
    session = service.start()
    update = "update quiz_sessions set recent_writes = %s where id = %s"
    database.execute(update, [[f"k {digest}"], session["id"]])
    assert _save(service, session["id"], "B").json() == session


def test_a_short_digest_key_is_rejected(migrated: Urls) -> None:
    """A DIGEST_KEY that is too short stops the start, with an error that does not include the key."""
    with (
        pytest.raises(AssertionError) as stopped,
        running(migrated, DIGEST_KEY="canary"),
    ):
        pass
    assert "DIGEST_KEY must have at least 32 characters" in str(stopped.value)
    assert "canary" not in str(stopped.value).splitlines()[0]
