"""Tests the JWKS cache: which keys count, how they are refreshed, what an outage of the issuer does."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import pytest

from dev.reaper import ROOT
from session_service.api.auth import jwks as jwks_module
from session_service.api.auth.bearer import BearerAuthenticator
from session_service.api.auth.jwks import JwksError, JwkSet
from session_service.api.auth.principal import Principal
from session_service.settings import SettingError
from tests.conftest import Urls
from tests.support.issuer import (
    Key,
    Site,
    ask,
    guarded,
    is_refused,
    judge,
    judging,
    jwks,
    make_ed448_key,
    make_key,
    rsa_key,
)
from tests.support.service import free_port, running
from tests.support.waiting import LIMIT, eventually_async

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


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An issuer with one key and a trusted certificate authority; the test opens it."""
    published = Site(tmp_path)
    published.content = jwks(EC)
    monkeypatch.setenv("SSL_CERT_FILE", str(published.authority))
    return published


ENTRIES: dict[str, tuple[list[Any], dict[str | None, list[str]]]] = {
    "several": ([EC, ED], {"ec": ["ES256"], "ed": ["EdDSA"]}),
    "the only one goes without a name": ([EC], {"ec": ["ES256"], None: ["ES256"]}),
    "one without a name": ([EC.published(kid=None)], {None: ["ES256"]}),
    "some without a name": ([EC.published(kid=None), ED, RSA], {"ed": ["EdDSA"], "rsa": ["RS256"]}),
    "two of one name": (
        [EC, ED.published(kid="ec"), RSA],
        {"ec": ["ES256", "EdDSA"], "rsa": ["RS256"]},
    ),
    "whatever pinned one fits": (
        [RSA.published(alg=None)],
        {"rsa": ["RS256", "PS256"], None: ["RS256", "PS256"]},
    ),
    "one that says so is not for encryption": (
        [EC, ED.published(use="enc"), RSA.published(key_ops=["sign"])],
        {"ec": ["ES256"], None: ["ES256"]},
    ),
    "one that says that it verifies": (
        [EC.published(use=None, key_ops=["verify"])],
        {"ec": ["ES256"], None: ["ES256"]},
    ),
    "Ed448": ([make_ed448_key("ed")], {"ed": ["EdDSA"], None: ["EdDSA"]}),
    "Ed448 without alg": (
        [make_ed448_key("ed").published(alg=None)],
        {"ed": ["EdDSA"], None: ["EdDSA"]},
    ),
    "junk between": (
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
def test_a_key_is_for_what_it_says(case: str) -> None:
    """Public signature keys count for the pinned algorithms that fit; other entries are ignored."""
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
def test_a_set_without_a_fitting_key_is_none(content: bytes) -> None:
    """Shared secrets and short, private or unpinned keys are never used."""
    with pytest.raises(JwksError):
        JwkSet.parse(content, ("RS256", "ES256", "EdDSA"))


def test_two_keys_of_one_name_are_both_tried(tmp_path: Path) -> None:
    """With two keys of one kid, a signature by either is valid."""
    path = tmp_path / "keys.json"
    first, second, third = (make_key("k") for _ in range(3))
    path.write_bytes(jwks(first, second))

    async def test(guard: BearerAuthenticator) -> None:
        assert await ask(guard, first.token()) == await ask(guard, second.token()) == ADA
        assert await is_refused(guard, third.token())

    judge(path, test)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _replace(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(file)


def _remove(file: Path) -> None:
    file.unlink()


def test_a_file_that_is_replaced_counts(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A removed key invalidates its cached tokens; an incomplete or missing file keeps the last good keys."""
    monkeypatch.setattr(jwks_module, "FILE_REFRESH_INTERVAL", 0.02)
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_COOLDOWN", 60)
    fresh = make_key("fresh")
    old = EC.token()

    async def test(guard: BearerAuthenticator) -> None:
        assert await ask(guard, old) == ADA
        _write(file, jwks(EC, fresh)[:-9])
        await eventually_async(lambda: len(caplog.records) == 1)
        assert await ask(guard, EC.token("bob")) == Principal("user:bob", "bob")
        _replace(file, jwks(fresh))

        await eventually_async(lambda: is_refused(guard, old))
        assert await ask(guard, fresh.token()) == ADA
        caplog.clear()
        _remove(file)
        await eventually_async(lambda: len(caplog.records) == 1)
        assert await ask(guard, fresh.token("bob")) == Principal("user:bob", "bob")

    judge(file, test)


def test_a_disk_that_hangs_is_asked_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a fetch hangs there is no second one; after it ends, refreshes continue."""
    monkeypatch.setattr(jwks_module, "FILE_REFRESH_INTERVAL", 0.02)
    monkeypatch.setattr(jwks_module, "FETCH_TIMEOUT", 0.02)
    fresh = make_key("fresh")
    pipe = file.with_suffix(".pipe")

    async def test(guard: BearerAuthenticator) -> None:
        _remove(file)
        os.mkfifo(pipe)
        os.link(pipe, file)
        await eventually_async(_reading)
        await asyncio.sleep(0.4)
        assert len(_reading()) == 1
        assert await ask(guard, EC.token()) == ADA
        _replace(file, jwks(fresh))
        await asyncio.to_thread(_write, pipe, b"")
        await eventually_async(lambda: is_refused(guard, EC.token()))

    judge(file, test)


def _reading() -> list[threading.Thread]:
    """Return the threads that fetch keys."""
    return [thread for thread in threading.enumerate() if thread.name == "jwks"]


def test_a_rotation_is_seen_with_the_first_new_token(site: Site) -> None:
    """Concurrent tokens with an unknown kid cause one refresh; a removed key is no longer valid."""
    fresh = make_key("fresh")
    old = EC.token()

    async def test(guard: BearerAuthenticator) -> None:
        assert await ask(guard, old) == ADA
        site.content = jwks(fresh)
        asked = site.asked
        callers = await asyncio.gather(*(ask(guard, fresh.token(f"{n}")) for n in range(10)))
        assert [caller.user_id for caller in callers] == [f"{n}" for n in range(10)]
        assert site.asked == asked + 1
        assert await is_refused(guard, old)

    with site.open():
        judge(site.url, test)


def test_keys_are_renewed_without_being_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The periodic refresh invalidates a key that the issuer has removed."""
    monkeypatch.setattr(jwks_module, "URL_REFRESH_INTERVAL", 0.05)
    old = EC.token()

    async def test(guard: BearerAuthenticator) -> None:
        assert await ask(guard, old) == ADA
        site.content = jwks(make_key("fresh"))

        await eventually_async(lambda: is_refused(guard, old))

    with site.open():
        judge(site.url, test)


def test_a_flood_of_unknown_keys_is_one_look(site: Site) -> None:
    """A flood of tokens with invented kids causes one refresh; valid tokens are still accepted."""

    async def test(guard: BearerAuthenticator) -> None:
        flood = [Key(f"unknown-{n}", "ES256", EC.private).token() for n in range(400)]
        refused = await asyncio.gather(*(is_refused(guard, token) for token in flood))
        assert all(refused)
        assert all([await is_refused(guard, token) for token in flood])
        assert site.asked == 2
        assert await ask(guard, EC.token()) == ADA

    with site.open():
        judge(site.url, test)


def test_few_wait_for_an_issuer_that_hangs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 requests wait for a slow issuer, the others are rejected at once; a shutdown does not wait."""
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_TIMEOUT", 60)

    async def test(guard: BearerAuthenticator) -> None:
        site.flows.clear()
        tasks = [asyncio.create_task(is_refused(guard, make_key(f"{n}").token())) for n in range(100)]
        await eventually_async(lambda: sum(task.done() for task in tasks) == 100 - 32)
        assert await ask(guard, EC.token()) == ADA
        for task in tasks:
            task.cancel()

    with site.open():
        judge(site.url, test)
        assert {thread.daemon for thread in _reading()} == {True}


def test_a_request_waits_for_so_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for a limited time; a late response of the issuer still refreshes the keys."""
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_TIMEOUT", 0.05)
    fresh = make_key("fresh")

    async def test(guard: BearerAuthenticator) -> None:
        site.flows.clear()
        site.content = jwks(EC, fresh)
        assert await is_refused(guard, fresh.token())
        site.flows.set()

        async def is_known() -> bool:
            return not await is_refused(guard, fresh.token())

        await eventually_async(is_known)
        assert site.asked == 2

    with site.open():
        judge(site.url, test)


def test_an_outage_of_the_issuer_is_not_felt(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During an outage of the issuer its tokens stay valid; the outage and its end are logged once each."""
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_COOLDOWN", 0.0)
    fresh = make_key("fresh")

    async def test(guard: BearerAuthenticator) -> None:
        opened.close()
        for _ in range(3):
            assert await is_refused(guard, fresh.token())
        assert await ask(guard, EC.token()) == ADA
        site.content = jwks(EC, fresh)
        opened.enter_context(site.open())
        assert await ask(guard, fresh.token()) == ADA

    with ExitStack() as opened, caplog.at_level(logging.WARNING):
        opened.enter_context(site.open())
        judge(site.url, test)
    assert [record.getMessage() for record in caplog.records] == [
        "JWT_KEYS: the keys could not be renewed, the last ones stay: ConnectionRefusedError",
        "JWT_KEYS: the keys are renewed again",
    ]


def _fails(site: Site) -> None:
    site.status = 500


def _leads_elsewhere(site: Site) -> None:
    site.status = 302
    site.headers = {"location": "file:///keys.json"}


def _leads_in_a_circle(site: Site) -> None:
    site.status = 307
    site.headers = {"location": site.url}


def _is_empty(site: Site) -> None:
    site.content = b'{"keys": []}'


def _is_too_much(site: Site) -> None:
    site.content = b" " * jwks_module.MAX_JWKS_BYTES + site.content


def _is_cut(site: Site) -> None:
    site.headers = {"content-length": "99999"}
    site.content = site.content[:-9]


def _gets_stuck(site: Site) -> None:
    site.flows.clear()


def _drips(site: Site) -> None:
    site.pause = 0.1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (_fails, "the answer was 500"),
        (_leads_elsewhere, "the answer was 302"),
        (_leads_in_a_circle, "the answer was 307"),
        (_is_empty, "there is no key for JWT_ALGORITHMS, or more than one and none with a kid"),
        (_is_too_much, "there is more than a megabyte"),
        (_is_cut, "what is there is no JWKS"),
        (_gets_stuck, "TimeoutError"),
        (_drips, "the answer comes too slowly"),
    ],
)
def test_an_answer_that_is_no_key_set_changes_nothing(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Callable[[Site], None],
    reason: str,
) -> None:
    """After any failed fetch the last good keys stay."""
    if failure in {_gets_stuck, _drips}:
        monkeypatch.setattr(jwks_module, "FETCH_TIMEOUT", 0.5)
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_TIMEOUT", LIMIT)

    async def test(guard: BearerAuthenticator) -> None:
        site.content = jwks(make_key("fresh"))
        failure(site)
        assert await is_refused(guard, make_key("fresh").token())
        assert await ask(guard, EC.token()) == ADA
        assert site.asked == 2

    with site.open(), caplog.at_level(logging.WARNING):
        judge(site.url, test)
    assert caplog.records[0].getMessage().endswith(f": {reason}")


def test_an_issuer_has_to_prove_itself(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys from a server with an untrusted certificate are rejected."""
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(Site(tmp_path / "other").authority))
    monkeypatch.setattr(jwks_module, "START_TIMEOUT", 0)
    with site.open(), pytest.raises(SettingError, match=r"JWT_KEYS: .*: SSLCertVerificationError$"):
        judge(site.url, _nothing)
    assert site.asked == 0


async def _nothing(_: BearerAuthenticator) -> None:
    pass


def test_a_start_waits_for_the_issuer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start waits for an unreachable issuer, for a limited time."""
    with site.open():
        pass
    monkeypatch.setattr(jwks_module, "START_RETRY_INTERVAL", 0.02)

    async def test() -> None:
        starting = asyncio.create_task(guard.__aenter__())
        await asyncio.sleep(0.2)
        assert not starting.done()
        with site.open():
            await starting
        assert await ask(guard, EC.token()) == ADA
        await guard.__aexit__()

    guard = judging(site.url)
    asyncio.run(test())
    monkeypatch.setattr(jwks_module, "START_TIMEOUT", 0.1)
    with pytest.raises(SettingError, match=r"^JWT_KEYS: no keys could be read: ConnectionRefusedError$"):
        judge(site.url, _nothing)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        (b"{}", "what is there is no JWKS"),
        (b" " * 2**21, "more than a megabyte"),
    ],
)
def test_a_file_without_keys_fails_at_once(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A start does not wait for a missing or invalid file."""
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=f"^JWT_KEYS: no keys could be read: .*{reason}$"):
        judge(path, _nothing)


def test_a_service_without_keys_does_not_start(migrated: Urls, tmp_path: Path) -> None:
    """It logs one line that names the setting, and exits with status 1."""
    env = {**os.environ, **migrated, **guarded(tmp_path / "keys.json"), "PORT": str(free_port())}
    (tmp_path / "keys.json").unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "session_service"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 1
    message = "session-service: cannot start: JWT_KEYS: no keys could be read: FileNotFoundError"
    assert ended.stdout.splitlines().count(message) == 1


def test_a_service_follows_its_issuer(migrated: Urls, site: Site, tmp_path: Path) -> None:
    """A running service accepts tokens of a new key at once, and then rejects those of the removed key."""
    fresh = make_key("fresh")

    def asks(key: Key) -> int:
        headers = {"authorization": f"Bearer {key.token()}"}
        return service.client.get("/api/sessions", headers=headers).status_code

    with site.open():
        settings = guarded(tmp_path / "keys.json") | {"JWT_KEYS": site.url}
        with running(migrated, **settings) as service:
            assert asks(EC) == 200
            site.content = jwks(fresh)
            assert asks(EC) == 200
            assert asks(fresh) == 200
            assert asks(EC) == 401
