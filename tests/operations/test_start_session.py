"""startSession: POST /api/sessions/start."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, await_expiry
from tests.support.waiting import eventually

PATH = "/api/sessions/start"
BODY = {"user_id": "ada", "quiz_id": 7}


def test_201_with_a_new_session(service: Service) -> None:
    """A new session is in progress, at version 1, without answers, and readable."""
    response = service.client.post(PATH, json=BODY)
    session = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/sessions/{session['id']}"
    assert response.headers["etag"] == '"1"'
    assert UUID(session["id"]).version == 4
    assert (session["status"], session["version"], session["answers"]) == ("in_progress", 1, {})
    assert session["completed_at"] is None
    assert service.read(session["id"]).json() == session


@pytest.mark.parametrize(("limit", "seconds"), [({}, 1800), ({"time_limit_seconds": 90}, 90)])
def test_201_with_the_requested_time_limit(service: Service, limit: dict[str, int], seconds: int) -> None:
    """The time limit is `time_limit_seconds`, by default the limit of the service."""
    session = service.client.post(PATH, json=BODY | limit).json()
    started, expires = (datetime.fromisoformat(session[name]) for name in ("started_at", "expires_at"))
    assert expires - started == timedelta(seconds=seconds)


def test_201_each_time_for_the_same_user_and_quiz(service: Service) -> None:
    """Two starts create two sessions."""
    assert service.start(**BODY)["id"] != service.start(**BODY)["id"]


def test_201_with_times_in_whole_milliseconds(service: Service, database: psycopg.Connection) -> None:
    """The times in a response are exactly the stored ones."""
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
        ({"quiz_id": "0"}, "body.quiz_id"),
        ({"quiz_id": 2**53}, "body.quiz_id"),
        ({"quiz_id": 1.5}, "body.quiz_id"),
        ({"quiz_id": ""}, "body.quiz_id"),
        ({"quiz_id": "a\n"}, "body.quiz_id"),
        ({"quiz_id": True}, "body.quiz_id"),
        ({"time_limit_seconds": -1}, "body.time_limit_seconds"),
        ({"time_limit_seconds": 31_536_001}, "body.time_limit_seconds"),
        ({"grace_seconds": 3601}, "body.grace_seconds"),
        ({"on_expiry": "stop"}, "body.on_expiry"),
        ({"time_factor": 0.9}, "body.time_factor"),
        ({"max_attempts": 0}, "body.max_attempts"),
        ({"metadata": []}, "body.metadata"),
        ({"status": "completed"}, "body"),
    ],
)
def test_400_names_the_field(service: Service, change: dict[str, object], path: str) -> None:
    """An invalid field is rejected by its path, without its value."""
    response = service.client.post(PATH, json=BODY | change)
    assert response.status_code == 400
    assert {detail["path"] for detail in response.json()["details"]} == {path}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"user_id":"a","quiz_id":NaN}', b"\xff", b'"\\ud800"']
)
def test_400_for_a_body_that_is_no_json_object(service: Service, content: bytes) -> None:
    """A missing or malformed body, or one that is no object, is rejected."""
    response = service.client.post(PATH, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """An unknown query parameter is rejected, not ignored."""
    response = service.client.post(PATH, json=BODY, params={"dry_run": "1"})
    assert response.status_code == 400
    assert response.json()["details"][0]["path"] == "query"


def test_403_for_another_user(service_with_tokens: Service) -> None:
    """A learner cannot start a session for another user; a service can."""
    body = BODY | {"user_id": "grace"}
    response = service_with_tokens.client.post(PATH, json=body, headers=bearer("ada"))
    assert response.status_code == 403
    assert service_with_tokens.client.post(PATH, json=body, headers=bearer("grace")).status_code == 201
    assert (
        service_with_tokens.client.post(
            PATH, json=body, headers=bearer("back-end", scope=SERVICE_SCOPE)
        ).status_code
        == 201
    )


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, one of exactly 256 KiB is accepted."""
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
    """The body must be application/json in UTF-8, without a content encoding."""
    response = service.client.post(PATH, content=b'{"user_id":"ada","quiz_id":7}', headers=headers)
    assert response.status_code == 415


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape, and its detail is only in the log."""
    response = service_without_table.client.post(PATH, json=BODY)
    assert response.status_code == 500
    assert "quiz_sessions" not in response.text
    line = f"request {response.json()['requestId']} failed"
    eventually(lambda: line in service_without_table.log.read_text())


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """A start without the database gets a retryable 503."""
    response = service_without_postgresql.client.post(PATH, json=BODY)
    assert response.status_code == 503
    assert response.json()["retryable"] is True


def test_200_resumes_the_newest_running_session(service: Service) -> None:
    """`resume` returns the newest running session of the user and quiz."""
    user = f"user-{uuid4()}"
    ended, older, newest = (service.start(user_id=user) for _ in range(3))
    service.start(user_id=user, quiz_id=8)
    body = {"user_id": user, "quiz_id": 7, "if_active": "resume"}
    response = service.client.post(PATH, json=body)
    assert (response.status_code, response.json()) == (200, newest)
    service.complete(newest["id"])
    service.complete(ended["id"])
    assert service.client.post(PATH, json=body).json() == older
    service.complete(older["id"])
    assert service.client.post(PATH, json=body).status_code == 201


def test_201_instead_of_resuming_an_expired_session(service: Service) -> None:
    """An expired session is not resumed, even before the sweeper has marked it."""
    first = service.start(user_id="ben", time_limit_seconds=1, if_active="resume")
    await_expiry(first)
    second = service.start(user_id="ben", if_active="resume")
    assert second["id"] != first["id"]


def test_200_for_all_but_one_of_concurrent_resumes(service: Service) -> None:
    """Concurrent resumes create one session."""
    for _ in range(5):
        body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, "if_active": "resume"}
        with ThreadPoolExecutor(16) as clients:
            responses = list(
                clients.map(lambda _, body=body: service.client.post(PATH, json=body), range(16))
            )
        assert sorted(response.status_code for response in responses) == [200] * 15 + [201]
        assert len({response.json()["id"] for response in responses}) == 1


def test_200_for_all_but_one_of_concurrent_starts_with_one_idempotency_key(service: Service) -> None:
    """Concurrent starts with one idempotency key create one session, and each returns it."""
    for _ in range(5):
        body, headers = BODY | {"user_id": f"user-{uuid4()}"}, {"idempotency-key": "k"}
        with ThreadPoolExecutor(16) as clients:
            post = partial(service.client.post, PATH, json=body, headers=headers)
            responses = [sent.result() for sent in [clients.submit(post) for _ in range(16)]]
        assert sorted(response.status_code for response in responses) == [200] * 15 + [201]
        assert len({response.json()["id"] for response in responses}) == 1


def test_200_for_a_repeated_start_with_the_current_session(service: Service) -> None:
    """A repeated start returns the current session, also a completed one."""
    body, headers = BODY | {"user_id": f"user-{uuid4()}"}, {"idempotency-key": "start-1"}
    session_id = service.client.post(PATH, json=body, headers=headers).json()["id"]
    saved = service.save(session_id, 1, "x").json()
    again = service.client.post(PATH, json=dict(reversed(body.items())), headers=headers)
    assert (again.status_code, again.json()) == (200, saved)
    completed = service.complete(session_id).json()
    assert service.client.post(PATH, json=body, headers=headers).json() == completed


def test_201_for_the_same_idempotency_key_of_another_user(service: Service) -> None:
    """The idempotency key of a start belongs to its user."""
    headers = {"idempotency-key": "shared"}
    users = [f"user-{uuid4()}" for _ in range(2)]
    responses = [service.client.post(PATH, json=BODY | {"user_id": user}, headers=headers) for user in users]
    assert [response.status_code for response in responses] == [201, 201]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00fc", '"', '""', '"a b"', '"a'])
def test_400_for_an_invalid_idempotency_key(service: Service, key: str) -> None:
    """An idempotency key has 1 to 255 visible ASCII characters, with or without quotes."""
    response = service.client.post(PATH, json=BODY, headers=[(b"idempotency-key", key.encode("latin-1"))])
    assert response.status_code == 400
    assert response.json()["details"][0]["path"] == "header.Idempotency-Key"


@pytest.mark.parametrize("change", [{"quiz_id": 8}, {"time_limit_seconds": 60}, {"if_active": "resume"}])
def test_422_for_another_start_with_the_same_idempotency_key(
    service: Service, change: dict[str, object]
) -> None:
    """An idempotency key identifies one start; another start with it creates nothing."""
    body, headers = BODY | {"user_id": f"user-{uuid4()}"}, {"idempotency-key": "start-1"}
    assert service.client.post(PATH, json=body, headers=headers).status_code == 201
    assert service.client.post(PATH, json=body | change, headers=headers).status_code == 422
    listed = service.client.get("/api/sessions", params={"user_id": str(body["user_id"])}).json()["items"]
    assert len(listed) == 1


def test_422_for_another_quiz_with_the_key_of_an_ended_session(service: Service) -> None:
    """The key of an ended session does not find it for a start of another quiz."""
    headers = {"idempotency-key": str(uuid4())}
    body = {"user_id": str(uuid4()), "quiz_id": 7}
    first = service.client.post(PATH, json=body, headers=headers).json()["id"]
    service.client.post(f"/api/sessions/{first}/complete")
    assert service.client.post(PATH, json=body | {"quiz_id": "007"}, headers=headers).status_code == 422
    repeat = service.client.post(PATH, json=body | {"quiz_id": "7"}, headers=headers)
    assert (repeat.status_code, repeat.json()["id"]) == (200, first)
