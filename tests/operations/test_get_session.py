"""getSession: GET /api/sessions/{id}."""

from uuid import uuid4

import pytest
from redis import Redis

from tests.support.service import Service, await_expiry


def test_200_with_all_saved_answers(service: Service) -> None:
    """A read returns the same session as the last save, with its version as the ETag."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 3, ["a", "ü\n"]).json()
    response = service.read(session_id)
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert response.json() == saved


def test_200_for_a_completed_session_after_its_time_limit(service: Service, cache: Redis) -> None:
    """A completed session stays readable after its time limit."""
    session_id = service.start(time_limit_seconds=3)["id"]
    completed = service.complete(session_id).json()
    await_expiry(completed)
    assert service.read(session_id).json() == completed
    cache.delete(f"session:{session_id}")
    assert service.read(session_id).json() == completed


def test_200_for_an_id_in_upper_case(service: Service) -> None:
    """Ids are case-insensitive."""
    session = service.start()
    assert service.read(str(session["id"]).upper()).json() == session


def test_200_to_head_without_a_body(service: Service) -> None:
    """HEAD returns the headers of GET without the body."""
    session_id = service.start()["id"]
    got, head = service.read(session_id), service.client.head(f"/api/sessions/{session_id}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("session_id", ["x", "0b8f6c1e-5d0a-1c55-9d1c-2f6f3a1f7f10", "%00", "{}", "a" * 36])
def test_400_for_an_id_that_is_no_uuid_v4(service: Service, session_id: str) -> None:
    """A malformed id is rejected."""
    response = service.read(session_id)
    assert response.status_code == 400
    assert {detail["path"] for detail in response.json()["details"]} == {"path.id"}


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """An unknown query parameter is rejected, not ignored."""
    assert service.client.get(f"/api/sessions/{uuid4()}", params={"x": "1"}).status_code == 400


def test_404_for_an_unknown_id(service: Service) -> None:
    """The 404 for an unknown session includes its id."""
    session_id = str(uuid4())
    response = service.read(session_id)
    assert (response.status_code, response.json()["sessionId"]) == (404, session_id)


def test_410_for_an_expired_session_in_the_cache(service: Service) -> None:
    """A cached session expires at its time limit, and the 410 includes the saved session."""
    session = service.start(time_limit_seconds=3)
    session_id = session["id"]
    service.save(session_id, 3, "Paris")
    assert service.read(session_id).status_code == 200
    await_expiry(session)
    response = service.read(session_id)
    assert (response.status_code, response.json()["errorCode"]) == (410, "SESSION_EXPIRED")
    assert response.json()["session"]["status"] == "expired"
    assert response.json()["session"]["answers"] == {"3": "Paris"}


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    response = service.client.request("GET", f"/api/sessions/{uuid4()}", content=b" " * (256 * 1024 + 1))
    assert response.status_code == 413


def test_400_for_a_malformed_id_without_postgresql(service_without_postgresql: Service) -> None:
    """A malformed id is rejected before the database is needed."""
    assert service_without_postgresql.read("7").status_code == 400


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert service_without_table.read(uuid4()).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """A session that is not in the cache cannot be read without the database."""
    response = service_without_postgresql.read(uuid4())
    assert (response.status_code, response.json()["outcome"]) == (503, "not_applied")


@pytest.mark.parametrize("tags", ['"2"', '"1", "2"', 'W/"2"', "*"])
def test_304_for_the_current_version(service: Service, tags: str) -> None:
    """`If-None-Match` with the current version gets 304 without a body."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    response = service.read(session_id, {"if-none-match": tags})
    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"2"')


@pytest.mark.parametrize("tags", ['"1"', "2", '"x"', "", '"99999999999"'])
def test_200_for_any_other_if_none_match(service: Service, tags: str) -> None:
    """`If-None-Match` with another version, or with an invalid one, gets the session."""
    session_id = service.start()["id"]
    saved = service.save(session_id, 1, "x").json()
    response = service.read(session_id, {"if-none-match": tags})
    assert (response.status_code, response.json()) == (200, saved)


def test_200_skips_a_stale_cache_entry(patient_shared_service: Service, cache: Redis) -> None:
    """A cache entry older than the version in `If-None-Match`, or any entry with `no-cache`, is skipped."""
    session_id = patient_shared_service.start()["id"]
    old = cache.get(f"session:{session_id}")
    assert isinstance(old, bytes)
    saved = patient_shared_service.save(session_id, 1, "x").json()
    cache.set(f"session:{session_id}", old)
    assert patient_shared_service.read(session_id, {"if-none-match": '"2"'}).status_code == 304
    cache.set(f"session:{session_id}", old)
    assert patient_shared_service.read(session_id, {"cache-control": "max-age=0, no-cache"}).json() == saved


def test_410_for_an_expired_session_with_if_none_match(service: Service) -> None:
    """An expired session gets 410, not 304."""
    session = service.start(time_limit_seconds=1)
    await_expiry(session)
    assert service.read(session["id"], {"if-none-match": '"1"'}).status_code == 410
