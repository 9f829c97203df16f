"""Tests of failed starts: a service that cannot work does not start, and says why in one line."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from dev.reaper import ROOT
from session_service.environment import SettingError
from session_service.settings import Settings
from session_service.storage import session_settings
from session_service.storage.connection import PostgresConnection
from tests.conftest import Urls
from tests.support.service import free_port
from tests.support.waiting import LIMIT

NOWHERE = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}
TOKENS = {"AUTH": "jwt", "JWT_KEYS": "/keys.json", "JWT_ISSUER": "https://x", "JWT_AUDIENCE": "x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://secret@x"),
        ("REDIS_URL", ""),
        ("REDIS_URL", "http://secret@x"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "secret"),
        ("SESSION_TIMEOUT_SECONDS", "-1"),
        ("SESSION_TIMEOUT_SECONDS", "31536001"),
        ("GRACE_SECONDS", "3601"),
        ("CACHE_SECONDS", "-1"),
        ("DATABASE_POOL_SIZE", "\u0663"),
        ("SERVER", "secret"),
        ("KEEP_ALIVE_SECONDS", "0"),
        ("KEEP_ALIVE_SECONDS", "3601"),
        ("AUTH", "secret"),
        ("ALLOW_UNAUTHENTICATED", "secret"),
        ("RATE_LIMIT", "-1"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://quiz.example/secret"),
        ("CORS_ORIGINS", "https://secret:99999"),
        ("CORS_ORIGINS", "https://secret:65536"),
        ("CORS_ORIGINS", "https://secret:0"),
        ("CORS_ORIGINS", "https://secret:443"),
        ("CORS_ORIGINS", "http://secret:80"),
        ("CORS_ORIGINS", "https://secret:08443"),
        ("CORS_ORIGINS", "https://[::1]:443"),
        ("MONITOR_ORIGINS", "https://secret/"),
        ("LOG_LEVEL", "secret"),
    ],
)
def test_settings_out_of_range(name: str, value: str) -> None:
    """An invalid setting is named, without its value."""
    assert "secret" not in _setting_error(name, {**NOWHERE, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_KEYS", ""),
        ("JWT_KEYS", "http://secret/keys.json"),
        ("JWT_KEYS", "secret.json"),
        ("JWT_ISSUER", ""),
        ("JWT_AUDIENCE", ""),
        ("JWT_ALGORITHMS", "none"),
        ("JWT_ALGORITHMS", "RS256,HS256"),
    ],
)
def test_token_settings_out_of_range(name: str, value: str) -> None:
    """Insecure or missing settings of tokens are named, without their values."""
    assert "secret" not in _setting_error(name, {**NOWHERE, **TOKENS, name: value})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "quiz.example"])  # noqa: S104 - refused
def test_unauthenticated_service_is_loopback_only(host: str) -> None:
    """Without authentication only a loopback HOST is valid, except with ALLOW_UNAUTHENTICATED=yes."""
    assert "ALLOW_UNAUTHENTICATED" in _setting_error("HOST", {**NOWHERE, "HOST": host})


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "localhost", "0.0.0.0"])  # noqa: S104 - and allowed
def test_unauthenticated_service_can_be_allowed(host: str) -> None:
    """Without authentication a loopback HOST, or any with ALLOW_UNAUTHENTICATED=yes, is valid."""
    allowed = {"ALLOW_UNAUTHENTICATED": "yes"} if host == "0.0.0.0" else {}  # noqa: S104 - the same
    settings = Settings.read({**NOWHERE, **allowed, "HOST": host})
    assert settings.tokens is None


def test_origins_with_a_port() -> None:
    """A port that is not the scheme's default is valid in an origin."""
    origins = "https://a:80,http://a:443,https://a:8443,http://[::1]:65535,app://a:443"
    assert len(Settings.read({**NOWHERE, "CORS_ORIGINS": origins}).cors_origins) == 5


@pytest.mark.parametrize("host", ["::1%secret", "secret.invalid"])
def test_a_host_without_an_address_fails_the_start(migrated: Urls, host: str) -> None:
    """A HOST that the service cannot listen on fails the start with one line, without its value."""
    ended = _serve({**migrated, "PORT": str(free_port()), "HOST": host, "ALLOW_UNAUTHENTICATED": "yes"})
    assert ended.returncode == 1
    assert ended.stdout.startswith("session-service: cannot listen on HOST and PORT: ")
    assert ended.stdout.count("\n") == 1
    assert "secret" not in ended.stdout


def test_a_port_in_use_fails_the_start(migrated: Urls) -> None:
    """A port in use fails the start with one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = _serve({**migrated, "PORT": port})
    assert ended.returncode == 1
    assert ended.stdout.startswith("session-service: cannot listen on HOST and PORT: ")


def test_missing_migrations_fail_the_start(fresh_database: Urls) -> None:
    """A database that lacks migrations fails the start."""
    ended = _serve({**fresh_database, "PORT": str(free_port())})
    assert ended.returncode == 1
    assert "cannot start: the database lacks migrations" in ended.stdout


@pytest.mark.parametrize(
    ("name", "given", "used"),
    [
        ("synchronous_commit", "off", "on"),
        ("synchronous_commit", "local", "on"),
        ("synchronous_commit", "remote_write", "on"),
        ("synchronous_commit", "remote_apply", "remote_apply"),
        ("default_transaction_isolation", "repeatable read", "read committed"),
    ],
)
def test_durability_does_not_depend_on_the_database(
    fresh_database: Urls, name: str, given: str, used: str
) -> None:
    """The service sets its own durability and isolation, whatever the database's defaults are."""
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set {name} = '{given}'")

    async def configured() -> str:
        async with await PostgresConnection.connect(fresh_database["DATABASE_URL"]) as connection:
            await session_settings.configure(connection)
            shown = await connection.execute("select current_setting(%s)", [name])
            (setting,) = await shown.fetchone() or ("",)
            return str(setting)

    assert asyncio.run(configured()) == used


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
@pytest.mark.parametrize("waits_for", ["PostgreSQL", "JWT_KEYS"])
def test_sigterm_ends_a_waiting_start(migrated: Urls, tmp_path: Path, server: str, waits_for: str) -> None:
    """SIGTERM ends a start that waits for a store or for keys, without a traceback, with exit status 0."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(LIMIT)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        urls = {"DATABASE_URL": f"postgresql://nobody@{address}/none"} if waits_for == "PostgreSQL" else {}
        env = {**migrated, **TOKENS, **urls, "JWT_KEYS": f"https://{address}/", "SERVER": server}
        log = tmp_path / "log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [sys.executable, "-m", "session_service"],
                cwd=ROOT,
                env={**os.environ, **env, "PORT": str(free_port())},
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
            silent.accept()[0],
        ):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == 0
    assert re.search("Traceback|unhandled|File", log.read_text()) is None


def _setting_error(name: str, env: Urls) -> str:
    with pytest.raises(SettingError, match=f"^{name} (must|has) ") as raised:
        Settings.read(env)
    return str(raised.value)


def _serve(env: Urls) -> subprocess.CompletedProcess[str]:
    """Run a service that is expected to exit."""
    return subprocess.run(
        [sys.executable, "-m", "session_service"],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
