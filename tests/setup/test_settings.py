"""Tests of settings: an invalid one fails the start with one line that names it, without its value."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.reaper import ROOT
from session_service import store_urls
from session_service.environment import SettingError
from session_service.settings import Settings, migration_database_url
from session_service.store_urls import UrlError
from tests.conftest import Urls
from tests.support.service import free_port

SECRET = "S3cret"  # noqa: S105 - of no server
VALID = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "REDIS_URL": "redis://127.0.0.1:1"}
JWT = {"AUTH": "jwt", "JWT_KEYS": "/keys.json", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a"}
UNREADABLE = "/nowhere/authority.pem"

INVALID_POSTGRESQL_URLS = {
    f"u:{SECRET}@h/d?pgbouncer=true": 'has the unknown option "pgbouncer"',
    f"u:{SECRET}@h/d?schema=public": 'has the unknown option "schema"',
    f"u:{SECRET}@h/d?sslmode=prefer&connection_limit=5": 'has the unknown option "connection_limit"',
    f"u:x?{SECRET}=y@h/d?{SECRET}=x": "has an unknown option",
    f"u:{SECRET}@h/d?sslmode=bad": 'has a wrong value for the option "sslmode"',
    f"u:{SECRET}@h/d?target_session_attrs={SECRET}": 'for the option "target_session_attrs"',
    f"u:{SECRET}@h/d?gssencmode=bad": 'has a wrong value for the option "gssencmode"',
    f"u:{SECRET}@h/d?hostaddr=bad": 'has a wrong value for the option "hostaddr"',
    f"u:{SECRET}@h/d?service=bad": 'has a wrong value for the option "service"',
    f"u:{SECRET}@h/d?sslrootcert={UNREADABLE}": 'as its option "sslrootcert"',
    f"u:{SECRET}@h/d?sslkey=/": 'as its option "sslkey"',
    f"u:{SECRET}@h/d?sslmode=require&sslrootcert=system": "has options that libpq does not take together",
    f"u:x/{SECRET}@h/d": "has no valid port",
    f"u:x@{SECRET}@h/d": "has no valid host",
    f"u:%zz{SECRET}@h/d": "percent-encode",
    f"u:%00{SECRET}@h/d": "percent-encode",
    f"u:\n{SECRET}@h/d": "has a control character",
    f"u:\udcff{SECRET}@h/d": "a byte that is no UTF-8",
    f"u:{SECRET}@[::1/d": "percent-encode",
    f"u:{SECRET}@h:0/d": "has no valid port",
    f"u:{SECRET}@h:65536/d": "has no valid port",
    f"u:{SECRET}@h:{'9' * 5000}/d": "has no valid port",
    f"u:{SECRET}%E4@h/d": "percent-encode it as UTF-8",
    f"u@h/d?password={SECRET}%FF": "percent-encode it as UTF-8",
    f"u@h/d?fallback_application_name={SECRET}%FF": "percent-encode it as UTF-8",
    f"u:{SECRET}@a..b/d": "has no valid host",
    f"u:{SECRET}@{'a' * 64}/d": "has no valid host",
}
INVALID_REDIS_URLS = {
    f"redis://:{SECRET}@h?foo=bar": 'has the unknown option "foo"',
    f"redis://:{SECRET}@h?family=0": 'has the unknown option "family"',
    f"redis://:{SECRET}@h?decode_responses=true": 'has the unknown option "decode_responses"',
    f"redis://:{SECRET}@h?ssl_ca_certs=/x": 'has the unknown option "ssl_ca_certs"',
    f"redis://:x?{SECRET}=y@h": "percent-encode",
    f"redis://:{SECRET}@h?db=abc": 'has a wrong value for the option "db"',
    f"redis://:{SECRET}@h?db=": 'has a wrong value for the option "db"',
    f"redis://:{SECRET}@h/abc": "a number as its database",
    f"redis://:{SECRET}@h:0": "a port from 1 to 65535",
    f"redis://:{SECRET}@h:65536": "has no valid host and port",
    f"redis://:x/{SECRET}@h": "has no valid host and port",
    f"redis://:{SECRET}@[::1": "has no valid host and port",
    f"redis://:{SECRET}@a..b": "has no valid host",
    f"redis://:\udcff{SECRET}@h": "a byte that is no UTF-8",
    f"redis://:{SECRET}%E4@h": "percent-encode it as UTF-8",
    f"redis://h?password={SECRET}%FF": "percent-encode it as UTF-8",
    f"rediss://:{SECRET}@h?ssl_ca_certs={UNREADABLE}": 'as its option "ssl_ca_certs"',
    f"rediss://:{SECRET}@h?ssl_cert_reqs=bad": 'has a wrong value for the option "ssl_cert_reqs"',
    f"unix://:{SECRET}@/": "the absolute path of a socket",
    f"unix://{SECRET}/redis.sock": "the absolute path of a socket",
    "unix://": "the absolute path of a socket",
    f"redis+sentinel://:{SECRET}@a,b": "must have the name of the primary after its hosts",
    f"redis+sentinel://:{SECRET}@a,b/": "must have the name of the primary after its hosts",
    f"redis+sentinel://:{SECRET}@a,b/{SECRET}%20": "must have the name of the primary after its hosts",
    f"redis+sentinel://:{SECRET}@a,b:0/n": "has no valid host and port",
    f"redis+sentinel://:{SECRET}@a,,b/n": "has no valid host and port",
    f"redis+sentinel://:{SECRET}@a,b:{SECRET}/n": "has no valid host and port",
    f"redis+sentinel://:{SECRET}@[::1,b/n": "has no valid host and port",
    f"redis+sentinel://:{SECRET}@a,b/n/{SECRET}": "a number as its database",
    f"redis+sentinel://:{SECRET}@a,b/n?foo=bar": 'has the unknown option "foo"',
    f"redis+sentinel://:{SECRET}@a,b/n?ssl_ca_certs=/x": 'has the unknown option "ssl_ca_certs"',
    f"rediss+sentinel://:{SECRET}@a,b/n?ssl_ca_certs={UNREADABLE}": 'as its option "ssl_ca_certs"',
    f"unix+sentinel://:{SECRET}@a,b/n": "must be set to a URL that starts with",
}
OTHER_INVALID_SETTINGS = {
    "HOST": ["\udcff", "a\nb", "a" * 254, "über"],
    "PORT": ["9" * 5000, "-1", "3005.0", "\udcff"],
    "SESSION_TIMEOUT_SECONDS": ["-1", "31536001", "9" * 5000],
    "GRACE_SECONDS": ["-1", "3601", "1.5"],
    "CACHE_SECONDS": ["1e3"],
    "DATABASE_POOL_SIZE": ["101"],
    "DATABASE_PREPARE": ["maybe", "No"],
    "BATCH_SIZE": ["9" * 5000],
    "RATE_LIMIT": ["9" * 5000],
    # The second one has the user of DATABASE_URL.
    "ERASE_DATABASE_URL": ["mysql://u@h/d", "postgresql://u@h/d", "postgresql://e@h/d?schema=x"],
    # The first one is without ERASE_DATABASE_URL.
    "RETENTION_DAYS": ["1", "-1", "36501"],
    "SERVER": ["\udcff"],
    "LOG_LEVEL": ["\udcff", "20"],
    "LOG_FORMAT": ["JSON"],
    "LOG_REQUESTS": ["some"],
    "ADMIN_HOST": ["a\nb"],
    "ADMIN_PORT": ["65536"],
    "REVISION": ["a b", "\udcff", 65 * "a"],
    "CORS_ORIGINS": ["\udcff", "https://h:" + "9" * 5000],
    "DIGEST_KEY": ["\udcff" * 32],
    "JWT_KEYS": ["/\udcff"],
    # A scope of its own meaning, which a token of a proctor has; two scopes.
    "JWT_SERVICE_SCOPE": ["\udcff", "sessions:read", "sessions:proctor", "sessions:erase", "any all"],
    **{name: ["\udcff"] for name in ("JWT_ISSUER", "JWT_AUDIENCE", "PGAPPNAME", "PGTZ")},
    **{name: ["bad"] for name in ("PGSSLMODE", "PGPORT", "PGSERVICE", "PGTARGETSESSIONATTRS")},
    "PGMAXPROTOCOLVERSION": ["x"],
    "PGMINPROTOCOLVERSION": ["9"],
    "PGHOST": ["a..b", "x@y"],
    "PGHOSTADDR": ["bad"],
}


@pytest.mark.parametrize("url", INVALID_POSTGRESQL_URLS)
@pytest.mark.parametrize("name", ["DATABASE_URL", "MIGRATION_DATABASE_URL"])
def test_an_invalid_postgresql_url(name: str, url: str) -> None:
    """The line names the variable and the URL's option that libpq rejects, without values."""
    with pytest.raises(SettingError) as error:
        migration_database_url({**VALID, name: f"postgresql://{url}"})
    _check(str(error.value), name, INVALID_POSTGRESQL_URLS[url])


