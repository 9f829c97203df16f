"""updateProgress: idempotency keys of saves."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.support.service import Service


def test_200_for_a_repeat_with_the_same_idempotency_key(service: Service) -> None:
    """A repeated save has one effect, also after other saves, and gets the current session."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "save-1"}
    first = service.save(session_id, 1, "x", key).json()
    assert service.save(session_id, 1, "x", key).json() == first
    other = service.save(session_id, 1, "y").json()
    assert service.save(session_id, 1, "x", key).json() == other


def test_200_for_a_repeat_of_a_save_with_a_version(service: Service) -> None:
    """A repeated save does not conflict with itself: the key is checked before the version."""
    session_id = service.start()["id"]
    key = {"idempotency-key": "save-1"}
    first = service.save(session_id, 1, "x", key, version=1).json()
    assert (first["version"], service.save(session_id, 1, "x", key, version=1).json()) == (2, first)
    tagged = {"idempotency-key": "save-2", "if-match": '"2"'}
    second = service.save(session_id, 1, "y", tagged).json()
    assert (second["version"], service.save(session_id, 1, "y", tagged).json()) == (3, second)


def test_200_for_concurrent_repeats(service: Service) -> None:
    """Concurrent repeats have one effect."""
    session_id = service.start()["id"]
    with ThreadPoolExecutor(16) as clients:
        save = partial(service.save, session_id, 1, "x", {"idempotency-key": "k"})
        responses = [sent.result() for sent in [clients.submit(save) for _ in range(32)]]
    assert {(response.status_code, response.json()["version"]) for response in responses} == {(200, 2)}


def test_200_for_any_of_the_last_sixteen_idempotency_keys(service: Service) -> None:
    """A session stores its last 16 idempotency keys; saves without a key displace none."""
    session_id = service.start()["id"]
    for n in range(17):
        service.save(session_id, n, "x", {"idempotency-key": f"k{n}"})
        service.save(session_id, n, "y")
    for n in range(1, 17):
        assert service.save(session_id, n, "x", {"idempotency-key": f"k{n}"}).json()["version"] == 35
    assert service.save(session_id, 0, "x", {"idempotency-key": "k0"}).json()["version"] == 36


def test_410_for_a_repeat_after_completion_includes_the_saved_answer(service: Service) -> None:
    """The status is checked before the key, and the 410 shows that the save succeeded."""
    session_id = service.start()["id"]
    service.save(session_id, 1, "x", {"idempotency-key": "k"})
    service.complete(session_id)
    response = service.save(session_id, 1, "x", {"idempotency-key": "k"})
    assert (response.status_code, response.json()["session"]["answers"]) == (410, {"1": "x"})


def test_422_for_another_write_with_the_same_idempotency_key(service: Service) -> None:
    """An idempotency key identifies one write: another body, version or operation with it is rejected."""
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
