"""updateProgress: the expected version of a save, in its body or in If-Match (optimistic concurrency)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.service import Service


def test_200_on_the_expected_version(service: Service) -> None:
    """A save with the current version as the expected one succeeds."""
    session_id = service.start()["id"]
    assert service.save(session_id, 1, "a", version=1).json()["version"] == 2
    assert service.save(session_id, 1, "b", version=2.0).json()["version"] == 3


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
    """`If-Match` is the expected version if the body has none; lists and tags changed by proxies work."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    assert service.save(session_id, 1, "y", {"if-match": tag}).json()["version"] == 3


def test_200_prefers_the_version_in_the_body_to_if_match(service: Service) -> None:
    """The version in the body has priority over `If-Match`."""
    session_id = service.start()["id"]
    assert service.save(session_id, 1, "x", {"if-match": '"9"'}, version=1).status_code == 200


def test_409_on_a_stale_version(service: Service) -> None:
    """A save with a stale version changes nothing and gets the current session."""
    session_id = service.start()["id"]
    current = service.save(session_id, 1, "first", version=1).json()
    response = service.save(session_id, 1, "second", version=1)
    body = response.json()
    assert (response.status_code, response.headers["retry-after"], response.headers["etag"]) == (
        409,
        "1",
        '"2"',
    )
    assert (body["currentVersion"], body["session"], body["retryAfterSeconds"]) == (2, current, 1)
    assert service.read(session_id).json() == current


def test_409_on_a_future_version(service: Service) -> None:
    """A version above the current one is a version conflict."""
    assert service.save(service.start()["id"], 1, "x", version=2).status_code == 409


def test_409_for_all_but_one_of_concurrent_saves_on_one_version(service: Service) -> None:
    """Of concurrent saves with the same expected version exactly one succeeds."""
    session_id = service.start()["id"]
    with ThreadPoolExecutor(16) as clients:
        responses = list(clients.map(lambda n: service.save(session_id, n, "x", version=1), range(32)))
    assert sorted(response.status_code for response in responses) == [200] + [409] * 31
    assert service.read(session_id).json()["version"] == 2


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
    """Every `If-Match` that does not name the current version is a version conflict."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x")
    assert service.save(session_id, 1, "y", {"if-match": tag}).status_code == 409
