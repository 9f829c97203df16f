"""updateProgress: PUT /api/sessions/{id}/progress."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import Urls, migrate
from tests.support.service import Service, await_end, running


def test_200_with_the_answer_merged_in(service: Service) -> None:
    """A save adds its answer to the others, moves current_question, and is told with its version and time."""
    started = service.start()
    first = service.save(started["id"], 3, "Paris").json()
    reply = service.save(started["id"], 0, ["a", "c"])
    second = reply.json()
    assert (reply.status_code, reply.headers["etag"]) == (200, '"3"')
    assert second["answers"] == {"0": ["a", "c"], "3": "Paris"}
    assert (second["current_question"], second["version"]) == (0, 3)
    assert first["last_saved_at"] <= second["last_saved_at"] == second["updated_at"]
    assert {
        **second,
        **{name: started[name] for name in ("id", "user_id", "started_at", "expires_at")},
    } == second


def test_200_replaces_and_clears(service: Service) -> None:
    """A second answer to a question replaces the first, `null` takes it away; each is a change."""
    session_id = service.start()["id"]
    service.save(session_id, 3, "Paris")
    assert service.save(session_id, 3, "Rome").json()["answers"] == {"3": "Rome"}
    assert service.save(session_id, 3, "Rome").json()["version"] == 4
    cleared = service.save(session_id, 3, None).json()
    assert (cleared["answers"], cleared["version"]) == ({}, 5)


def test_200_on_the_version_that_was_named(service: Service) -> None:
    """A save onto the current version lands."""
    session_id = service.start()["id"]
    assert service.save(session_id, 1, "a", version=1).json()["version"] == 2
    assert service.save(session_id, 1, "b", version=2.0).json()["version"] == 3


def test_200_for_saves_of_different_questions_at_once(service: Service) -> None:
    """Saves without a version never lose each other."""
    session_id = service.start()["id"]
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(lambda question: service.save(session_id, question, "x"), range(40)))
    assert {reply.status_code for reply in replies} == {200}
    assert sorted(reply.json()["version"] for reply in replies) == list(range(2, 42))
    assert service.read(session_id).json()["answers"] == {str(question): "x" for question in range(40)}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"answer": "x"}, "body"),
        ({"question_id": 1}, "body"),
        ({"question_id": -1, "answer": "x"}, "body.question_id"),
        ({"question_id": 2_147_483_648, "answer": "x"}, "body.question_id"),
        ({"question_id": 1, "answer": ""}, "body.answer"),
        ({"question_id": 1, "answer": " \n\u3000"}, "body.answer"),
        ({"question_id": 1, "answer": "\x00"}, "body.answer"),
        ({"question_id": 1, "answer": "a\x00"}, "body.answer"),
        ({"question_id": 1, "answer": "x" * 10_001}, "body.answer"),
        ({"question_id": 1, "answer": []}, "body.answer"),
        ({"question_id": 1, "answer": ["x"] * 101}, "body.answer"),
        ({"question_id": 1, "answer": ["x", " "]}, "body.answer.1"),
        ({"question_id": 1, "answer": {"x": 1}}, "body.answer"),
        ({"question_id": 1, "answer": "x", "version": 0}, "body.version"),
        ({"question_id": 1, "answer": "x", "version": None}, "body.version"),
        ({"question_id": 1, "answer": "x", "status": "completed"}, "body"),
    ],
)
def test_400_names_the_place(service: Service, body: dict[str, object], path: str) -> None:
    """Whatever does not fit the contract is refused and changes nothing."""
    session = service.start()
    reply = service.client.put(f"/api/sessions/{session['id']}/progress", json=body)
    assert reply.status_code == 400
    assert {detail["path"] for detail in reply.json()["details"]} == {path}
    assert service.read(session["id"]).json() == session


def test_404_for_an_id_that_no_session_has(service: Service) -> None:
    """Nothing is made by saving to it."""
    assert service.save(uuid4(), 1, "x").status_code == 404


def test_409_on_a_stale_version(service: Service) -> None:
    """A save onto an older version changes nothing and is told the current session."""
    session_id = service.start()["id"]
    current = service.save(session_id, 1, "first", version=1).json()
    reply = service.save(session_id, 1, "second", version=1)
    body = reply.json()
    assert (reply.status_code, reply.headers["retry-after"], reply.headers["etag"]) == (409, "1", '"2"')
    assert (body["currentVersion"], body["session"], body["retryAfterSeconds"]) == (2, current, 1)
    assert service.read(session_id).json() == current


def test_409_on_a_version_that_is_yet_to_come(service: Service) -> None:
    """A version is the current one or it is a conflict."""
    assert service.save(service.start()["id"], 1, "x", version=2).status_code == 409


def test_409_for_all_but_one_of_many_on_the_same_version(service: Service) -> None:
    """Of clients that race on one version exactly one wins."""
    session_id = service.start()["id"]
    with ThreadPoolExecutor(16) as clients:
        replies = list(clients.map(lambda n: service.save(session_id, n, "x", version=1), range(32)))
    assert sorted(reply.status_code for reply in replies) == [200] + [409] * 31
    assert service.read(session_id).json()["version"] == 2


def test_410_after_completion(service: Service) -> None:
    """A completed session takes no save, with whatever version."""
    session_id = service.start()["id"]
    completed = service.complete(session_id).json()
    for tag in ("*", '"1"', '"2"'):
        reply = service.save(session_id, 1, "late", {"if-match": tag})
        assert (reply.status_code, reply.json()["errorCode"]) == (410, "SESSION_COMPLETED")
        assert reply.json()["session"] == completed


def test_410_after_the_time_is_over(service: Service) -> None:
    """An expired session takes no save, with whatever version, and its 410 carries what was saved."""
    session = service.start(time_limit_seconds=3)
    service.save(session["id"], 1, "in time")
    await_end(session)
    for tag in ("*", '"1"', '"2"'):
        reply = service.save(session["id"], 1, "late", {"if-match": tag})
        assert (reply.status_code, reply.json()["errorCode"]) == (410, "SESSION_EXPIRED")
        assert reply.json()["session"]["answers"] == {"1": "in time"}
        assert reply.json()["session"]["status"] == "expired"


def test_410_for_a_save_that_waited_for_the_row_until_the_end(
    service: Service, database: psycopg.Connection
) -> None:
    """The clock is read once the row is held: a save that reaches it late is late."""
    session = service.start(time_limit_seconds=1)
    with ThreadPoolExecutor(1) as clients:
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
            waiting = clients.submit(service.save, session["id"], 1, "late")
            await_end(session)
            assert not waiting.done()
        assert waiting.result().status_code == 410
    stored = database.execute("select version from quiz_sessions where id = %s", [session["id"]]).fetchone()
    assert stored == (1,)


def test_413_over_256_kib(service: Service) -> None:
    """A body over the limit is refused."""
    path = f"/api/sessions/{uuid4()}/progress"
    headers = {"content-type": "application/json"}
    reply = service.client.put(path, content=b" " * (256 * 1024 + 1), headers=headers)
    assert reply.status_code == 413


def test_413_for_the_ten_thousand_and_first_answer(service: Service, database: psycopg.Connection) -> None:
    """A session holds 10 000 answers, and no save takes it further; one may replace or clear."""
    session_id = service.start()["id"]
    query = """
        update quiz_sessions
        set answers = (select jsonb_object_agg(n::text, 'x') from generate_series(0, 9999) as n)
        where id = %s
    """
    database.execute(query, [session_id])
    refused = service.save(session_id, 10_000, "x")
    assert refused.status_code == 413
    assert service.save(session_id, 9_999, "y").status_code == 200
    assert service.save(session_id, 9_999, None).status_code == 200
    assert service.save(session_id, 10_000, "x").json()["version"] == 4


def test_413_over_one_mebibyte_of_answers(service: Service) -> None:
    """A session holds 1 MiB of answers; a save that would take it over changes nothing."""
    session_id = service.start()["id"]
    replies = [service.save(session_id, n, ["\u00fc" * 1_000] * 100) for n in range(6)]
    assert [reply.status_code for reply in replies] == [200] * 5 + [413]
    assert service.read(session_id).json() == replies[4].json()


def test_415_for_anything_but_json(service: Service) -> None:
    """The body has to be application/json."""
    reply = service.client.put(
        f"/api/sessions/{uuid4()}/progress", content=b"{}", headers={"content-type": "text/json"}
    )
    assert reply.status_code == 415


def test_500_tells_nothing_but_the_request_id(broken_service: Service) -> None:
    """A bug is told in the contract's shape."""
    assert broken_service.save(uuid4(), 1, "x").status_code == 500


