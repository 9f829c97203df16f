"""TLS to PostgreSQL and Redis: a server without a trusted certificate is not used."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from redis import Redis

from dev.reaper import ROOT
from session_service.store_urls import insecure_transports
from tests.conftest import Urls
from tests.support.authority import LOOPBACK, OTHER_HOST, Authority
from tests.support.service import failed_start, running
from tests.support.tcp_proxy import Proxy


def test_trusted_servers_are_used_over_tls(migrated: Urls, tmp_path: Path) -> None:
    """With sslmode=verify-full and rediss:// the service works like without TLS."""
    authority = Authority(tmp_path)

    def check(postgres: int, redis: int) -> None:
        urls = migrated | {
            "DATABASE_URL": _postgres_url(postgres, authority),
            "REDIS_URL": _redis_url(redis, authority),
        }
        with running(urls) as service, Redis.from_url(migrated["REDIS_URL"]) as cache:
            session_id = service.start()["id"]
            assert service.save(session_id, 1, "x").json()["version"] == 2
            assert service.client.get("/health").json()["status"] == "healthy"
            assert cache.exists(f"session:{session_id}")

    _check_behind_tls(migrated, authority.certify(LOOPBACK), check)


@pytest.mark.parametrize("name", [LOOPBACK, OTHER_HOST], ids=["unknown authority", "another's name"])
def test_an_untrusted_redis_is_not_used(migrated: Urls, tmp_path: Path, name: x509.GeneralName) -> None:
    """An untrusted Redis is down for the health check, gets no session, and no request fails."""
    authority = Authority(tmp_path)
    signer = Authority(tmp_path) if name is LOOPBACK else authority

    def check(_: int, redis: int) -> None:
        urls = migrated | {"REDIS_URL": _redis_url(redis, authority)}
        with running(urls) as service, Redis.from_url(migrated["REDIS_URL"]) as cache:
            session_id = service.start()["id"]
            assert service.save(session_id, 1, "x").json()["version"] == 2
            assert service.read(session_id).json()["version"] == 2
            assert service.client.get("/health").json()["status"] == "degraded"
            # The sequencer of another service may have written the version, without a session.
            assert b"{" not in (cache.get(f"session:{session_id}") or b"")

    _check_behind_tls(migrated, signer.certify(name), check)


@pytest.mark.parametrize("fault", ["unknown authority", "another's name", "no TLS"])
def test_an_untrusted_postgresql_stops_the_start(migrated: Urls, tmp_path: Path, fault: str) -> None:
    """The service does not start with an untrusted PostgreSQL, and logs the reason in one line."""
    authority = Authority(tmp_path)
    signer = Authority(tmp_path) if fault == "unknown authority" else authority
    errors = {
        "unknown authority": "certificate verify failed",
        "another's name": 'server certificate for "elsewhere.example" does not match host name "127.0.0.1"',
        "no TLS": "server does not support SSL, but SSL was required",
    }

    def check(postgres: int, _: int) -> None:
        output = failed_start(migrated | {"DATABASE_URL": _postgres_url(postgres, authority)})
        (line,) = [line for line in output.splitlines() if line.startswith("session-service: ")]
        assert line.startswith(
            "session-service: cannot start: the PostgreSQL of DATABASE_URL is out of reach: "
        )
        assert errors[fault] in line

    tls = None if fault == "no TLS" else signer.certify(OTHER_HOST if fault == "another's name" else LOOPBACK)
    _check_behind_tls(migrated, tls, check)


@pytest.mark.parametrize(
    ("database_url", "redis_url", "count"),
    [
        ("postgresql://a@/b?host=/tmp", "unix:///tmp/redis.sock", 0),
        ("postgresql://a@localhost,127.0.0.1/b", "redis://[::1]", 0),
        ("postgresql://a@db.example/b?sslmode=verify-full", "rediss://:secret@redis.example", 0),
        ("postgresql://a@db.example/b?sslmode=verify-full", "rediss://redis.example?password=secret", 0),
        ("postgresql://a:secret@db.example/b", "redis://localhost", 1),
        ("postgresql://a:secret@localhost,db.example/b?sslmode=require", "redis://localhost", 1),
        ("postgresql://a@localhost/b?hostaddr=192.0.2.1", "redis://localhost", 1),
        ("postgresql://a@localhost/b", "redis://:secret@redis.example", 1),
        ("postgresql://a@localhost/b", "rediss://redis.example", 1),
        ("postgresql://a@localhost/b", "redis://192.0.2.1", 2),
    ],
)
def test_insecure_transports_are_reported(database_url: str, redis_url: str, count: int) -> None:
    """Each connection to another host without verified TLS is reported, without a secret."""
    found = insecure_transports(database_url, redis_url)
    assert len(found) == count
    assert "secret" not in " ".join(found)


def _postgres_url(port: int, authority: Authority) -> str:
    trust = f"sslmode=verify-full&sslrootcert={authority.file}"
    return f"postgresql://session_service@127.0.0.1:{port}/postgres?{trust}"


def _redis_url(port: int, authority: Authority) -> str:
    return f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}"


def _check_behind_tls(urls: Urls, tls: ssl.SSLContext | None, check: Callable[[int, int], None]) -> None:
    """Run the check with the ports of TLS proxies in front of PostgreSQL and Redis."""
    sockets = urls["REDIS_URL"].removeprefix("unix://").removesuffix("redis.sock")

    async def run() -> None:
        postgres = Proxy(
            lambda: asyncio.open_unix_connection(f"{sockets}.s.PGSQL.5432"), tls, ssl_request=True
        )
        redis = Proxy(lambda: asyncio.open_unix_connection(f"{sockets}redis.sock"), tls)
        ports = [await postgres.start(), await redis.start()]
        await asyncio.to_thread(check, *ports)
        await postgres.stop()
        await redis.stop()

    asyncio.run(run())


def test_certificates_of_the_system_are_found() -> None:
    """`sslrootcert=system` uses the certificates that Python trusts: psycopg's own OpenSSL finds none."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT_")}
    code = (
        "import os, ssl, session_service.storage.connection\n"
        "found = os.environ.get('SSL_CERT_FILE'), os.environ.get('SSL_CERT_DIR')\n"
        "paths = ssl.get_default_verify_paths()\n"
        "assert found == (paths.cafile, paths.capath) and any(found), found"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True)
