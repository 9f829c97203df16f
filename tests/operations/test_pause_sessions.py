"""pauseSessions: POST /api/sessions/pause."""

from uuid import uuid4

import psycopg
from redis import Redis

from tests.conftest import Urls
from tests.support.orders import order_quiz
from tests.support.service import Service
from tests.support.waiting import eventually

# The whole of what an instance has done that was killed after the commit of a step.
STEP = [
    "set local session_service.journal = 'written'",
    """
    update quiz_sessions
    set
      status = 'paused', version = 2, paused_at = now(), closes_at = null,
      recent_orders = (select array[key || ' ' || digest] from quiz_orders as o where o.quiz_id = %(quiz)s)
    where quiz_id = %(quiz)s
    """,
    """
    insert into session_events (session_id, version, type, at, actor, data)
    select id, 2, 'session.paused', now(), '{"type": "anonymous"}', '{}'
    from quiz_sessions
    where quiz_id = %(quiz)s
    """,
    """
    insert into unplaced_events (session_id, version)
    select id, 2
    from quiz_sessions
    where quiz_id = %(quiz)s
    """,
    "update quiz_orders set changed = 1 where quiz_id = %(quiz)s",
]


def test_200_pauses_and_resumes_a_whole_quiz(service: Service) -> None:
    """After a pause every session is paused, in reads and in the cache; after a resumption every one runs."""
    quiz = f"quiz-{uuid4()}"
    ids = [service.start(quiz_id=quiz)["id"] for _ in range(3)]
    tags = [{"if-none-match": service.read(session_id).headers["etag"]} for session_id in ids]
    for kind, status in (("pause", "paused"), ("resume", "in_progress")):
        assert order_quiz(service, kind, {"quiz_id": quiz}).json()["changed"] == 3
        seen = [service.read(session_id, tag) for session_id, tag in zip(ids, tags, strict=True)]
        assert [(reply.status_code, reply.json()["status"]) for reply in seen] == [(200, status)] * 3


def test_200_for_a_repeat_after_an_instance_was_killed(
    service: Service, migrated: Urls, database: psycopg.Connection, cache: Redis
) -> None:
    """No read is older than the reply to a repeat, also of a session that a killed instance has paused."""
    quiz = f"quiz-{uuid4()}"
    session_id = service.start(quiz_id=quiz)["id"]
    eventually(lambda: database.execute("select from unplaced_events").fetchone() is None)
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"]) as killed:
        killed.execute("select from quiz_sessions where quiz_id = %s for update", [quiz])
        first = order_quiz(service, "pause", {"quiz_id": quiz}, "k").json()
        assert first == {"changed": 0, "unchanged": [], "unfinished": True}
        for statement in STEP:
            killed.execute(statement, {"quiz": quiz})
        assert service.read(session_id).json()["status"] == "in_progress"
        assert cache.getrange(f"session:{session_id}", 0, 4) == b"s1 1 "
    again = order_quiz(service, "pause", {"quiz_id": quiz}, "k").json()
    assert again == {"changed": 1, "unchanged": [], "unfinished": False}
    assert service.read(session_id).json()["status"] == "paused"
