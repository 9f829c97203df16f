"""getSession: GET /api/sessions/{id}."""

from uuid import uuid4

import pytest
from redis import Redis

from tests.support.service import Service, await_end


def test_200_with_all_that_was_saved(service: Service) -> None:
    """A session is read as it was last told, with its version as the ETag."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 3, ["a", "ü\n"]).json()
    reply = service.read(session_id)
    assert (reply.status_code, reply.headers["etag"]) == (200, '"2"')
    assert reply.json() == saved


def test_200_for_ever_once_completed(service: Service, cache: Redis) -> None:
    """A completed session stays readable after its time."""
    session_id = service.start(time_limit_seconds=3)["id"]
    completed = service.complete(session_id).json()
    await_end(completed)
    assert service.read(session_id).json() == completed
    cache.delete(f"session:{session_id}")
    assert service.read(session_id).json() == completed


def test_200_for_an_id_in_upper_case(service: Service) -> None:
    """Ids are taken in either case."""
    session = service.start()
    assert service.read(str(session["id"]).upper()).json() == session


def test_200_to_head_without_a_body(service: Service) -> None:
    """HEAD is GET without the body."""
    session_id = service.start()["id"]
    got, head = service.read(session_id), service.client.head(f"/api/sessions/{session_id}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("session_id", ["x", "0b8f6c1e-5d0a-1c55-9d1c-2f6f3a1f7f10", "%00", "{}", "a" * 36])
def test_400_for_an_id_that_is_no_uuid_v4(service: Service, session_id: str) -> None:
    """An id that no session can have is refused before anything is asked."""
    reply = service.read(session_id)
    assert reply.status_code == 400
    assert {detail["path"] for detail in reply.json()["details"]} == {"path.id"}


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """No parameter is ignored in silence."""
    assert service.client.get(f"/api/sessions/{uuid4()}", params={"x": "1"}).status_code == 400


def test_404_for_an_id_that_no_session_has(service: Service) -> None:
    """A session that does not exist is told by its id."""
    session_id = str(uuid4())
    reply = service.read(session_id)
    assert (reply.status_code, reply.json()["sessionId"]) == (404, session_id)


def test_410_once_the_time_is_over_also_from_the_cache(service: Service) -> None:
    """A session that was cached while it ran is gone at its end, and the reply carries what was saved."""
    session = service.start(time_limit_seconds=3)
    session_id = session["id"]
    service.save(session_id, 3, "Paris")
    assert service.read(session_id).status_code == 200
    await_end(session)
    reply = service.read(session_id)
    assert (reply.status_code, reply.json()["errorCode"]) == (410, "SESSION_EXPIRED")
    assert reply.json()["session"]["status"] == "expired"
    assert reply.json()["session"]["answers"] == {"3": "Paris"}


def test_413_over_256_kib(service: Service) -> None:
    """The limit on bodies holds for a request that needs none, too."""
    reply = service.client.request("GET", f"/api/sessions/{uuid4()}", content=b" " * (256 * 1024 + 1))
    assert reply.status_code == 413


def test_400_for_no_id_asks_no_store(cut_off_service: Service) -> None:
    """What cannot be a session's id is refused although PostgreSQL is gone."""
    assert cut_off_service.read("7").status_code == 400


def test_500_tells_nothing_but_the_request_id(broken_service: Service) -> None:
    """A bug is told in the contract's shape."""
    assert broken_service.read(uuid4()).status_code == 500


def test_503_without_postgresql(cut_off_service: Service) -> None:
    """What is not in the cache cannot be read while the database is out of reach; nothing was applied."""
    reply = cut_off_service.read(uuid4())
    assert (reply.status_code, reply.json()["outcome"]) == (503, "not_applied")


@pytest.mark.parametrize("tags", ['"2"', '"1", "2"', 'W/"2"', "*"])
def test_304_while_nothing_has_changed(service: Service, tags: str) -> None:
    """A client that has the current version is told so, without the body."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    reply = service.read(session_id, {"if-none-match": tags})
    assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", '"2"')


@pytest.mark.parametrize("tags", ['"1"', "2", '"x"', "", '"99999999999"'])
def test_200_for_a_client_that_has_another_version(service: Service, tags: str) -> None:
    """Any other version, and whatever is no version, is answered with the session."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x").json()
    reply = service.read(session_id, {"if-none-match": tags})
    assert (reply.status_code, reply.json()) == (200, saved)


def test_200_never_older_than_what_the_client_has_seen(service: Service, cache: Redis) -> None:
    """An entry older than the version that a client has seen is not good enough for it."""
    session_id = service.start()["id"]
    old = cache.get(f"session:{session_id}")
    assert isinstance(old, bytes)
    saved = service.save(session_id, 1, "x").json()
    cache.set(f"session:{session_id}", old)
    assert service.read(session_id, {"if-none-match": '"2"'}).status_code == 304
    cache.set(f"session:{session_id}", old)
    assert service.read(session_id, {"cache-control": "max-age=0, no-cache"}).json() == saved


def test_410_also_for_a_client_that_has_the_version(service: Service) -> None:
    """Not modified is only what could be read."""
    session = service.start(time_limit_seconds=1)
    await_end(session)
    assert service.read(session["id"], {"if-none-match": '"1"'}).status_code == 410
