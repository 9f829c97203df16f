"""Traces: nothing that a learner has said or is called by is left after erasing."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from tests.support.erasing import erase, erase_user, found_in_redis, found_in_tables
from tests.support.feed import await_events, newest
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service

OFFICER = bearer("officer", scope="sessions:erase")
BACK_END = bearer("back-end", scope=SERVICE_SCOPE)


def _leave_words(service: Service, user: str, word: str) -> str:
    """Use every place in which a learner's session has words; return its id."""
    me, key = bearer(user), {"client-id": f"{word}-tab", "idempotency-key": f"{word}-key"}
    tutor = bearer(user, act={"sub": f"{word}-tutor"})
    body: dict[str, Any] = {"user_id": user, "quiz_id": 7, "metadata": {f"{word}-name": f"{word}-meta"}}
    started = service.client.post("/api/sessions/start", json=body, headers={**BACK_END, **key})
    session_id = str(started.json()["id"])
    answers = {f"{word}-question": f"{word}-answer", "1": ["x" * 9000, f"{word}-long"]}
    notes = {f"{word}-noted": {f"{word}-inner": word}}
    more = {"annotations": notes, "current_question": f"{word}-at"}
    assert service.save_many(session_id, answers, {**me, **key}, **more).status_code == 200
    assert service.save(session_id, 2, word, {**tutor, "x-request-id": f"{word}-request"}).status_code == 200
    assert service.save(session_id, 2, None, me).status_code == 200
    order = {"extra_seconds": 60, "reason": f"{word} was ill"}
    path = f"/api/sessions/{session_id}/deadline"
    assert service.client.put(path, json=order, headers={**BACK_END, **key}).status_code == 200
    assert service.complete(session_id, me, answers={"3": word}).status_code == 200
    assert service.read(session_id, me).status_code == 200
    return session_id


def _order_as_staff(service: Service, user: str, word: str) -> str:
    """Let the user act in another one's session, alone and for its learner; return that session's id."""
    other = f"other-{uuid4()}"
    body = {"user_id": other, "quiz_id": 7}
    session_id = str(
        service.client.post("/api/sessions/start", json=body, headers=bearer(other)).json()["id"]
    )
    staff = bearer(user, scope="sessions:proctor", quiz_ids=[7])
    key = {"idempotency-key": str(uuid4()), "client-id": f"{word}-desk"}
    path = f"/api/sessions/{session_id}/pause"
    assert service.client.post(path, headers={**staff, **key}).status_code == 200
    key["idempotency-key"] = str(uuid4())
    path = f"/api/sessions/{session_id}/resume"
    assert service.client.post(path, headers={**staff, **key}).status_code == 200
    assert service.save(session_id, 1, "x", bearer(other, act={"sub": user})).status_code == 200
    return session_id


@pytest.fixture
def word() -> str:
    """A word that no other test has."""
    return f"w{uuid4().hex}"


def test_no_word_of_an_erased_user_is_left(
    service_with_tokens: Service, database: psycopg.Connection, cache: Redis, word: str
) -> None:
    """No table of any schema, no key or value in Redis and no line of the log has a word of an erased user.

    What the user did in another one's session stays, without a name.
    """
    service, user = service_with_tokens, f"{word}-user"
    begin = newest(service, BACK_END)
    session_id = _leave_words(service, user, word)
    other = _order_as_staff(service, user, word)
    await_events(service, begin, [session_id, other], 6, BACK_END)
    tables = {table for table, _ in found_in_tables(database, [word])}
    assert tables == {"public.quiz_sessions", "public.session_events"}
    assert found_in_redis(cache, [word]) != []
    before = service.client.get(f"/api/sessions/{other}/events", headers=BACK_END).json()["items"]
    assert erase_user(service, user, OFFICER).json() == {"erased": 1, "unfinished": False}
    assert found_in_tables(database, [word]) == []
    assert found_in_redis(cache, [word]) == []
    # The client has chosen the id of a request, and nothing else.
    log = service.log.read_text().replace(f"{word}-request", "")
    assert word not in log
    after = service.client.get(f"/api/sessions/{other}/events", headers=BACK_END).json()["items"]
    kept = ("version", "type", "at", "data")
    assert [[line[name] for name in kept] for line in after] == [
        [line[name] for name in kept] for line in before
    ]
    assert [line["actor"] for line in after[1:3]] == 2 * [{"type": "staff"}]
    assert after[3]["actor"] == {**before[3]["actor"], "acting": "unknown"}


def test_nothing_but_one_line_refers_to_an_erased_session(
    service: Service, database: psycopg.Connection, cache: Redis, word: str
) -> None:
    """The id of an erased session is in one line of the journal, its place in the feed, and the tombstone."""
    begin = newest(service)
    session_id = str(service.start(user_id=word, metadata={"x": word})["id"])
    service.complete(session_id)
    await_events(service, begin, [session_id], 2)
    assert erase(service, session_id).status_code == 204
    await_events(service, begin, [session_id], 1)
    assert sorted(found_in_tables(database, [session_id])) == [
        ("public.event_positions", session_id),
        ("public.session_events", session_id),
    ]
    assert found_in_redis(cache, [session_id]) == [(f"session:{session_id}", session_id)]
    for table in ("event_positions", "session_events"):
        query = f"select version from {table} where session_id = %s"  # noqa: S608 - two names
        assert database.execute(query, [session_id]).fetchall() == [(3,)]
    assert found_in_tables(database, [word]) == []
