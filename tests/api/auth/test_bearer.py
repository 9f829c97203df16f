"""Tests of bearer tokens: validation, the principal of a token, and the cache of verified tokens."""

import asyncio
import base64
import json
import random
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from session_service.api.auth import bearer as bearer_module
from session_service.api.auth.bearer import LEEWAY, MAX_TOKEN_BYTES, BearerAuthenticator
from session_service.api.auth.principal import AnonymousAuthenticator, Principal
from session_service.api.errors import UnauthenticatedError
from session_service.settings import ALGORITHMS
from tests.api.auth.keys import ADA, EC, ED, RSA
from tests.support.issuer import (
    AUDIENCE,
    ISSUER,
    SERVICE_SCOPE,
    Key,
    authenticate,
    is_rejected,
    jwks,
    make_key,
    request_scope,
    with_authenticator,
)
from tests.support.waiting import eventually_async


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_valid_token_identifies_its_principal(tmp_path: Path, algorithm: str) -> None:
    """A token of each algorithm is accepted; its subject is the only user that the principal acts for."""
    key = make_key("k", algorithm)
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(key))

    async def test(guard: BearerAuthenticator) -> None:
        assert await authenticate(guard, key.token("ada")) == ADA
        assert await authenticate(guard, key.token("Üñ \U0001f600" + 251 * "x")) is not None
        assert await guard.authenticate(request_scope(f"bEARER  {key.token('ada', typ='at+jwt')}")) == ADA

    with_authenticator(path, test)


def _seconds_from_now(seconds: int) -> int:
    return int(time.time()) + seconds


def _public_pem(key: Key) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = key.private.public_key().public_bytes(serialization.Encoding.PEM, form)
    return pem


