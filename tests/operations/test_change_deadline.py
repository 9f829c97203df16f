"""changeDeadline: PUT /api/sessions/{id}/deadline."""

import psycopg
import pytest
from redis import Redis

from tests.support.ageing import age
from tests.support.journal import lines, replayed, shown
from tests.support.orders import from_now, given, moment, order, seconds
from tests.support.service import Service

BAD: list[object] = [
    {},
    None,
    [],
    {"reason": "x"},
    {"expires_at": None, "extra_seconds": None},
    {"extra_seconds": 1, "time_limit_seconds": 1},
    {"expires_at": "2100-01-01T00:00:00Z", "time_limit_seconds": 1},
    {"expires_at": "2100-02-30T00:00:00Z"},
    {"expires_at": "2100-01-01T24:00:00Z"},
    {"expires_at": "2100-01-01T00:00:60Z"},
    {"expires_at": "2100-01-01T00:00:00"},
    {"expires_at": "2100-01-01T00:00:00+24:00"},
    {"expires_at": "2100-01-01T00:00:00-00:60"},
    {"expires_at": "2100-01-01T00:00:00+99:99"},
    {"expires_at": "2100-01-01T00:00:00.Z"},
    {"expires_at": "2100-01-01t00:00:00z"},
    {"expires_at": "1999-01-01T00:00:00Z"},
    {"expires_at": "3000-01-01T00:00:00Z"},
    {"expires_at": 0},
    {"extra_seconds": 2_592_001},
    {"extra_seconds": -86_401},
    {"extra_seconds": 1.5},
    {"time_limit_seconds": -1},
    {"time_limit_seconds": 31_536_001},
    {"extra_seconds": 1, "reason": ""},
    {"extra_seconds": 1, "reason": "\x00"},
    {"extra_seconds": 1, "reason": 501 * "x"},
    {"extra_seconds": 1, "version": 0},
    {"extra_seconds": 1, "grace_seconds": 1},
]


def test_200_adds_seconds_to_the_end(service: Service) -> None:
    """extra_seconds are added to the end, times time_factor; the grace follows."""
    session = service.start(time_limit_seconds=600, time_factor=1.5, grace_seconds=7)
    later = order(service, "deadline", session["id"], {"extra_seconds": 100}).json()
    assert (later["version"], later["status"]) == (2, "in_progress")
    assert moment(later, "expires_at").timestamp() == moment(session, "expires_at").timestamp() + 150
    assert seconds(later, "closes_at", "expires_at") == 7
    assert service.read(session["id"]).json() == later
    earlier = given(service, "deadline", session["id"], extra_seconds=-100)
    assert (earlier["expires_at"], earlier["version"]) == (session["expires_at"], 3)


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("2100-01-01T10:00:00Z", "2100-01-01T10:00:00.000Z"),
        ("2096-02-29T00:00:00.120Z", "2096-02-29T00:00:00.120Z"),
        ("2100-01-01T10:00:00.123456789+05:30", "2100-01-01T04:30:00.123Z"),
        ("2999-12-31T23:59:59.9-23:59", "2999-12-31T23:59:59.999Z"),
    ],
)
def test_200_sets_the_end(service: Service, end: str, shown: str) -> None:
    """expires_at is the new end; the same order again changes nothing, with or without a key."""
    session_id = service.start()["id"]
    first = order(service, "deadline", session_id, {"expires_at": end}, None)
    assert (first.status_code, first.headers["etag"]) == (200, '"2"')
    assert first.json()["expires_at"] == shown
    for key in (None, "k", "k"):
        assert order(service, "deadline", session_id, {"expires_at": end}, key).json() == first.json()


def test_200_sets_the_limit(service: Service) -> None:
    """time_limit_seconds counts from the start, times time_factor; with 0 there is no end."""
    session = service.start(time_factor=2)
    limited = given(service, "deadline", session["id"], time_limit_seconds=7200)
    assert seconds(limited, "expires_at", "started_at") == 14_400
    endless = order(service, "deadline", session["id"], {"time_limit_seconds": 0}, None)
    assert (endless.json()["expires_at"], endless.json()["closes_at"]) == (None, None)
    assert endless.headers["session-expires-at"] == "none"
    assert given(service, "deadline", session["id"], extra_seconds=60) == endless.json()


@pytest.mark.parametrize(("on_expiry", "status"), [("expire", "expired"), ("complete", "completed")])
def test_200_ends_the_session_now(service: Service, on_expiry: str, status: str) -> None:
    """With an end in the past the session ends now, by the proctor, and accepts no write."""
    session_id = service.start(on_expiry=on_expiry, grace_seconds=5)["id"]
    service.save(session_id, 1, "x")
    ended = given(service, "deadline", session_id, expires_at="2000-01-01T00:00:00Z")
    assert (ended["status"], ended["ended_by"], ended["version"]) == (status, "proctor", 3)
    assert ended["closes_at"] == ended["updated_at"]
    assert ended["completed_at"] == (ended["closes_at"] if status == "completed" else None)
    assert service.save(session_id, 1, "y").status_code == 410
    read = service.read(session_id)
    assert read.json().get("session", read.json()) == ended


