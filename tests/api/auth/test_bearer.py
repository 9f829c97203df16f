"""Tests bearer tokens: which are valid, their principal, and how long they are cached."""

import asyncio
import base64
import json
import random
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from session_service.api.auth import bearer as bearer_module
from session_service.api.auth.bearer import LEEWAY, MAX_TOKEN_BYTES, BearerAuthenticator
from session_service.api.auth.principal import AnonymousAuthenticator, Principal
from session_service.api.errors import UnauthenticatedError
from session_service.settings import ALGORITHMS
from tests.support.issuer import (
    AUDIENCE,
    ISSUER,
    KEY,
    SERVICE_SCOPE,
    Key,
    ask,
    asked,
    bearer,
    is_refused,
    judge,
    jwks,
    make_key,
)
from tests.support.service import Service
from tests.support.waiting import eventually, eventually_async

ADA = Principal("user:ada", "ada")
RSA = make_key("rsa", "RS256")
EC = make_key("ec", "ES256")
ED = make_key("ed", "EdDSA")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a key of each kind."""
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(RSA, EC, ED))
    return path


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_says_who_asks(tmp_path: Path, algorithm: str) -> None:
    """A token of each algorithm is accepted; its subject is the only user that the principal acts for."""
    key = make_key("k", algorithm)
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(key))

    async def test(guard: BearerAuthenticator) -> None:
        assert await ask(guard, key.token("ada")) == ADA
        assert await ask(guard, key.token("Üñ \U0001f600" + 251 * "x")) is not None
        assert await guard.authenticate(asked(f"bEARER  {key.token('ada', typ='at+jwt')}")) == ADA

    judge(path, test)


def _now(seconds: int) -> int:
    return int(time.time()) + seconds


def _public_pem(key: Key) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = key.private.public_key().public_bytes(serialization.Encoding.PEM, form)
    return pem


def _packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _by_secret(secret: bytes, name: str) -> str:
    """Sign with a secret without jwt.encode, which rejects a public key as the secret."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": _now(900)}
    content = f"{_packed({'alg': 'HS256', 'kid': name})}.{_packed(claims)}"
    signature = jwt.get_algorithm_by_name("HS256").sign(content.encode(), secret)
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _unsigned(signature: str) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": _now(900)}
    return f"{_packed({'alg': 'none'})}.{_packed(claims)}.{signature}"


REFUSED: dict[str, Callable[[], str]] = {
    "no signature": lambda: f"Bearer {_unsigned('')}",
    "algorithm none": lambda: f"Bearer {_unsigned('AA')}",
    "algorithm none with a key's name": lambda: (
        f"Bearer {_packed({'alg': 'none', 'kid': 'ec'})}.{EC.token().split('.')[1]}.AA"
    ),
    "public key as secret": lambda: f"Bearer {_by_secret(_public_pem(RSA), 'rsa')}",
    "published key as secret": lambda: f"Bearer {_by_secret(json.dumps(RSA.published()).encode(), 'rsa')}",
    "algorithm that is not pinned": lambda: f"Bearer {Key('rsa', 'RS512', RSA.private).token()}",
    "algorithm of another kind of key": lambda: f"Bearer {EC.token(header={'kid': 'rsa'})}",
    "algorithm in words": lambda: f"Bearer {_packed({'alg': 'es256', 'kid': 'ec'})}.e30.AA",
    "algorithm in a list": lambda: f"Bearer {_packed({'alg': ['ES256'], 'kid': 'ec'})}.e30.AA",
    "no algorithm": lambda: f"Bearer {_packed({'kid': 'ec'})}.e30.AA",
    "another's key": lambda: f"Bearer {make_key('ec').token()}",
    "unknown name": lambda: f"Bearer {make_key('other').token()}",
    "no name": lambda: f"Bearer {Key(None, 'ES256', EC.private).token()}",
    "name that is a number": lambda: f"Bearer {_packed({'alg': 'ES256', 'kid': 1})}.e30.AA",
    "key in the header": lambda: f"Bearer {EC.token(header={'jwk': EC.published()})}",
    "place of keys in the header": lambda: f"Bearer {EC.token(header={'jku': 'https://a.test'})}",
    "place of a certificate in the header": lambda: f"Bearer {EC.token(header={'x5u': 'https://a.test'})}",
    "critical extension": lambda: f"Bearer {EC.token(header={'crit': ['exp'], 'exp': 1})}",
    "critical extension that the library knows": lambda: (
        f"Bearer {EC.token(header={'crit': ['b64'], 'b64': True})}"
    ),
    "ended": lambda: f"Bearer {EC.token(exp=_now(-10))}",
    "no end": lambda: f"Bearer {EC.token(exp=None)}",
    "end in words": lambda: f"Bearer {EC.token(exp='tomorrow')}",
    "end that is never": lambda: f"Bearer {EC.token(exp=float('inf'))}",
    "not yet": lambda: f"Bearer {EC.token(nbf=_now(12))}",
    "issued later": lambda: f"Bearer {EC.token(iat=_now(12))}",
    "other issuer": lambda: f"Bearer {EC.token(iss='https://issuer.test')}",
    "no issuer": lambda: f"Bearer {EC.token(iss=None)}",
    "other audience": lambda: f"Bearer {EC.token(aud=['another', AUDIENCE + 'x'])}",
    "no audience": lambda: f"Bearer {EC.token(aud=None)}",
    "empty audience": lambda: f"Bearer {EC.token(aud=[])}",
    "audience that is none": lambda: f"Bearer {EC.token(aud={AUDIENCE: 1})}",
    "no subject": lambda: f"Bearer {EC.token(None)}",
    "empty subject": lambda: f"Bearer {EC.token('')}",
    "long subject": lambda: f"Bearer {EC.token(256 * 'x')}",
    "subject with a NUL": lambda: f"Bearer {EC.token('a' + chr(0))}",
    "subject that is no text": lambda: f"Bearer {EC.token('a' + chr(0xD800))}",
    "subject that is a number": lambda: f"Bearer {EC.token(7)}",
    "service without a subject": lambda: f"Bearer {EC.token(None, scope=SERVICE_SCOPE)}",
    "large": lambda: f"Bearer {EC.token(more=MAX_TOKEN_BYTES * 'x')}",
    "claims that are no object": lambda: f"Bearer {_by_hand(EC, b'[]')}",
    "claims that are no JSON": lambda: f"Bearer {_by_hand(EC, b'{')}",
    "claims that are too deep": lambda: f"Bearer {_by_hand(EC, b'[' * 5000)}",
    "padding": lambda: f"Bearer {EC.token()}=",
    "two parts": lambda: "Bearer " + ".".join(EC.token().split(".")[:2]),
    "four parts": lambda: f"Bearer {EC.token()}.x",
    "two tokens": lambda: f"Bearer {EC.token()},{EC.token()}",
    "parameter": lambda: f'Bearer token="{EC.token()}"',
    "no token": lambda: "Bearer",
    "no scheme": EC.token,
    "other scheme": lambda: f"DPoP {EC.token()}",
    "password": lambda: "Basic YWRhOmFkYQ==",
    "nothing": lambda: "",
    "characters beyond ASCII": lambda: "Bearer \u00fc.\u00fc.\u00fc",
}