@pytest.mark.parametrize("url", INVALID_REDIS_URLS)
def test_an_invalid_redis_url(url: str) -> None:
    """The line names the variable and the URL's option that redis-py rejects, without values."""
    with pytest.raises(SettingError) as error:
        Settings.read({**VALID, "REDIS_URL": url})
    _check(str(error.value), "REDIS_URL", INVALID_REDIS_URLS[url])


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in OTHER_INVALID_SETTINGS for value in OTHER_INVALID_SETTINGS[name]],
)
def test_other_invalid_settings(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The line names the variable: thousands of digits, bytes that are not UTF-8, variables of libpq."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as error:
        Settings.read({**VALID, **JWT, "ALLOW_UNAUTHENTICATED": "yes", name: value})
    _check(str(error.value), name, "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///",
        "postgresql://u@/d?host=/tmp/a,/tmp/b&target_session_attrs=read-write",
        "postgresql://u:a%40b%2F@h1:1,h2/d?ssl=true",
        "postgresql://u:a?b#c@[::1]:5432/d?options=-c%20search_path%3Dx",
        "postgresql://u@localhost/d?hostaddr=192.0.2.1&sslmode=verify-full&sslrootcert=system",
        "postgresql://u@bücher.example./d?sslmode=require&sslnegotiation=direct",
    ],
)
def test_valid_postgresql_urls(url: str) -> None:
    """Every URL that libpq accepts is valid, and the check opens no connection."""
    store_urls.check_postgresql(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://u:a%40b@h:1/15",
        "redis://[::1]/?db=3&health_check_interval=30",
        "rediss://h?password=x&ssl_cert_reqs=none&ssl_check_hostname=false",
        f"rediss://h?ssl_ca_certs={__file__}",
        "unix://:x@/nowhere/redis.sock?db=1",
    ],
)
def test_valid_redis_urls(url: str) -> None:
    """Every URL that the service can use is valid, also without a server at the address."""
    store_urls.check_redis(url)


