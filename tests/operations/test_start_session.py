"""startSession: POST /api/sessions/start."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, await_end
from tests.support.waiting import eventually

PATH = "/api/sessions/start"
BODY = {"user_id": "ada", "quiz_id": 7}


def test_201_with_a_session_that_runs(service: Service) -> None:
    """A new session is in progress, at version 1, without answers, and stored."""
    reply = service.client.post(PATH, json=BODY)
    session = reply.json()
    assert reply.status_code == 201
    assert reply.headers["location"] == f"/api/sessions/{session['id']}"
    assert reply.headers["etag"] == '"1"'
    assert UUID(session["id"]).version == 4
    assert (session["status"], session["version"], session["answers"]) == ("in_progress", 1, {})
    assert session["completed_at"] is None
    assert service.read(session["id"]).json() == session


@pytest.mark.parametrize(("limit", "seconds"), [({}, 1800), ({"time_limit_seconds": 90}, 90)])
def test_201_with_the_time_that_was_asked_for(service: Service, limit: dict[str, int], seconds: int) -> None:
    """The time runs for `time_limit_seconds`, by default for the service's own limit."""
    session = service.client.post(PATH, json=BODY | limit).json()
    started, expires = (datetime.fromisoformat(session[name]) for name in ("started_at", "expires_at"))
    assert expires - started == timedelta(seconds=seconds)


def test_201_each_time_for_the_same_user_and_quiz(service: Service) -> None:
    """Two starts are two attempts."""
    assert service.start(**BODY)["id"] != service.start(**BODY)["id"]


def test_201_with_times_in_whole_milliseconds(service: Service, database: psycopg.Connection) -> None:
    """What is told of a time is exactly what is stored."""
    session = service.start()
    names = ("started_at", "expires_at", "last_saved_at", "created_at", "updated_at")
    query = f"select {', '.join(names)} from quiz_sessions where id = %s"  # noqa: S608 - the names above
    stored = database.execute(query, [session["id"]]).fetchone()
    assert stored == tuple(datetime.fromisoformat(str(session[name])) for name in names)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"user_id": ""}, "body.user_id"),
        ({"user_id": "x" * 256}, "body.user_id"),
        ({"user_id": "a\x00b"}, "body.user_id"),
        ({"user_id": 5}, "body.user_id"),
        ({"quiz_id": 0}, "body.quiz_id"),
        ({"quiz_id": 2_147_483_648}, "body.quiz_id"),
        ({"quiz_id": 1.5}, "body.quiz_id"),
        ({"quiz_id": "7"}, "body.quiz_id"),
        ({"quiz_id": True}, "body.quiz_id"),
        ({"time_limit_seconds": 0}, "body.time_limit_seconds"),
        ({"time_limit_seconds": 2_592_001}, "body.time_limit_seconds"),
        ({"status": "completed"}, "body"),
    ],
)
def test_400_names_the_place(service: Service, change: dict[str, object], path: str) -> None:
    """Whatever does not fit the contract is refused, and the reply says where, not what."""
    reply = service.client.post(PATH, json=BODY | change)
    assert reply.status_code == 400
    assert {detail["path"] for detail in reply.json()["details"]} == {path}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"user_id":"a","quiz_id":NaN}', b"\xff", b'"\\ud800"']
)
def test_400_for_what_is_no_json_object(service: Service, content: bytes) -> None:
    """A body that is missing, malformed or no object is refused."""
    reply = service.client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert reply.status_code == 400


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """No parameter is ignored in silence."""
    reply = service.client.post(PATH, json=BODY, params={"dry_run": "1"})
    assert reply.status_code == 400
    assert reply.json()["details"][0]["path"] == "query"


def test_403_for_another_user(guarded: Service) -> None:
    """A learner's token starts nothing for others; a service's does."""
    body = BODY | {"user_id": "grace"}
    reply = guarded.client.post(PATH, json=body, headers=bearer("ada"))
    assert reply.status_code == 403
    assert guarded.client.post(PATH, json=body, headers=bearer("grace")).status_code == 201
    assert (
        guarded.client.post(PATH, json=body, headers=bearer("back-end", scope=SERVICE_SCOPE)).status_code
        == 201
    )


def test_413_over_256_kib(service: Service) -> None:
    """A body over the limit is refused, one at the limit is read."""
    start = b'{"user_id":"ada","quiz_id":7'
    headers = {"content-type": "application/json"}
    at_limit = start + b" " * (256 * 1024 - len(start) - 1) + b"}"
    assert service.client.post(PATH, content=at_limit, headers=headers).status_code == 201
    assert service.client.post(PATH, content=at_limit + b" ", headers=headers).status_code == 413
    chunked = (b" " * 65536 for _ in range(40))
    assert service.client.post(PATH, content=chunked, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {},
    ],
)
def test_415_for_anything_but_plain_json(service: Service, headers: dict[str, str]) -> None:
    """The body has to be application/json in UTF-8, not encoded."""
    reply = service.client.post(PATH, content=b'{"user_id":"ada","quiz_id":7}', headers=headers)
    assert reply.status_code == 415


