"""Tests of the claims that decide the access of a token: its scopes, and the quizzes of a proctor."""

from pathlib import Path
from typing import Any

import pytest

from session_service.api.auth.bearer import BearerAuthenticator
from session_service.api.auth.principal import Principal
from session_service.sessions.models import ExternalId
from session_service.settings import ALGORITHMS, TokenSettings
from tests.api.auth.keys import ADA, EC
from tests.support.issuer import AUDIENCE, ISSUER, authenticate, request_scope, with_authenticator

DEEP: list[Any] = []
for _ in range(400):
    DEEP = [DEEP]


def _service(*scopes: str, user_id: str | None = None, quizzes: tuple[str, ...] = ()) -> Principal:
    found = frozenset(map(ExternalId, quizzes))
    actor = {"type": "staff", "subject": "ada"}
    return Principal(
        "service:ada", user_id, service=True, scopes=frozenset(scopes), quizzes=found, actor=actor
    )


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"scope": "sessions:read"}, _service("sessions:read")),
        ({"scope": "openid sessions:read"}, _service("sessions:read")),
        ({"scp": ["sessions:read", "sessions:erase"]}, _service("sessions:read", "sessions:erase")),
        ({"scp": "sessions:erase"}, _service("sessions:erase")),
        ({"scope": "sessions:proctor"}, _service("sessions:proctor", user_id="ada")),
        (
            {"scope": "sessions:proctor", "scp": ["sessions:any"]},
            _service("sessions:proctor", "sessions:any"),
        ),
        (
            {"scope": "sessions:read sessions:proctor", "quiz_ids": [7]},
            _service("sessions:read", "sessions:proctor", user_id="ada", quizzes=("7",)),
        ),
        ({"scope": "sessions:read", "quiz_ids": [7]}, _service("sessions:read")),
        ({"scope": "sessions:READ sessions:proctors learner"}, ADA),
        ({"quiz_ids": [7]}, ADA),
    ],
)
def test_scopes_and_subject_make_the_principal(
    key_file: Path, claims: dict[str, Any], expected: Principal
) -> None:
    """A token has its known scopes; only a learner's and a proctor's token acts for its subject."""

    async def test(guard: BearerAuthenticator) -> None:
        assert await authenticate(guard, EC.token("ada", **claims)) == expected

    with_authenticator(key_file, test)


@pytest.mark.parametrize(
    ("quiz_ids", "expected"),
    [
        ([7], {"7"}),
        (["7"], {"7"}),
        ([7.0, "7", 7], {"7"}),
        (["007", "a b", 9007199254740991], {"007", "a b", "9007199254740991"}),
        ([], set()),
    ],
)
def test_quiz_ids_are_those_of_the_contract(key_file: Path, quiz_ids: list[Any], expected: set[str]) -> None:
    """The integer 7 and the text "7" in `quiz_ids` are one quiz, and a text is another unless it is equal."""
    assert _quizzes(key_file, quiz_ids) == expected


@pytest.mark.parametrize(
    "quiz_ids",
    [
        None,
        7,
        "7",
        {"7": 7},
        [None],
        [True],
        [[7]],
        [{"quiz_id": 7}],
        [-1],
        [7.5],
        [2**53],
        [10**400],
        [float("nan")],
        [""],
        [129 * "x"],
        ["a\x00"],
        ["\ud800"],
        DEEP,
        [7, "8", None],
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_malformed_claim_has_no_quiz(key_file: Path, quiz_ids: object) -> None:
    """A token whose `quiz_ids` is missing, or has one value that is no id, is valid and reaches no quiz."""
    assert _quizzes(key_file, quiz_ids) == set()


def test_the_operators_name_replaces_the_scope_of_a_service(key_file: Path) -> None:
    """With JWT_SERVICE_SCOPE only a token with that scope is a service's; other scopes keep their names."""
    settings = TokenSettings(str(key_file), ISSUER, AUDIENCE, ALGORITHMS, "quiz:admin")

    async def test(_: BearerAuthenticator) -> None:
        async with BearerAuthenticator(settings) as guard:
            for scope, expected in (
                ("quiz:admin", _service("sessions:any")),
                ("sessions:any", ADA),
                ("quiz:admin sessions:read", _service("sessions:any", "sessions:read")),
            ):
                token = EC.token("ada", scope=scope)
                assert await guard.authenticate(request_scope(f"Bearer {token}")) == expected

    with_authenticator(key_file, test)


def _quizzes(key_file: Path, quiz_ids: object) -> set[str]:
    """Return the quizzes of a proctor's token with the claim."""
    found: set[str] = set()

    async def test(guard: BearerAuthenticator) -> None:
        principal = await authenticate(guard, EC.token("ada", scope="sessions:proctor", quiz_ids=quiz_ids))
        assert principal.user_id == "ada"
        found.update(principal.quizzes)

    with_authenticator(key_file, test)
    return found