def test_wrong_variables_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    """With several wrong variables, the line names one of them, and the environment does not change."""
    monkeypatch.setenv("PGSSLMODE", "bad")
    monkeypatch.setenv("PGMAXPROTOCOLVERSION", "x")
    before = dict(os.environ)
    assert store_urls.find_wrong_variable() in {"PGSSLMODE", "PGMAXPROTOCOLVERSION"}
    assert dict(os.environ) == before


def test_a_redis_socket_that_is_a_folder(tmp_path: Path) -> None:
    """An existing path that is not a socket is rejected."""
    with pytest.raises(UrlError, match="the absolute path of a socket"):
        store_urls.check_redis(f"unix://{tmp_path}")


def test_a_start_with_an_invalid_setting_prints_one_line(migrated: Urls, tmp_path: Path) -> None:
    """The service, its supervisor, bin/migrate and bin/serve print that line only, and exit with status 1."""
    with _taken_port() as port:
        exposed = {"ALLOW_UNAUTHENTICATED": "yes"}
        invalid = {
            "DATABASE_URL": {"DATABASE_URL": f"postgresql://u:{SECRET}@h/d?pgbouncer=true"},
            "REDIS_URL": {"REDIS_URL": f"redis://:{SECRET}@h?foo=bar"},
            "PGSSLMODE": {"PGSSLMODE": "bad"},
            "PGOPTIONS": {"PGOPTIONS": "-c nothing=1"},
            "PGOPTIONS: value": {"PGOPTIONS": "-c datestyle=nothing"},
            "MIGRATION_DATABASE_URL": {"MIGRATION_DATABASE_URL": f"postgresql://u:{SECRET}@h/d?schema=x"},
            "PORT": {"PORT": str(port)},
            "HOST": {"HOST": "nowhere.invalid", **exposed},
            "HOST: label": {"HOST": "a..b", **exposed},
            "JWT_KEYS": JWT | {"JWT_KEYS": str(tmp_path)},
            "JWT_KEYS: empty": JWT | {"JWT_KEYS": "/dev/null"},
        }
        starts = [
            (name, _spawn(migrated | settings, *command))
            for name, settings in invalid.items()
            for command in _commands(name)
        ]
        lines = [(name, process.communicate(timeout=60)[0], process) for name, process in starts]
    for name, output, process in lines:
        assert process.returncode == 1, output
        _check(output.rstrip("\n").removeprefix("session-service: "), name.partition(":")[0], "")


def _commands(name: str) -> list[list[str]]:
    """Return the commands that read the setting."""
    serve, workers, launcher = (
        ["session_service"],
        ["session_service", "--workers", "2"],
        ["dev.serve"],
    )
    migrate = ["session_service.storage.migrations"]
    return {
        "DATABASE_URL": [serve, workers, launcher, migrate],
        "MIGRATION_DATABASE_URL": [launcher, migrate],
        "PGSSLMODE": [migrate],
        "PORT": [workers],
    }.get(name, [serve])


def _spawn(env: Urls, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PORT": str(free_port()), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _check(line: str, name: str, option: str) -> None:
    assert "\n" not in line
    assert name in line
    assert option in line
    assert SECRET not in line
    assert "Traceback" not in line


@contextmanager
def _taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]
