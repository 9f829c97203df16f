"""eraseSessions: DELETE /api/sessions."""

from uuid import uuid4

import psycopg
import pytest

from tests.conftest import Urls
from tests.support.erasing import erase_user, new_user
from tests.support.feed import await_events, newest, of_sessions
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service

MANY = """
    insert into quiz_sessions (
      id, user_id, quiz_id, started_at, expires_at, closes_at, last_saved_at, created_at, updated_at
    )
    select gen_random_uuid(), %s, '7', t, t + interval '1 hour', t + interval '1 hour', t, t, t
    from generate_series(1, %s) as n, (select now()) as clock (t)
"""
LEFT = "select count(*) from quiz_sessions where user_id = %s"


def test_200_erases_all_sessions_of_the_user(service: Service) -> None:
    """All sessions of the user are erased, whatever their state, no other user's; a repeat erases none."""
    begin = newest(service)
    user = new_user()
    ids = [service.start(user_id=user, quiz_id=quiz)["id"] for quiz in (7, "exam", 8)]
    service.complete(ids[0])
    other = service.start()["id"]
    assert erase_user(service, user).json() == {"erased": 3, "unfinished": False}
    assert [service.read(session_id).status_code for session_id in (*ids, other)] == [404, 404, 404, 200]
    assert service.client.get("/api/sessions", params={"user_id": user}).json()["items"] == []
    assert erase_user(service, user).json() == {"erased": 0, "unfinished": False}
    events = await_events(service, begin, ids, 3)
    last = {event["session_id"]: event["type"] for event in events if event["session_id"] in ids}
    assert set(last.values()) == {"session.erased"}, of_sessions(events, *ids)


def test_200_in_several_steps(service: Service, database: psycopg.Connection) -> None:
    """More sessions than one transaction erases are erased by one call, or by repeating it."""
    user = new_user()
    database.execute(MANY, [user, 600])
    erased, unfinished = 0, True
    while unfinished:
        report = erase_user(service, user).json()
        erased, unfinished = erased + report["erased"], report["unfinished"]
    assert erased == 600
    assert database.execute(LEFT, [user]).fetchone() == (0,)


def test_200_leaves_locked_sessions_to_the_next_call(service: Service, migrated: Urls) -> None:
    """A session that another request holds is left out and the call is unfinished; the next one erases it."""
    user = new_user()
    ids = [service.start(user_id=user)["id"] for _ in range(3)]
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as holder:
        holder.execute("select from quiz_sessions where id = %s for update", [ids[1]])
        assert erase_user(service, user).json() == {"erased": 2, "unfinished": True}
        assert [service.read(session_id).status_code for session_id in ids] == [404, 200, 404]
    assert erase_user(service, user).json() == {"erased": 1, "unfinished": False}


def test_200_for_a_user_who_is_called_unknown(service_with_tokens: Service) -> None:
    """A user called "unknown" is not the party without a name in the lines of others, which stay."""
    service, officer, user = service_with_tokens, bearer("officer", scope="sessions:erase"), new_user()
    started = service.client.post(
        "/api/sessions/start", json={"user_id": user, "quiz_id": 7}, headers=bearer(user, act={})
    )
    path = f"/api/sessions/{started.json()['id']}/events"
    before = service.client.get(path, headers=bearer("back-end", scope=SERVICE_SCOPE)).json()
    assert before["items"][0]["actor"]["acting"] == "unknown"
    assert erase_user(service, "unknown", officer).json() == {"erased": 0, "unfinished": False}
    assert service.client.get(path, headers=bearer("back-end", scope=SERVICE_SCOPE)).json() == before


@pytest.mark.parametrize("query", ["", "user_id=", "user_id=a&user_id=b", "user_id=a&quiz_id=7"])
def test_400_without_one_user(service: Service, query: str) -> None:
    """A request that does not name one user, and nothing else, is rejected: it erases nothing."""
    assert service.client.delete(f"/api/sessions?{query}").status_code == 400


def test_403_without_the_scope(service_with_tokens: Service) -> None:
    """Not even the user itself, or a service's token, erases sessions without the scope for it."""
    user = new_user()
    for token in (bearer(user), bearer("back-end", scope=SERVICE_SCOPE)):
        assert erase_user(service_with_tokens, user, token).status_code == 403
    officer = bearer("officer", scope="sessions:erase")
    assert erase_user(service_with_tokens, user, officer).json() == {"erased": 0, "unfinished": False}


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    reply = service.client.request("DELETE", "/api/sessions?user_id=a", content=b" " * (256 * 1024 + 1))
    assert reply.status_code == 413


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert erase_user(service_without_table, uuid4()).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """Erasing needs the database."""
    reply = erase_user(service_without_postgresql, uuid4())
    assert (reply.status_code, reply.json()["outcome"]) == (503, "not_applied")
