"""Writes to a paused session: 423, until then accepted for the grace."""

from collections.abc import Callable

import httpx
import psycopg
import pytest
from redis import Redis

from tests.support.ageing import age, stored
from tests.support.orders import given, order
from tests.support.service import Service

KEY = {"idempotency-key": "k"}
WRITES: dict[str, Callable[[Service, object], httpx.Response]] = {
    "updateProgress": lambda at, session_id: at.save(session_id, 1, "late", KEY),
    "saveAnswers": lambda at, session_id: at.save_many(session_id, {"1": "late"}, KEY),
    "completeSession": lambda at, session_id: at.complete(session_id, KEY, answers={"1": "late"}),
}
WITH_EACH = pytest.mark.parametrize("operation", list(WRITES))


@WITH_EACH
def test_423_without_a_grace(service: Service, operation: str) -> None:
    """Without a grace a write to a paused session is 423 with the session, and lands once it is resumed."""
    session_id = service.start()["id"]
    paused = given(service, "pause", session_id)
    refused = WRITES[operation](service, session_id)
    assert (refused.status_code, refused.headers["retry-after"]) == (423, "5")
    assert (refused.json()["session"], refused.json()["retryable"]) == (paused, True)
    assert service.read(session_id).json() == paused
    given(service, "resume", session_id)
    landed = WRITES[operation](service, session_id)
    assert (landed.status_code, landed.json()["answers"]) == (200, {"1": "late"})


@pytest.mark.parametrize("operation", ["updateProgress", "saveAnswers"])
def test_423_after_the_grace(
    service: Service, database: psycopg.Connection, cache: Redis, operation: str
) -> None:
    """Saves land until `paused_at` plus the grace, and leave the session paused; then all are 423."""
    session_id = service.start(grace_seconds=60, time_limit_seconds=600)["id"]
    early = service.save(session_id, 5, "x", {"idempotency-key": "early"})
    paused = given(service, "pause", session_id)
    landed = WRITES[operation](service, session_id)
    assert (landed.status_code, landed.json()["answers"]) == (200, {"1": "late", "5": "x"})
    assert landed.json()["late_saves"] == 0
    assert (landed.json()["status"], landed.json()["paused_at"]) == ("paused", paused["paused_at"])
    age(database, cache, session_id, 61)
    for refused in (
        WRITES[operation](service, session_id),
        # Also a repeat of one that was applied, and one onto a stale version.
        service.save(session_id, 5, "x", {"idempotency-key": "early"}),
        service.save(session_id, 5, "y", version=1),
    ):
        assert refused.status_code == 423
        assert refused.json()["session"]["version"] == landed.json()["version"]
    assert early.status_code == 200


def test_a_completion_lands_in_the_grace_of_a_pause(service: Service) -> None:
    """A completion lands until `paused_at` plus the grace; the session then has the close that it had."""
    session = service.start(grace_seconds=60)
    given(service, "pause", session["id"])
    completed = service.complete(session["id"], answers={"1": "x"}).json()
    assert (completed["status"], completed["ended_by"], completed["version"]) == ("completed", "learner", 3)
    assert (completed["closes_at"], completed["paused_at"]) == (session["closes_at"], None)


def test_a_write_in_the_pause_is_late_by_the_time_that_stands_still(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """A write in a pause counts as late if the session was paused in its grace, and else does not."""
    for passed, late in ((30, 0), (70, 1)):
        session_id = service.start(grace_seconds=60, time_limit_seconds=60)["id"]
        age(database, cache, session_id, passed)
        given(service, "pause", session_id)
        # Paused for 40 seconds: its end would have passed by now.
        age(database, cache, session_id, 40)
        assert service.save(session_id, 1, "x").json()["late_saves"] == late


def test_the_keys_of_orders_stay_when_a_session_ends(service: Service, database: psycopg.Connection) -> None:
    """When a session ends the keys of its orders stay, without their digests."""
    session_id = service.start()["id"]
    order(service, "pause", session_id, {}, "p")
    order(service, "resume", session_id, {}, "r")
    (kept,) = stored(database, session_id, "recent_orders")
    assert [entry.split(" ")[0] for entry in kept] == ["r", "p"]
    assert all(" 2-" in entry for entry in kept)
    service.complete(session_id)
    assert stored(database, session_id, "recent_orders") == (["r", "p"],)


@pytest.mark.parametrize("end", [{"extra_seconds": -86_400}, {"expires_at": "2000-01-01T00:00:00Z"}])
def test_the_keys_of_orders_stay_when_an_order_ends_the_session(
    service: Service, database: psycopg.Connection, end: dict[str, object]
) -> None:
    """An order that ends a session leaves the keys of its orders and saves, without their digests."""
    session_id = service.start()["id"]
    order(service, "pause", session_id, {}, "p")
    order(service, "resume", session_id, {}, "r")
    service.save(session_id, 1, "x", KEY)
    order(service, "deadline", session_id, end, "e")
    kept = stored(database, session_id, "recent_orders", "recent_writes", "start_digest")
    assert kept == (["e", "r", "p"], ["k"], None)


def test_the_last_sixteen_keys_of_orders_are_kept(service: Service, database: psycopg.Connection) -> None:
    """A session keeps the keys of its last sixteen orders, newest first."""
    session_id = service.start()["id"]
    for number in range(17):
        order(service, "deadline", session_id, {"extra_seconds": 1}, f"k{number}")
    (kept,) = stored(database, session_id, "recent_orders")
    assert [entry.split(" ")[0] for entry in kept] == [f"k{number}" for number in range(16, 0, -1)]