def _by_hand(key: Key, claims: bytes) -> str:
    content = f"{_packed({'alg': key.algorithm, 'kid': key.name})}." + (
        base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    )
    signature = jwt.get_algorithm_by_name(key.algorithm).sign(content.encode(), key.private)
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_believed_is_refused(file: Path, fault: str) -> None:
    """A token with any single defect is rejected; a valid one is accepted afterwards."""

    async def test(guard: BearerAuthenticator) -> None:
        for _ in range(2):
            with pytest.raises(UnauthenticatedError) as refusal:
                await guard.authenticate(asked(REFUSED[fault]()))
            assert refusal.value.given
        assert await ask(guard, EC.token()) == ADA

    judge(file, test, "RS256", "ES256", "EdDSA")


def test_one_header_has_to_say_it(file: Path) -> None:
    """A missing Authorization header and a repeated one are rejected, also with equal values."""

    async def test(guard: BearerAuthenticator) -> None:
        with pytest.raises(UnauthenticatedError) as refusal:
            await guard.authenticate(asked())
        assert not refusal.value.given
        good = f"Bearer {EC.token()}"
        with pytest.raises(UnauthenticatedError) as refusal:
            await guard.authenticate(asked(good, good))
        assert refusal.value.given

    judge(file, test)


def test_clocks_may_differ_a_little(file: Path) -> None:
    """Clock skew of up to LEEWAY seconds is allowed for nbf, iat and exp."""

    async def test(guard: BearerAuthenticator) -> None:
        assert await ask(guard, EC.token(nbf=_now(LEEWAY - 2), iat=_now(LEEWAY - 2))) == ADA
        assert await ask(guard, EC.token(exp=_now(2 - LEEWAY))) == ADA
        assert await ask(guard, EC.token(exp=10**400)) == ADA

    judge(file, test)


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
def test_no_character_of_a_token_can_be_changed(file: Path, key: Key) -> None:
    """A token with any changed character is rejected, and so is random text."""
    good = key.token()
    letters = string.ascii_letters + string.digits + "-_"
    chance = random.Random(7)
    changed = [
        good[:place] + chance.choice(letters.replace(good[place], "")) + good[place + 1 :]
        for place in range(len(good))
        if good[place] != "."
    ]
    junk = ["".join(chance.choices(string.printable + "..", k=chance.randrange(80))) for _ in range(300)]

    async def test(guard: BearerAuthenticator) -> None:
        for token in changed + junk:
            assert await is_refused(guard, token), token

    judge(file, test)