def _base64url(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _signed_with_secret(secret: bytes, name: str) -> str:
    """Sign with a secret without jwt.encode, which rejects a public key as the secret."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": _seconds_from_now(900)}
    content = f"{_base64url({'alg': 'HS256', 'kid': name})}.{_base64url(claims)}"
    signature = jwt.get_algorithm_by_name("HS256").sign(content.encode(), secret)
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _unsigned(signature: str) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": _seconds_from_now(900)}
    return f"{_base64url({'alg': 'none'})}.{_base64url(claims)}.{signature}"


INVALID: dict[str, Callable[[], str]] = {
    "no signature": lambda: f"Bearer {_unsigned('')}",
    "algorithm none": lambda: f"Bearer {_unsigned('AA')}",
    "algorithm none with a kid": lambda: (
        f"Bearer {_base64url({'alg': 'none', 'kid': 'ec'})}.{EC.token().split('.')[1]}.AA"
    ),
    "HS256 with the public key as secret": lambda: f"Bearer {_signed_with_secret(_public_pem(RSA), 'rsa')}",
    "HS256 with the JWK as secret": lambda: (
        f"Bearer {_signed_with_secret(json.dumps(RSA.published()).encode(), 'rsa')}"
    ),
    "algorithm that is not pinned": lambda: f"Bearer {Key('rsa', 'RS512', RSA.private).token()}",
    "algorithm of another key type": lambda: f"Bearer {EC.token(header={'kid': 'rsa'})}",
    "algorithm in lower case": lambda: f"Bearer {_base64url({'alg': 'es256', 'kid': 'ec'})}.e30.AA",
    "algorithm is a list": lambda: f"Bearer {_base64url({'alg': ['ES256'], 'kid': 'ec'})}.e30.AA",
    "no algorithm": lambda: f"Bearer {_base64url({'kid': 'ec'})}.e30.AA",
    "signed by another key": lambda: f"Bearer {make_key('ec').token()}",
    "unknown kid": lambda: f"Bearer {make_key('other').token()}",
    "no kid": lambda: f"Bearer {Key(None, 'ES256', EC.private).token()}",
    "kid is a number": lambda: f"Bearer {_base64url({'alg': 'ES256', 'kid': 1})}.e30.AA",
    "jwk header": lambda: f"Bearer {EC.token(header={'jwk': EC.published()})}",
    "jku header": lambda: f"Bearer {EC.token(header={'jku': 'https://a.test'})}",
    "x5u header": lambda: f"Bearer {EC.token(header={'x5u': 'https://a.test'})}",
    "crit header": lambda: f"Bearer {EC.token(header={'crit': ['exp'], 'exp': 1})}",
    "crit header that PyJWT supports": lambda: f"Bearer {EC.token(header={'crit': ['b64'], 'b64': True})}",
    "expired": lambda: f"Bearer {EC.token(exp=_seconds_from_now(-10))}",
    "no exp": lambda: f"Bearer {EC.token(exp=None)}",
    "exp is a text": lambda: f"Bearer {EC.token(exp='tomorrow')}",
    "exp is infinite": lambda: f"Bearer {EC.token(exp=float('inf'))}",
    "not valid yet": lambda: f"Bearer {EC.token(nbf=_seconds_from_now(12))}",
    "issued in the future": lambda: f"Bearer {EC.token(iat=_seconds_from_now(12))}",
    "other issuer": lambda: f"Bearer {EC.token(iss='https://issuer.test')}",
    "no issuer": lambda: f"Bearer {EC.token(iss=None)}",
    "other audience": lambda: f"Bearer {EC.token(aud=['another', AUDIENCE + 'x'])}",
    "no audience": lambda: f"Bearer {EC.token(aud=None)}",
    "empty audience": lambda: f"Bearer {EC.token(aud=[])}",
    "audience is an object": lambda: f"Bearer {EC.token(aud={AUDIENCE: 1})}",
    "no subject": lambda: f"Bearer {EC.token(None)}",
    "empty subject": lambda: f"Bearer {EC.token('')}",
    "long subject": lambda: f"Bearer {EC.token(256 * 'x')}",
    "subject with a NUL": lambda: f"Bearer {EC.token('a' + chr(0))}",
    "subject is not valid UTF-8": lambda: f"Bearer {EC.token('a' + chr(0xD800))}",
    "subject is a number": lambda: f"Bearer {EC.token(7)}",
    "service without a subject": lambda: f"Bearer {EC.token(None, scope=SERVICE_SCOPE)}",
    "too long": lambda: f"Bearer {EC.token(more=MAX_TOKEN_BYTES * 'x')}",
    "claims are not an object": lambda: f"Bearer {_signed(EC, b'[]')}",
    "claims are not JSON": lambda: f"Bearer {_signed(EC, b'{')}",
    "claims are nested too deep": lambda: f"Bearer {_signed(EC, b'[' * 5000)}",
    "padding": lambda: f"Bearer {EC.token()}=",
    "two parts": lambda: "Bearer " + ".".join(EC.token().split(".")[:2]),
    "four parts": lambda: f"Bearer {EC.token()}.x",
    "two tokens": lambda: f"Bearer {EC.token()},{EC.token()}",
    "parameter": lambda: f'Bearer token="{EC.token()}"',
    "no token": lambda: "Bearer",
    "no scheme": EC.token,
    "other scheme": lambda: f"DPoP {EC.token()}",
    "Basic": lambda: "Basic YWRhOmFkYQ==",
    "empty header": lambda: "",
    "not ASCII": lambda: "Bearer \u00fc.\u00fc.\u00fc",
}


def _signed(key: Key, claims: bytes) -> str:
    content = f"{_base64url({'alg': key.algorithm, 'kid': key.name})}." + (
        base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    )
    signature = jwt.get_algorithm_by_name(key.algorithm).sign(content.encode(), key.private)
    return f"{content}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize("fault", INVALID)
def test_an_invalid_token_is_rejected(key_file: Path, fault: str) -> None:
    """A token with any single defect is rejected; a valid one is accepted afterwards."""

    async def test(guard: BearerAuthenticator) -> None:
        for _ in range(2):
            with pytest.raises(UnauthenticatedError) as rejection:
                await guard.authenticate(request_scope(INVALID[fault]()))
            assert rejection.value.given
        assert await authenticate(guard, EC.token()) == ADA

    with_authenticator(key_file, test, "RS256", "ES256", "EdDSA")


def test_exactly_one_authorization_header_is_required(key_file: Path) -> None:
    """A missing Authorization header and a repeated one are rejected, also with equal values."""

    async def test(guard: BearerAuthenticator) -> None:
        with pytest.raises(UnauthenticatedError) as rejection:
            await guard.authenticate(request_scope())
        assert not rejection.value.given
        good = f"Bearer {EC.token()}"
        with pytest.raises(UnauthenticatedError) as rejection:
            await guard.authenticate(request_scope(good, good))
        assert rejection.value.given

    with_authenticator(key_file, test)


def test_clock_skew_is_allowed(key_file: Path) -> None:
    """Clock skew of up to LEEWAY seconds is allowed for nbf, iat and exp."""

    async def test(guard: BearerAuthenticator) -> None:
        assert (
            await authenticate(
                guard, EC.token(nbf=_seconds_from_now(LEEWAY - 2), iat=_seconds_from_now(LEEWAY - 2))
            )
            == ADA
        )
        assert await authenticate(guard, EC.token(exp=_seconds_from_now(2 - LEEWAY))) == ADA
        assert await authenticate(guard, EC.token(exp=10**400)) == ADA

    with_authenticator(key_file, test)


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
def test_a_modified_token_is_rejected(key_file: Path, key: Key) -> None:
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
            assert await is_rejected(guard, token), token

    with_authenticator(key_file, test)


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
def test_the_scope_identifies_a_service(key_file: Path, claims: dict[str, Any], serves: bool) -> None:  # noqa: FBT001
    """The scope makes a service, which acts for all users and is not the user with the same subject."""
    actor = {"type": "staff", "subject": "ada"}
    service = Principal("service:ada", None, service=True, scopes=frozenset({SERVICE_SCOPE}), actor=actor)
    expected = service if serves else ADA

    async def test(guard: BearerAuthenticator) -> None:
        assert await authenticate(guard, EC.token("ada", **claims)) == expected
        assert await authenticate(guard, EC.token("ada")) == ADA

    with_authenticator(key_file, test)


def test_anonymous_principals_are_addresses() -> None:
    """Without authentication each address is a principal that acts for all users."""

    async def test() -> None:
        async with AnonymousAuthenticator(erases=False) as guard:
            for client, key in (("10.0.0.1", 7), "address:10.0.0.1"), (None, "address:unknown"):
                principal = await guard.authenticate({"client": client})
                assert principal == Principal(key, None, scopes=frozenset({"sessions:any"}))

    asyncio.run(test())


def test_a_cached_token_expires(key_file: Path) -> None:
    """A cached token is rejected after it expires."""

    async def test(guard: BearerAuthenticator) -> None:
        token = EC.token(exp=_seconds_from_now(2 - LEEWAY))
        assert await authenticate(guard, token) == ADA
        await eventually_async(lambda: is_rejected(guard, token))

    with_authenticator(key_file, test)


def test_the_token_cache_is_bounded(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used token is evicted, and is still valid."""
    monkeypatch.setattr(bearer_module, "MAX_CACHED_TOKENS", 3)
    good = [EC.token(f"{n}") for n in range(4)]

    async def test(guard: BearerAuthenticator) -> None:
        for n in (0, 1, 2, 0, 3):
            assert (await authenticate(guard, good[n])).user_id == f"{n}"
        held = [proof.principal.user_id for proof in guard._verified.values()]  # noqa: SLF001 - a leak shows nowhere else
        assert held == ["2", "0", "3"]

    with_authenticator(key_file, test)