def test_503_without_postgresql(cut_off_service: Service) -> None:
    """A save that cannot reach the database is not acknowledged."""
    reply = cut_off_service.save(uuid4(), 1, "x")
    assert reply.status_code == 503
    assert reply.json()["outcome"] in ("not_applied", "unknown")


def test_200_for_a_repeat_has_one_effect(service: Service) -> None:
    """A save that is repeated with its key lands once, also after others; it is told the session as it is."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "save-1"}
    first = service.save(session_id, 1, "x", key).json()
    assert service.save(session_id, 1, "x", key).json() == first
    other = service.save(session_id, 1, "y").json()
    assert service.save(session_id, 1, "x", key).json() == other


def test_200_for_a_repeat_of_a_save_onto_a_version(service: Service) -> None:
    """A repeat is known by its key before its version is looked at: it is no conflict with itself."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "save-1"}
    first = service.save(session_id, 1, "x", key, version=1).json()
    assert (first["version"], service.save(session_id, 1, "x", key, version=1).json()) == (2, first)
    tagged = {"idempotency-key": "save-2", "if-match": '"2"'}
    second = service.save(session_id, 1, "y", tagged).json()
    assert (second["version"], service.save(session_id, 1, "y", tagged).json()) == (3, second)


def test_200_for_repeats_that_race(service: Service) -> None:
    """However many repeats race, one lands."""
    session_id = service.start()["id"]
    with ThreadPoolExecutor(16) as clients:
        save = partial(service.save, session_id, 1, "x", {"idempotency-key": "k"})
        replies = [sent.result() for sent in [clients.submit(save) for _ in range(32)]]
    assert {(reply.status_code, reply.json()["version"]) for reply in replies} == {(200, 2)}