def test_500_tells_nothing_but_the_request_id(broken_service: Service) -> None:
    """A bug is told in the contract's shape, with its detail in the log only."""
    reply = broken_service.client.post(PATH, json=BODY)
    assert reply.status_code == 500
    assert "quiz_sessions" not in reply.text
    line = f"request {reply.json()['requestId']} failed"
    eventually(lambda: line in broken_service.log.read_text())


def test_503_without_postgresql(cut_off_service: Service) -> None:
    """Nothing starts while the database is out of reach, and the client knows that it may try again."""
    reply = cut_off_service.client.post(PATH, json=BODY)
    assert reply.status_code == 503
    assert reply.json()["retryable"] is True


def test_200_resumes_the_newest_that_runs(service: Service) -> None:
    """`resume` finds the newest running session of user and quiz, however it was started."""
    user = f"user-{uuid4()}"
    ended, older, newest = (service.start(user_id=user) for _ in range(3))
    service.start(user_id=user, quiz_id=8)
    body = {"user_id": user, "quiz_id": 7, "if_active": "resume"}
    reply = service.client.post(PATH, json=body)
    assert (reply.status_code, reply.json()) == (200, newest)
    service.complete(newest["id"])
    service.complete(ended["id"])
    assert service.client.post(PATH, json=body).json() == older
    service.complete(older["id"])
    assert service.client.post(PATH, json=body).status_code == 201


def test_201_where_what_there_is_is_over(service: Service) -> None:
    """A session past its time is not resumed, swept or not."""
    first = service.start(user_id="ben", time_limit_seconds=1, if_active="resume")
    await_end(first)
    second = service.start(user_id="ben", if_active="resume")
    assert second["id"] != first["id"]


def test_200_for_all_but_one_of_the_resumes_that_race(service: Service) -> None:
    """However many resumes race, they make one session."""
    for _ in range(5):
        body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, "if_active": "resume"}
        with ThreadPoolExecutor(16) as clients:
            replies = list(clients.map(lambda _, body=body: service.client.post(PATH, json=body), range(16)))
        assert sorted(reply.status_code for reply in replies) == [200] * 15 + [201]
        assert len({reply.json()["id"] for reply in replies}) == 1


def test_200_for_all_but_one_of_the_repeats_that_race(service: Service) -> None:
    """However many starts with one key race, they make one session, and each is told it."""
    for _ in range(5):
        body, headers = BODY | {"user_id": f"user-{uuid4()}"}, {"idempotency-key": "k"}
        with ThreadPoolExecutor(16) as clients:
            post = partial(service.client.post, PATH, json=body, headers=headers)
            replies = [sent.result() for sent in [clients.submit(post) for _ in range(16)]]
        assert sorted(reply.status_code for reply in replies) == [200] * 15 + [201]
        assert len({reply.json()["id"] for reply in replies}) == 1


def test_200_for_a_repeat_with_the_session_as_it_is_now(service: Service) -> None:
    """A repeat of a start is told what became of its session, also after its end."""
    body, headers = BODY | {"user_id": f"user-{uuid4()}"}, {"idempotency-key": "start-1"}
    session_id = service.client.post(PATH, json=body, headers=headers).json()["id"]
    saved = service.save(session_id, 1, "x").json()
    again = service.client.post(PATH, json=dict(reversed(body.items())), headers=headers)
    assert (again.status_code, again.json()) == (200, saved)
    completed = service.complete(session_id).json()
    assert service.client.post(PATH, json=body, headers=headers).json() == completed


def test_201_for_the_same_key_of_another_user(service: Service) -> None:
    """A start's key belongs to its user."""
    headers = {"idempotency-key": "shared"}
    users = [f"user-{uuid4()}" for _ in range(2)]
    replies = [service.client.post(PATH, json=BODY | {"user_id": user}, headers=headers) for user in users]
    assert [reply.status_code for reply in replies] == [201, 201]


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "\u00fc", "a,b"])
def test_400_for_a_key_that_is_none(service: Service, key: str) -> None:
    """A key is 1 to 128 of its characters."""
    reply = service.client.post(PATH, json=BODY, headers=[(b"idempotency-key", key.encode("latin-1"))])
    assert reply.status_code == 400
    assert reply.json()["details"][0]["path"] == "header.Idempotency-Key"


@pytest.mark.parametrize("change", [{"quiz_id": 8}, {"time_limit_seconds": 60}, {"if_active": "resume"}])
def test_422_for_anything_else_under_the_key(service: Service, change: dict[str, object]) -> None:
    """A key stands for one start, and nothing is started under it that is not that one."""
    body, headers = BODY | {"user_id": f"user-{uuid4()}"}, {"idempotency-key": "start-1"}
    assert service.client.post(PATH, json=body, headers=headers).status_code == 201
    assert service.client.post(PATH, json=body | change, headers=headers).status_code == 422
    listed = service.client.get("/api/sessions", params={"user_id": str(body["user_id"])}).json()["items"]
    assert len(listed) == 1
