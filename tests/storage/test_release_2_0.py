"""Release 2.0 beside this one: its changes, which know no journal, are in the histories and in the feed."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import Urls
from tests.support.feed import await_events, newest
from tests.support.journal import lines, replayed, shown
from tests.support.service import Service

# The changes of the statements of 2.0, on a connection without the settings of this release.
START = """
    insert into quiz_sessions (
      id, user_id, quiz_id, started_at, expires_at, closes_at, grace_seconds, on_expiry, time_factor,
      metadata, last_saved_at, created_at, updated_at
    )
    select
      %(id)s, 'ada', %(quiz_id)s, now, now + interval '2700 seconds', now + interval '2710 seconds', 10,
      'complete', 1.5, '{"room": null}', now, now, now
    from date_trunc('milliseconds', clock_timestamp()) as now
"""
SAVE = """
    update quiz_sessions
    set
      answers = %(answers)s, annotations = %(annotations)s, current_question = %(question)s,
      version = version + 1, last_saved_at = now, updated_at = now
    from date_trunc('milliseconds', clock_timestamp()) as now
    where id = %(id)s
"""
COMPLETE = """
    update quiz_sessions
    set
      answers = answers || '{"9": "last"}', version = version + 1, status = 'completed', completed_at = now,
      ended_by = 'learner', last_saved_at = now, updated_at = now
    from date_trunc('milliseconds', clock_timestamp()) as now
    where id = %(id)s
"""
EXPIRE = """
    update quiz_sessions
    set version = version + 1, status = 'expired', ended_by = 'deadline', updated_at = now
    from date_trunc('milliseconds', clock_timestamp()) as now
    where id = %(id)s
"""
UNKNOWN = {"type": "unknown"}


@pytest.fixture
def release_2_0(migrated: Urls) -> Iterator[psycopg.Connection]:
    """A connection of the service's role, as an instance of 2.0 has it."""
    with psycopg.connect(migrated["DATABASE_URL"], autocommit=True) as connection:
        yield connection


def _save(connection: psycopg.Connection, session_id: str, answers: str, annotations: str, at: str) -> None:
    values = {"id": session_id, "answers": answers, "annotations": annotations, "question": at}
    connection.execute(SAVE, values)


@pytest.mark.parametrize("quiz_id", ["7", "9007199254740993", "q1"])
def test_changes_of_2_0_have_lines(service: Service, release_2_0: psycopg.Connection, quiz_id: str) -> None:
    """Replayed, the lines of a session that 2.0 has started, saved and completed give the session."""
    session_id = str(uuid4())
    release_2_0.execute(START, {"id": session_id, "quiz_id": quiz_id})
    _save(release_2_0, session_id, '{"1": {"a": null}, "2": "kept"}', '{"1": "marked"}', "1")
    _save(release_2_0, session_id, '{"2": "kept", "3": []}', "{}", "q3")
    release_2_0.execute(COMPLETE, {"id": session_id})
    journal = lines(service, session_id)
    assert replayed(session_id, journal) == shown(service, session_id)
    assert [(line["type"], line["actor"]) for line in journal] == [
        ("session.started", UNKNOWN),
        ("session.saved", UNKNOWN),
        ("session.saved", UNKNOWN),
        ("session.completed", UNKNOWN),
    ]
    assert journal[0]["data"]["time_limit_seconds"] == 1800
    assert journal[2]["data"] == {
        "answers": {"1": None, "3": []},
        "annotations": {"1": None},
        "current_question": "q3",
    }


def test_ends_by_2_0_are_in_the_feed(service: Service, release_2_0: psycopg.Connection) -> None:
    """The feed has the start and the end of a session that 2.0 has started and expired, but not its save."""
    begin, session_id = newest(service), str(uuid4())
    release_2_0.execute(START, {"id": session_id, "quiz_id": "7"})
    _save(release_2_0, session_id, '{"1": "a"}', "{}", "1")
    release_2_0.execute(EXPIRE, {"id": session_id})
    events = await_events(service, begin, [session_id], 2)
    own = [event for event in events if event["session_id"] == session_id]
    assert [(event["type"], event["version"], event["actor"]) for event in own] == [
        ("session.started", 1, UNKNOWN),
        ("session.expired", 3, {"type": "system"}),
    ]


def test_both_releases_change_a_session(service: Service, release_2_0: psycopg.Connection) -> None:
    """A session that both releases change has one line for each version, each with its actor."""
    session: dict[str, Any] = service.start()
    _save(release_2_0, session["id"], '{"1": "a"}', "{}", "1")
    assert service.save(session["id"], 2, "b").status_code == 200
    journal = lines(service, session["id"])
    assert [line["actor"]["type"] for line in journal] == ["anonymous", "unknown", "anonymous"]
    assert replayed(session["id"], journal) == shown(service, session["id"])