@pytest.mark.parametrize(
    ("claims", "serves"),
    [
        ({"scope": SERVICE_SCOPE}, True),
        ({"scope": f"openid {SERVICE_SCOPE} x"}, True),
        ({"scp": ["openid", SERVICE_SCOPE]}, True),
        ({"scp": f"x {SERVICE_SCOPE}"}, True),
        ({"scope": "openid", "scp": [SERVICE_SCOPE]}, True),
        ({"scope": SERVICE_SCOPE + "x"}, False),
        ({"scope": SERVICE_SCOPE.upper()}, False),
        ({"scope": SERVICE_SCOPE.replace(":", " ")}, False),
        ({"scope": {SERVICE_SCOPE: True}}, False),
        ({"scp": [[SERVICE_SCOPE], 7, None]}, False),
        ({"scp": 7}, False),
        ({"scopes": SERVICE_SCOPE, "roles": [SERVICE_SCOPE]}, False),
    ],
)
def test_the_scope_makes_a_service(file: Path, claims: dict[str, Any], serves: bool) -> None:  # noqa: FBT001
    """The scope makes a service, which acts for all users and is not the user with the same subject."""
    expected = Principal("service:ada", None, service=True) if serves else ADA

    async def test(guard: BearerAuthenticator) -> None:
        assert await ask(guard, EC.token("ada", **claims)) == expected
        assert await ask(guard, EC.token("ada")) == ADA

    judge(file, test)


def test_without_tokens_callers_are_told_apart_by_their_addresses() -> None:
    """Without authentication each address is a principal that acts for all users."""

    async def test() -> None:
        async with AnonymousAuthenticator() as guard:
            assert await guard.authenticate({"client": ("10.0.0.1", 7)}) == Principal(
                "address:10.0.0.1", None
            )
            assert await guard.authenticate({"client": None}) == Principal("address:unknown", None)

    asyncio.run(test())


def test_a_token_ends_though_it_is_remembered(file: Path) -> None:
    """A cached token is rejected after it expires."""

    async def test(guard: BearerAuthenticator) -> None:
        token = EC.token(exp=_now(2 - LEEWAY))
        assert await ask(guard, token) == ADA
        await eventually_async(lambda: is_refused(guard, token))

    judge(file, test)


def test_no_more_tokens_are_remembered_than_there_is_room_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least recently used token is evicted, and is still valid."""
    monkeypatch.setattr(bearer_module, "MAX_CACHED_TOKENS", 3)
    good = [EC.token(f"{n}") for n in range(4)]

    async def test(guard: BearerAuthenticator) -> None:
        for n in (0, 1, 2, 0, 3):
            assert (await ask(guard, good[n])).user_id == f"{n}"
        held = [proof.principal.user_id for proof in guard._verified.values()]  # noqa: SLF001 - a leak shows nowhere else
        assert held == ["2", "0", "3"]

    judge(file, test)


def _tokens_that_are_refused() -> dict[str, dict[str, str]]:
    """Return request headers by the reason for their 401 in the log."""
    stranger = make_key("stranger")
    impostor = make_key(KEY.name)
    return {
        "no Authorization header": {},
        "no bearer token": {"authorization": "Basic YTpi"},
        "over 8192 bytes": {"authorization": f"Bearer {KEY.token('x' * 9000)}"},
        "expired": bearer("ada", exp=_now(-60)),
        "not valid yet": bearer("ada", nbf=_now(600)),
        "issuer": bearer("ada", iss="https://issuer.test"),
        "audience": bearer("ada", aud="another-service"),
        "unknown key": {"authorization": f"Bearer {stranger.token('ada')}"},
        "signature": {"authorization": f"Bearer {impostor.token('ada')}"},
        "required claim is missing: exp": bearer("ada", exp=None),
        "sub is no user_id": bearer("x" * 256),
        "has jku, jwk, x5u or crit": bearer("ada", header={"jku": "https://evil.example/keys"}),
        "malformed": {"authorization": "Bearer a.b.c"},
    }


@pytest.mark.parametrize("reason", _tokens_that_are_refused())
def test_a_401_says_why_in_the_log_and_never_in_the_reply(guarded: Service, reason: str) -> None:
    """The log has the reason with the request id; the response does not."""
    headers = _tokens_that_are_refused()[reason] | {"x-request-id": f"why-{uuid4()}"}
    reply = guarded.client.get("/api/sessions", headers=headers)
    assert reply.status_code == 401
    assert reply.json()["message"] == "The request needs a valid bearer token."
    line = f"request {headers['x-request-id']} is unauthenticated: "
    (logged,) = eventually(
        lambda: [found for found in guarded.log.read_text().splitlines() if found.startswith(line)]
    )
    assert reason in logged
    assert "ada" not in logged
