"""Tests of outages of the issuer: the last good keys stay, and a start waits for a limited time."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.reaper import ROOT
from session_service.api.auth import jwks as jwks_module
from session_service.api.auth.bearer import BearerAuthenticator
from session_service.environment import SettingError
from tests.api.auth.keys import ADA, EC
from tests.conftest import Urls
from tests.support.issuer import (
    JwksServer,
    authenticate,
    bearer_authenticator,
    is_rejected,
    jwks,
    make_key,
    token_settings,
    with_authenticator,
)
from tests.support.service import free_port
from tests.support.waiting import LIMIT


def test_tokens_stay_valid_during_an_issuer_outage(
    site: JwksServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During an outage of the issuer its tokens stay valid; the outage and its end are logged once each."""
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_COOLDOWN", 0.0)
    fresh = make_key("fresh")

    async def test(guard: BearerAuthenticator) -> None:
        opened.close()
        for _ in range(3):
            assert await is_rejected(guard, fresh.token())
        assert await authenticate(guard, EC.token()) == ADA
        site.content = jwks(EC, fresh)
        opened.enter_context(site.open())
        assert await authenticate(guard, fresh.token()) == ADA

    with ExitStack() as opened, caplog.at_level(logging.WARNING):
        opened.enter_context(site.open())
        with_authenticator(site.url, test)
    assert [record.getMessage() for record in caplog.records] == [
        "JWT_KEYS: the keys could not be renewed, the last ones stay: ConnectionRefusedError",
        "JWT_KEYS: the keys are renewed again",
    ]


def _is_an_error(site: JwksServer) -> None:
    site.status = 500


def _redirects_to_a_file(site: JwksServer) -> None:
    site.status = 302
    site.headers = {"location": "file:///keys.json"}


def _redirects_to_itself(site: JwksServer) -> None:
    site.status = 307
    site.headers = {"location": site.url}


def _is_empty(site: JwksServer) -> None:
    site.content = b'{"keys": []}'


def _is_too_large(site: JwksServer) -> None:
    site.content = b" " * jwks_module.MAX_JWKS_BYTES + site.content


def _is_incomplete(site: JwksServer) -> None:
    site.headers = {"content-length": "99999"}
    site.content = site.content[:-9]


def _hangs(site: JwksServer) -> None:
    site.flows.clear()


def _is_slow(site: JwksServer) -> None:
    site.pause = 0.1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (_is_an_error, "the answer was 500"),
        (_redirects_to_a_file, "the answer was 302"),
        (_redirects_to_itself, "the answer was 307"),
        (_is_empty, "there is no key for JWT_ALGORITHMS, or more than one and none with a kid"),
        (_is_too_large, "it is larger than a megabyte"),
        (_is_incomplete, "it is not a JWK Set"),
        (_hangs, "TimeoutError"),
        (_is_slow, "the answer comes too slowly"),
    ],
)
def test_a_failed_fetch_keeps_the_last_keys(
    site: JwksServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Callable[[JwksServer], None],
    reason: str,
) -> None:
    """After any failed fetch the last good keys stay."""
    if failure in {_hangs, _is_slow}:
        monkeypatch.setattr(jwks_module, "FETCH_TIMEOUT", 0.5)
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_TIMEOUT", LIMIT)

    async def test(guard: BearerAuthenticator) -> None:
        site.content = jwks(make_key("fresh"))
        failure(site)
        assert await is_rejected(guard, make_key("fresh").token())
        assert await authenticate(guard, EC.token()) == ADA
        assert site.requests == 2

    with site.open(), caplog.at_level(logging.WARNING):
        with_authenticator(site.url, test)
    assert caplog.records[0].getMessage().endswith(f": {reason}")


def test_an_untrusted_issuer_certificate_is_rejected(
    site: JwksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys from a server with an untrusted certificate are rejected."""
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(JwksServer(tmp_path / "other").authority))
    monkeypatch.setattr(jwks_module, "START_TIMEOUT", 0)
    with site.open(), pytest.raises(SettingError, match=r"JWT_KEYS: .*: SSLCertVerificationError$"):
        with_authenticator(site.url, _nothing)
    assert site.requests == 0


async def _nothing(_: BearerAuthenticator) -> None:
    pass


def test_the_start_waits_for_the_issuer(site: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert await authenticate(guard, EC.token()) == ADA
        await guard.__aexit__()

    guard = bearer_authenticator(site.url)
    asyncio.run(test())
    monkeypatch.setattr(jwks_module, "START_TIMEOUT", 0.1)
    with pytest.raises(SettingError, match=r"^JWT_KEYS: no keys could be read: ConnectionRefusedError$"):
        with_authenticator(site.url, _nothing)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        (b"{}", "it is not a JWK Set"),
        (b" " * 2**21, "larger than a megabyte"),
    ],
)
def test_the_start_fails_without_valid_keys(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A start does not wait for a missing or invalid file."""
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=f"^JWT_KEYS: no keys could be read: .*{reason}$"):
        with_authenticator(path, _nothing)


def test_a_service_without_keys_exits(migrated: Urls, tmp_path: Path) -> None:
    """It logs one line that names the setting, and exits with status 1."""
    env = {**os.environ, **migrated, **token_settings(tmp_path / "keys.json"), "PORT": str(free_port())}
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