@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("status", ["expired", "completed"])
def test_200_revives_a_session_after_its_deadline(
    service: Service, database: psycopg.Connection, cache: Redis, *, status: str, swept: bool
) -> None:
    """A session that its deadline has ended, stored or not, runs again if the new end lies ahead."""
    on_expiry = {"expired": "expire", "completed": "complete"}[status]
    session_id = service.start(time_limit_seconds=60, on_expiry=on_expiry)["id"]
    service.save(session_id, 1, "x", {"idempotency-key": "k"})
    age(database, cache, session_id, 120)
    before = shown(service, session_id)["version"] if swept else 2
    too_little = given(service, "deadline", session_id, extra_seconds=1)
    assert (too_little["status"], too_little["ended_by"], too_little["version"]) == (status, "deadline", 3)
    revived = given(service, "deadline", session_id, extra_seconds=600)
    assert (revived["status"], revived["version"]) == ("in_progress", 4)
    assert (revived["ended_by"], revived["completed_at"]) == (None, None)
    assert before in (2, 3)
    assert service.read(session_id).json() == revived
    # A late repeat of a save from before the end changes nothing.
    assert service.save(session_id, 1, "x", {"idempotency-key": "k"}).json() == revived
    assert service.save(session_id, 2, "y").json()["version"] == 5


@pytest.mark.parametrize(("on_expiry", "status"), [("expire", "expired"), ("complete", "completed")])
def test_200_takes_the_end_by_an_order_back(service: Service, on_expiry: str, status: str) -> None:
    """A session that a proctor has ended runs again if the new end lies ahead, and its history says so."""
    session_id = service.start(on_expiry=on_expiry)["id"]
    ended = given(service, "deadline", session_id, extra_seconds=-86_400)
    assert (ended["status"], ended["ended_by"]) == (status, "proctor")
    revived = given(service, "deadline", session_id, extra_seconds=86_400)
    assert (revived["status"], revived["ended_by"]) == ("in_progress", None)
    assert revived["completed_at"] is None
    journal = lines(service, session_id)
    assert [line["type"] for line in journal[1:]] == [f"session.{status}", "session.deadline_changed"]
    assert replayed(session_id, journal) == revived
    assert service.complete(session_id).json()["ended_by"] == "learner"


def test_200_for_a_repeat(service: Service) -> None:
    """A repeat with the same key adds no seconds again, also behind other orders."""
    session_id = service.start()["id"]
    order(service, "deadline", session_id, {"extra_seconds": 60}, "k")
    newest = given(service, "deadline", session_id, extra_seconds=60)
    assert order(service, "deadline", session_id, {"extra_seconds": 60}, "k").json() == newest


def test_200_for_an_end_before_the_start(service: Service) -> None:
    """An end before the start may leave the session in its grace."""
    session = service.start(grace_seconds=3600)
    shortened = given(service, "deadline", session["id"], extra_seconds=-2400)
    assert shortened["status"] == "in_progress"
    assert seconds(shortened, "expires_at", "started_at") == -600
    assert service.save(session["id"], 1, "x").json()["late_saves"] == 1


def test_400_for_extra_seconds_without_a_key(service: Service) -> None:
    """extra_seconds need a key: a repeat would add them again."""
    session = service.start()
    refused = order(service, "deadline", session["id"], {"extra_seconds": 60}, None)
    assert refused.status_code == 400
    assert refused.json()["details"] == [
        {"path": "header", "message": "must have Idempotency-Key with extra_seconds"}
    ]
    assert service.read(session["id"]).json() == session
    assert (
        order(
            service, "deadline", session["id"], {"extra_seconds": None, "time_limit_seconds": 60}, None
        ).status_code
        == 200
    )


@pytest.mark.parametrize("body", BAD)
def test_400_changes_nothing(service: Service, body: object) -> None:
    """An invalid body is rejected, and the session does not change."""
    session = service.start()
    refused = service.client.put(
        f"/api/sessions/{session['id']}/deadline", json=body, headers={"idempotency-key": "k"}
    )
    assert refused.status_code == 400
    assert service.read(session["id"]).json() == session


def test_410_for_a_completed_session(service: Service) -> None:
    """The end of a session that its learner has completed stays, also with a stale version."""
    session_id = service.start(on_expiry="complete")["id"]
    completed = service.complete(session_id).json()
    for version in (None, 1):
        refused = order(service, "deadline", session_id, {"extra_seconds": 60, "version": version})
        assert (refused.status_code, refused.json()["session"]) == (410, completed)


def test_an_extension_is_seen_with_the_old_etag(service: Service) -> None:
    """A poller with the ETag from before the order gets the new end, not 304."""
    session_id = service.start()["id"]
    old = {"if-none-match": service.read(session_id).headers["etag"]}
    assert service.read(session_id, old).status_code == 304
    extended = given(service, "deadline", session_id, expires_at=from_now(9000))
    seen = service.read(session_id, old)
    assert (seen.status_code, seen.json()) == (200, extended)
    assert seen.headers["session-expires-at"] == extended["expires_at"]