def test_200_for_any_of_the_last_sixteen_keys(service: Service) -> None:
    """A session remembers its last 16 keyed writes; saves without a key push none out."""
    session_id = service.start()["id"]
    for n in range(17):
        service.save(session_id, n, "x", {"idempotency-key": f"k{n}"})
        service.save(session_id, n, "y")
    for n in range(1, 17):
        assert service.save(session_id, n, "x", {"idempotency-key": f"k{n}"}).json()["version"] == 35
    assert service.save(session_id, 0, "x", {"idempotency-key": "k0"}).json()["version"] == 36


@pytest.mark.parametrize(
    "tag",
    [
        '"2"',
        "*",
        'W/"2"',
        '"1", "2"',
        'W/"7",W/"2"',
        ', "2" ,',
        '"x", "2"',
        '"2-gzip"',
        '"2--gzip"',
        'W/"2-br"',
        '"2-zstd"',
    ],
)
def test_200_on_the_version_of_if_match(service: Service, tag: str) -> None:
    """`If-Match` counts as the version where the body has none, in a list and as proxies change it too."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    assert service.save(session_id, 1, "y", {"if-match": tag}).json()["version"] == 3


def test_200_with_the_body_s_version_before_if_match(service: Service) -> None:
    """Where both are there, the body's version counts."""
    session_id = service.start()["id"]
    assert service.save(session_id, 1, "x", {"if-match": '"9"'}, version=1).status_code == 200


def test_204_where_no_body_is_wanted(service: Service) -> None:
    """With `Prefer: return=minimal` a save tells its version and nothing else."""
    session_id = service.start()["id"]
    for version, prefer in enumerate(
        ["return=minimal", "wait=1, return=minimal", 'Return="Minimal"; x=1'], 2
    ):
        reply = service.save(session_id, 1, "x", {"prefer": prefer})
        assert (reply.status_code, reply.headers["etag"]) == (204, f'"{version}"')
    assert service.save(session_id, 1, "x", {"prefer": "return=representation"}).status_code == 200


@pytest.mark.parametrize(
    "tag",
    [
        '"1"',
        '"3"',
        "2",
        "x",
        'w/"2"',
        "W/2",
        '"2" "1"',
        '"2',
        '"1-gzip"',
        '"2-"',
        '"2-x"',
        '"02"',
        '*, "2"',
        '"1", "3"',
        "",
        ",",
        '"3000000000"',
        '"99999999999"',
    ],
)
def test_409_on_any_other_if_match(service: Service, tag: str) -> None:
    """Whatever does not name the current version matches none."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    assert service.save(session_id, 1, "y", {"if-match": tag}).status_code == 409


def test_410_for_a_repeat_after_the_end_shows_that_the_save_landed(service: Service) -> None:
    """The end is judged before the key; the 410 carries the answer."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x", {"idempotency-key": "k"})
    service.complete(session_id)
    reply = service.save(session_id, 1, "x", {"idempotency-key": "k"})
    assert (reply.status_code, reply.json()["session"]["answers"]) == (410, {"1": "x"})


def test_422_for_anything_else_under_the_key(service: Service) -> None:
    """A key stands for one write of its session: another body, version or operation under it is refused."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "k"}
    saved = service.save(session_id, 1, "x", key).json()
    assert service.save(session_id, 1, "y", key).status_code == 422
    assert service.save(session_id, 2, "x", key).status_code == 422
    assert service.save(session_id, 1, "x", key, version=2).status_code == 422
    assert service.save_many(session_id, {"1": "x"}, key, current_question=1).status_code == 422
    assert service.complete(session_id, key, answers={"1": "x"}).status_code == 422
    assert service.read(session_id).json() == saved
    assert service.save(service.start()["id"], 2, "y", key).status_code == 200


@pytest.mark.parametrize("depth", [10, 255, 256, 1000, 1100, 100_000])
def test_400_for_an_answer_that_is_nested(service: Service, depth: int) -> None:
    """However deep a body is nested, it is refused like any other."""
    content = b'{"question_id":1,"answer":%s%s}' % (b"[" * depth, b"]" * depth)
    path, headers = f"/api/sessions/{uuid4()}/progress", {"content-type": "application/json"}
    assert service.client.put(path, content=content, headers=headers).status_code == 400


def test_503_for_a_database_that_is_read_only(fresh_database: Urls) -> None:
    """A database that takes no writes, as a standby, has certainly not taken this one."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set default_transaction_read_only = on")
    with running(fresh_database) as service:
        reply = service.save(uuid4(), 1, "x")
        assert (reply.status_code, reply.json()["outcome"]) == (503, "not_applied")
        assert service.read(uuid4()).status_code == 404
