"""Ids of sessions: a UUID v4 that carries the place of its user."""

import hashlib
from uuid import UUID, uuid4

import pytest

from session_service.sessions.ids import new_session_id
from tests.support.service import Service

USERS = ["ada", "\u00fc", "\U0001f600" * 255, "e\u0301", "\u00e9", " ", *(str(uuid4()) for _ in range(20))]


def _place(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:4]


@pytest.mark.parametrize("user", USERS[:6], ids=ascii)
def test_a_session_has_the_place_of_its_user(service: Service, user: str) -> None:
    """The first 16 bits of a session's id are those of the SHA-256 of its user; it is a UUID v4."""
    for fields in ({"quiz_id": 7}, {"quiz_id": "q"}):
        session_id = str(service.start(user_id=user, **fields)["id"])
        assert session_id[:4] == _place(user)
        assert (UUID(session_id).version, UUID(session_id).variant) == (4, "specified in RFC 4122")
        assert service.read(session_id).status_code == 200


def test_a_started_session_has_the_place_however_it_starts(service: Service) -> None:
    """A start with a key, a limit of attempts or `resume` makes an id of the same kind."""
    for fields in ({"if_active": "resume"}, {"max_attempts": 2}, {"time_limit_seconds": 0}):
        user = str(uuid4())
        body = {"user_id": user, "quiz_id": 7, **fields}
        started = service.client.post("/api/sessions/start", json=body, headers={"idempotency-key": "k"})
        assert (started.status_code, started.json()["id"][:4]) == (201, _place(user))


def test_the_rest_is_random() -> None:
    """Ids of a user differ, and each bit after the place but those of the version and variant is random."""
    for user in USERS:
        ids = [new_session_id(user) for _ in range(300)]
        assert len(set(ids)) == len(ids)
        assert {(one.version, one.hex[:4]) for one in ids} == {(4, _place(user))}
        either = always = ids[0].int
        for one in ids:
            either, always = either | one.int, always & one.int
        # 112 bits, less 4 of the version and 2 of the variant; that one of 106 stays the same has p < 1e-86.
        assert (either ^ always).bit_count() == 106
        assert (either ^ always) >> 112 == 0
