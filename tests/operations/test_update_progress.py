"""updateProgress: PUT /api/sessions/{id}/progress."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import Urls, migrate
from tests.support.database_settings import close_connections
from tests.support.service import Service, await_expiry, running


def test_200_with_the_answer_merged_in(service: Service) -> None:
    """A save adds its answer, sets current_question and last_saved_at, and increments the version."""
    started = service.start()
    first = service.save(started["id"], 3, "Paris").json()
    response = service.save(started["id"], 0, ["a", "c"])
    second = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"3"')
    assert second["answers"] == {"0": ["a", "c"], "3": "Paris"}
    assert (second["current_question"], second["version"]) == (0, 3)
    assert first["last_saved_at"] <= second["last_saved_at"] == second["updated_at"]
    assert {
        **second,
        **{name: started[name] for name in ("id", "user_id", "started_at", "expires_at")},
    } == second


def test_200_replaces_and_clears(service: Service) -> None:
    """A second answer to a question replaces the first, `null` clears it; each increments the version."""
    session_id = service.start()["id"]
    service.save(session_id, 3, "Paris")
    assert service.save(session_id, 3, "Rome").json()["answers"] == {"3": "Rome"}
    assert service.save(session_id, 3, "Rome").json()["version"] == 4
    cleared = service.save(session_id, 3, None).json()
    assert (cleared["answers"], cleared["version"]) == ({}, 5)


def test_200_for_concurrent_saves_of_different_questions(service: Service) -> None:
    """Concurrent saves without a version are all saved."""
    session_id = service.start()["id"]
    with ThreadPoolExecutor(8) as clients:
        responses = list(clients.map(lambda question: service.save(session_id, question, "x"), range(40)))
    assert {response.status_code for response in responses} == {200}
    assert sorted(response.json()["version"] for response in responses) == list(range(2, 42))
    assert service.read(session_id).json()["answers"] == {str(question): "x" for question in range(40)}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"answer": "x"}, "body"),
        ({"question_id": 1}, "body"),
        ({"question_id": -1, "answer": "x"}, "body.question_id"),
        ({"question_id": 2**53, "answer": "x"}, "body.question_id"),
        ({"question_id": "", "answer": "x"}, "body.question_id"),
        ({"question_id": None, "answer": "x"}, "body.question_id"),
        ({"question_id": 1, "answer": "\x00"}, "body.answer"),
        ({"question_id": 1, "answer": "a\x00"}, "body.answer"),
        ({"question_id": 1, "answer": ["x", "\x00"]}, "body.answer.1"),
        ({"question_id": 1, "answer": {"x": {"\x00": 1}}}, "body.answer.x"),
        ({"question_id": 1, "answer": "x", "annotation": "\x00"}, "body.annotation"),
        ({"question_id": 1, "answer": "x", "version": 0}, "body.version"),
        ({"question_id": 1, "answer": "x", "status": "completed"}, "body"),
    ],
)
def test_400_names_the_field(service: Service, body: dict[str, object], path: str) -> None:
    """An invalid field is rejected by its path and changes nothing."""
    session = service.start()
    response = service.client.put(f"/api/sessions/{session['id']}/progress", json=body)
    assert response.status_code == 400
    assert {detail["path"] for detail in response.json()["details"]} == {path}
    assert service.read(session["id"]).json() == session


def test_404_for_an_unknown_id(service: Service) -> None:
    """A save to an unknown session returns 404."""
    assert service.save(uuid4(), 1, "x").status_code == 404


def test_410_for_a_completed_session(service: Service) -> None:
    """A completed session accepts no save, with any version."""
    session_id = service.start()["id"]
    completed = service.complete(session_id).json()
    for tag in ("*", '"1"', '"2"'):
        response = service.save(session_id, 1, "late", {"if-match": tag})
        assert (response.status_code, response.json()["errorCode"]) == (410, "SESSION_COMPLETED")
        assert response.json()["session"] == completed


def test_410_for_an_expired_session(service: Service) -> None:
    """An expired session accepts no save, with any version, and the 410 includes the saved answers."""
    session = service.start(time_limit_seconds=3)
    service.save(session["id"], 1, "in time")
    await_expiry(session)
    for tag in ("*", '"1"', '"2"'):
        response = service.save(session["id"], 1, "late", {"if-match": tag})
        assert (response.status_code, response.json()["errorCode"]) == (410, "SESSION_EXPIRED")
        assert response.json()["session"]["answers"] == {"1": "in time"}
        assert response.json()["session"]["status"] == "expired"


def test_410_for_a_save_that_gets_the_row_lock_after_expiry(
    service: Service, database: psycopg.Connection
) -> None:
    """A save that gets the row lock after the time limit is late: the clock is read under the lock."""
    session = service.start(time_limit_seconds=1)
    with ThreadPoolExecutor(1) as clients:
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
            waiting = clients.submit(service.save, session["id"], 1, "late")
            await_expiry(session)
            assert not waiting.done()
        assert waiting.result().status_code == 410
    stored = database.execute("select answers from quiz_sessions where id = %s", [session["id"]]).fetchone()
    assert stored == ({},)


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected."""
    path = f"/api/sessions/{uuid4()}/progress"
    headers = {"content-type": "application/json"}
    response = service.client.put(path, content=b" " * (256 * 1024 + 1), headers=headers)
    assert response.status_code == 413


