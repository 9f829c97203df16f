"""Tests of JWK Sets: which keys are used, for which algorithms."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import jwt
import pytest

from session_service.api.auth.bearer import BearerAuthenticator
from session_service.api.auth.jwks import JwksError, JwkSet, JwksSource
from tests.api.auth.keys import ADA, EC, ED, RSA
from tests.support.issuer import (
    Key,
    authenticate,
    is_rejected,
    jwks,
    make_ed448_key,
    make_key,
    rsa_key,
    with_authenticator,
)

ENTRIES: dict[str, tuple[list[Any], dict[str | None, list[str]]]] = {
    "several": ([EC, ED], {"ec": ["ES256"], "ed": ["EdDSA"]}),
    "the only key is also used without a kid": ([EC], {"ec": ["ES256"], None: ["ES256"]}),
    "one without a kid": ([EC.published(kid=None)], {None: ["ES256"]}),
    "some without a kid": ([EC.published(kid=None), ED, RSA], {"ed": ["EdDSA"], "rsa": ["RS256"]}),
    "two with one kid": (
        [EC, ED.published(kid="ec"), RSA],
        {"ec": ["ES256", "EdDSA"], "rsa": ["RS256"]},
    ),
    "every pinned algorithm that fits": (
        [RSA.published(alg=None)],
        {"rsa": ["RS256", "PS256"], None: ["RS256", "PS256"]},
    ),
    "use or key_ops for something else": (
        [EC, ED.published(use="enc"), RSA.published(key_ops=["sign"])],
        {"ec": ["ES256"], None: ["ES256"]},
    ),
    "key_ops verify": (
        [EC.published(use=None, key_ops=["verify"])],
        {"ec": ["ES256"], None: ["ES256"]},
    ),
    "Ed448": ([make_ed448_key("ed")], {"ed": ["EdDSA"], None: ["EdDSA"]}),
    "Ed448 without alg": (
        [make_ed448_key("ed").published(alg=None)],
        {"ed": ["EdDSA"], None: ["EdDSA"]},
    ),
    "invalid entries": (
        [
            None,
            7,
            "x",
            [],
            {},
            {"kty": "EC"},
            {"kty": []},
            EC.published(x=7),
            EC.published(x="AA"),
            EC.published(kid=7),
            RSA.published(n="AA"),
            EC.published(key_ops=7),
            EC.published(alg=["ES256"]),
            EC,
        ],
        {"ec": ["ES256"], None: ["ES256"]},
    ),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_signature_keys_are_used_for_pinned_algorithms(case: str) -> None:
    """A public signature key is used for the pinned algorithms that fit; other entries are ignored."""
    entries, expected = ENTRIES[case]
    read = JwkSet.parse(jwks(*entries), ("RS256", "PS256", "ES256", "EdDSA"))
    assert {kid: [key.algorithm_name for key in keys] for kid, keys in read.keys.items()} == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"keys": null}',
        b'{"keys": []}',
        b"[" * 100_000,
        jwks({"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "secret", "alg": "HS256"}),
        jwks(Key("short", "RS256", rsa_key(1024)).published()),
        jwks(make_key("k", "ES256K")),
        jwks(make_key("k", "ES384")),
        jwks(make_key("k", "ES384").published(alg=None)),
        jwks(jwt.get_algorithm_by_name("ES256").to_jwk(EC.private, as_dict=True)),
        jwks(EC.published(kid=None), ED.published(kid=None)),
        jwks(EC.published(alg="RS256")),
    ],
    # Not the content: some keys are made anew by each process of pytest-xdist.
    ids=[
        "empty",
        "unfinished",
        "not UTF-8",
        "array",
        "no keys",
        "null",
        "no key",
        "nested too deep",
        "symmetric",
        "RSA of 1024 bits",
        "secp256k1",
        "P-384",
        "P-384 without alg",
        "private",
        "without kid",
        "alg of another type",
    ],
)
def test_a_jwk_set_without_a_usable_key_is_an_error(content: bytes) -> None:
    """A JWK Set is an error if every key is symmetric, private, too short or not for a pinned algorithm."""
    with pytest.raises(JwksError):
        JwkSet.parse(content, ("RS256", "ES256", "EdDSA"))


def test_keys_with_the_same_kid_are_all_tried(tmp_path: Path) -> None:
    """With two keys of one kid, a signature by either is valid."""
    path = tmp_path / "keys.json"
    first, second, third = (make_key("k") for _ in range(3))
    path.write_bytes(jwks(first, second))

    async def test(guard: BearerAuthenticator) -> None:
        assert await authenticate(guard, first.token()) == await authenticate(guard, second.token()) == ADA
        assert await is_rejected(guard, third.token())

    with_authenticator(path, test)


@pytest.mark.parametrize("turns", range(1, 4))
def test_a_fetch_can_be_cancelled_when_it_ends(turns: int) -> None:
    """A cancellation, as by SIGTERM, is not lost some turns of the event loop after the end of the fetch."""

    async def run() -> None:
        fetch = asyncio.create_task(JwksSource("/nowhere.json", ("RS256",)).fetch())
        await asyncio.sleep(0)
        for thread in threading.enumerate():
            if thread.name == "jwks":
                thread.join()
        for _ in range(turns):
            await asyncio.sleep(0)
        if not fetch.done():
            fetch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetch
        else:
            assert isinstance(fetch.exception(), JwksError)

    asyncio.run(run())
