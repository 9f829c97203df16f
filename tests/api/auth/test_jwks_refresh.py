"""Tests of the refresh of the JWKS cache: key rotation, a replaced file, unknown key ids."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from session_service.api.auth import jwks as jwks_module
from session_service.api.auth.bearer import BearerAuthenticator
from tests.api.auth.keys import ADA, EC, learner
from tests.conftest import Urls
from tests.support.issuer import (
    JwksServer,
    Key,
    authenticate,
    is_rejected,
    jwks,
    make_key,
    token_settings,
    with_authenticator,
)
from tests.support.service import running
from tests.support.waiting import eventually_async


def _write(key_file: Path, content: bytes) -> None:
    key_file.write_bytes(content)


def _replace(key_file: Path, content: bytes) -> None:
    fresh = key_file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(key_file)


def _remove(key_file: Path) -> None:
    key_file.unlink()


def test_a_replaced_key_file_is_reloaded(
    key_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A removed key invalidates its cached tokens; an incomplete or missing file keeps the last good keys."""
    monkeypatch.setattr(jwks_module, "FILE_REFRESH_INTERVAL", 0.02)
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_COOLDOWN", 60)
    fresh = make_key("fresh")
    old = EC.token()

    async def test(guard: BearerAuthenticator) -> None:
        assert await authenticate(guard, old) == ADA
        _write(key_file, jwks(EC, fresh)[:-9])
        await eventually_async(lambda: len(caplog.records) == 1)
        assert await authenticate(guard, EC.token("bob")) == learner("bob")
        _replace(key_file, jwks(fresh))

        await eventually_async(lambda: is_rejected(guard, old))
        assert await authenticate(guard, fresh.token()) == ADA
        caplog.clear()
        _remove(key_file)
        await eventually_async(lambda: len(caplog.records) == 1)
        assert await authenticate(guard, fresh.token("bob")) == learner("bob")

    with_authenticator(key_file, test)


def test_a_hanging_disk_has_one_fetch(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a fetch hangs there is no second one; after it ends, refreshes continue."""
    monkeypatch.setattr(jwks_module, "FILE_REFRESH_INTERVAL", 0.02)
    monkeypatch.setattr(jwks_module, "FETCH_TIMEOUT", 0.02)
    fresh = make_key("fresh")
    pipe = key_file.with_suffix(".pipe")

    async def test(guard: BearerAuthenticator) -> None:
        _remove(key_file)
        os.mkfifo(pipe)
        os.link(pipe, key_file)
        await eventually_async(_fetching_threads)
        await asyncio.sleep(0.4)
        assert len(_fetching_threads()) == 1
        assert await authenticate(guard, EC.token()) == ADA
        _replace(key_file, jwks(fresh))
        await asyncio.to_thread(_write, pipe, b"")
        await eventually_async(lambda: is_rejected(guard, EC.token()))

    with_authenticator(key_file, test)


def _fetching_threads() -> list[threading.Thread]:
    """Return the threads that fetch keys."""
    return [thread for thread in threading.enumerate() if thread.name == "jwks"]


def test_key_rotation_is_seen_with_the_first_new_token(site: JwksServer) -> None:
    """Concurrent tokens with an unknown kid cause one refresh; a removed key is no longer valid."""
    fresh = make_key("fresh")
    old = EC.token()

    async def test(guard: BearerAuthenticator) -> None:
        assert await authenticate(guard, old) == ADA
        site.content = jwks(fresh)
        asked = site.requests
        callers = await asyncio.gather(*(authenticate(guard, fresh.token(f"{n}")) for n in range(10)))
        assert [caller.user_id for caller in callers] == [f"{n}" for n in range(10)]
        assert site.requests == asked + 1
        assert await is_rejected(guard, old)

    with site.open():
        with_authenticator(site.url, test)


def test_keys_are_refreshed_periodically(site: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The periodic refresh invalidates a key that the issuer has removed."""
    monkeypatch.setattr(jwks_module, "URL_REFRESH_INTERVAL", 0.05)
    old = EC.token()

    async def test(guard: BearerAuthenticator) -> None:
        assert await authenticate(guard, old) == ADA
        site.content = jwks(make_key("fresh"))

        await eventually_async(lambda: is_rejected(guard, old))

    with site.open():
        with_authenticator(site.url, test)


def test_unknown_kids_cause_one_refresh(site: JwksServer) -> None:
    """A flood of tokens with invented kids causes one refresh; valid tokens are still accepted."""

    async def test(guard: BearerAuthenticator) -> None:
        flood = [Key(f"unknown-{n}", "ES256", EC.private).token() for n in range(400)]
        refused = await asyncio.gather(*(is_rejected(guard, token) for token in flood))
        assert all(refused)
        assert all([await is_rejected(guard, token) for token in flood])
        assert site.requests == 2
        assert await authenticate(guard, EC.token()) == ADA

    with site.open():
        with_authenticator(site.url, test)


def test_few_requests_wait_for_a_hanging_issuer(site: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 requests wait for a slow issuer, the others are rejected at once; a shutdown does not wait."""
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_TIMEOUT", 60)

    async def test(guard: BearerAuthenticator) -> None:
        site.flows.clear()
        tasks = [asyncio.create_task(is_rejected(guard, make_key(f"{n}").token())) for n in range(100)]
        await eventually_async(lambda: sum(task.done() for task in tasks) == 100 - 32)
        assert await authenticate(guard, EC.token()) == ADA
        for task in tasks:
            task.cancel()

    with site.open():
        with_authenticator(site.url, test)
        assert {thread.daemon for thread in _fetching_threads()} == {True}


def test_a_request_waits_for_a_limited_time(site: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for a limited time; a late response of the issuer still refreshes the keys."""
    monkeypatch.setattr(jwks_module, "UNKNOWN_KID_TIMEOUT", 0.05)
    fresh = make_key("fresh")

    async def test(guard: BearerAuthenticator) -> None:
        site.flows.clear()
        site.content = jwks(EC, fresh)
        assert await is_rejected(guard, fresh.token())
        site.flows.set()

        async def is_known() -> bool:
            return not await is_rejected(guard, fresh.token())

        await eventually_async(is_known)
        assert site.requests == 2

    with site.open():
        with_authenticator(site.url, test)


def test_a_running_service_follows_key_rotation(migrated: Urls, site: JwksServer, tmp_path: Path) -> None:
    """A running service accepts tokens of a new key at once, and then rejects those of the removed key."""
    fresh = make_key("fresh")

    def asks(key: Key) -> int:
        headers = {"authorization": f"Bearer {key.token()}"}
        return service.client.get("/api/sessions", headers=headers).status_code

    with site.open():
        settings = token_settings(tmp_path / "keys.json") | {"JWT_KEYS": site.url}
        with running(migrated, **settings) as service:
            assert asks(EC) == 200
            site.content = jwks(fresh)
            assert asks(EC) == 200
            assert asks(fresh) == 200
            assert asks(EC) == 401