def test_413_for_the_ten_thousand_and_first_answer(service: Service, database: psycopg.Connection) -> None:
    """A full session of 10,000 answers accepts replaced and cleared answers, but no new one."""
    session_id = service.start()["id"]
    query = """
        update quiz_sessions
        set answers = (select jsonb_object_agg(n::text, 'x') from generate_series(0, 9999) as n)
        where id = %s
    """
    database.execute(query, [session_id])
    rejected = service.save(session_id, 10_000, "x")
    assert rejected.status_code == 413
    assert service.save(session_id, 9_999, "y").status_code == 200
    assert service.save(session_id, 9_999, None).status_code == 200
    assert service.save(session_id, 10_000, "x").json()["version"] == 4


def test_413_over_one_mebibyte_of_answers(service: Service) -> None:
    """A save that would exceed 1 MiB of answers changes nothing."""
    session_id = service.start()["id"]
    responses = [service.save(session_id, n, ["\u00fc" * 1_000] * 100) for n in range(6)]
    assert [response.status_code for response in responses] == [200] * 5 + [413]
    assert service.read(session_id).json() == responses[4].json()


def test_415_for_anything_but_json(service: Service) -> None:
    """The body must be application/json."""
    response = service.client.put(
        f"/api/sessions/{uuid4()}/progress", content=b"{}", headers={"content-type": "text/json"}
    )
    assert response.status_code == 415


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert service_without_table.save(uuid4(), 1, "x").status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """A save is not acknowledged without the database."""
    response = service_without_postgresql.save(uuid4(), 1, "x")
    assert response.status_code == 503
    assert response.json()["outcome"] in ("not_applied", "unknown")


def test_204_with_prefer_return_minimal(service: Service) -> None:
    """`Prefer: return=minimal` gets the new version without a body."""
    session_id = service.start()["id"]
    for version, prefer in enumerate(
        ["return=minimal", "wait=1, return=minimal", 'Return="Minimal"; x=1'], 2
    ):
        response = service.save(session_id, 1, "x", {"prefer": prefer})
        assert (response.status_code, response.headers["etag"]) == (204, f'"{version}"')
    assert service.save(session_id, 1, "x", {"prefer": "return=representation"}).status_code == 200


@pytest.mark.parametrize("depth", [65, 255, 256, 1000, 1100, 100_000])
def test_400_for_a_deeply_nested_answer(service: Service, depth: int) -> None:
    """An answer of more than 64 levels is rejected."""
    content = b'{"question_id":1,"answer":%s%s}' % (b"[" * depth, b"]" * depth)
    path, headers = f"/api/sessions/{uuid4()}/progress", {"content-type": "application/json"}
    assert service.client.put(path, content=content, headers=headers).status_code == 400


def test_503_for_a_read_only_database(fresh_database: Urls) -> None:
    """A save to a read-only database, like a standby, was not applied."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set default_transaction_read_only = on")
        # Behind a pooler there are connections from before.
        close_connections(connection)
    with running(fresh_database) as service:
        response = service.save(uuid4(), 1, "x")
        assert (response.status_code, response.json()["outcome"]) == (503, "not_applied")
        assert service.read(uuid4()).status_code == 404
