"""resumeSessions: POST /api/sessions/resume."""

from uuid import uuid4

import psycopg
from redis import Redis

from tests.support.ageing import age
from tests.support.orders import given, order_quiz, seconds
from tests.support.service import Service


def test_200_moves_each_end_by_its_own_pause(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """Each session has the time left that it had when it was paused; one in progress is unchanged."""
    quiz = f"quiz-{uuid4()}"
    running, *paused = (service.start(quiz_id=quiz, time_limit_seconds=600)["id"] for _ in range(3))
    for session_id, pause in zip(paused, (100, 1000), strict=True):
        given(service, "pause", session_id)
        age(database, cache, session_id, pause)
    report = order_quiz(service, "resume", {"quiz_id": quiz}).json()
    assert report == {"changed": 2, "unchanged": [{"id": running, "errorCode": None}], "unfinished": False}
    for session_id in paused:
        resumed = service.read(session_id).json()
        assert 500 < seconds(resumed, "expires_at", "updated_at") <= 600
