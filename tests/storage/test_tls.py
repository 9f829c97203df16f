"""TLS to the stores: a server that cannot prove who it is gets no statement and is not believed."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from redis import Redis

from dev.reaper import ROOT
from session_service.store_urls import insecure_transports
from tests.conftest import Urls
from tests.support.service import free_port, running
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import LIMIT

HERE = x509.IPAddress(ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("elsewhere.example")


class Authority:
    """Somebody who certifies servers; `file` is what trusts it."""

    def __init__(self, folder: Path) -> None:
        name = uuid4().hex
        self._folder = folder / name
        self._folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self._folder / "authority.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(self._key, self._name).add_extension(constraints, critical=True)
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def certify(self, host: x509.GeneralName) -> ssl.SSLContext:
        """Return what a server of that name proves itself with."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([host])
        made = self._builder(key, x509.Name([])).add_extension(names, critical=True)
        file = self._folder / "server.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, key: ec.EllipticCurvePrivateKey, name: x509.Name) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )


def test_servers_that_prove_themselves(migrated: Urls, tmp_path: Path) -> None:
    """With sslmode=verify-full and rediss:// the service works as it does without."""
    authority = Authority(tmp_path)

    def look(postgres: int, redis: int) -> None:
        urls = migrated | {
            "DATABASE_URL": _postgres_url(postgres, authority),
            "REDIS_URL": _redis_url(redis, authority),
        }
        with running(urls) as service, Redis.from_url(migrated["REDIS_URL"]) as held:
            session_id = service.start()["id"]
            assert service.save(session_id, 1, "x").json()["version"] == 2
            assert service.client.get("/health").json()["status"] == "healthy"
            assert held.exists(f"session:{session_id}")

    _through(migrated, authority.certify(HERE), look)


@pytest.mark.parametrize("name", [HERE, ELSEWHERE], ids=["unknown authority", "another's name"])
def test_a_redis_that_does_not_prove_itself(migrated: Urls, tmp_path: Path, name: x509.GeneralName) -> None:
    """It is told as down, is given no session and asked for none, and no request fails for it."""
    authority = Authority(tmp_path)
    signer = Authority(tmp_path) if name is HERE else authority

    def look(_: int, redis: int) -> None:
        urls = migrated | {"REDIS_URL": _redis_url(redis, authority)}
        with running(urls) as service, Redis.from_url(migrated["REDIS_URL"]) as held:
            session_id = service.start()["id"]
            assert service.save(session_id, 1, "x").json()["version"] == 2
            assert service.read(session_id).json()["version"] == 2
            assert service.client.get("/health").json()["status"] == "degraded"
            assert not held.exists(f"session:{session_id}")

    _through(migrated, signer.certify(name), look)


@pytest.mark.parametrize("fault", ["unknown authority", "another's name", "no TLS"])
def test_a_postgresql_that_does_not_prove_itself(migrated: Urls, tmp_path: Path, fault: str) -> None:
    """The service does not start, and says in a line why."""
    authority = Authority(tmp_path)
    signer = Authority(tmp_path) if fault == "unknown authority" else authority
    told = {
        "unknown authority": "certificate verify failed",
        "another's name": 'server certificate for "elsewhere.example" does not match host name "127.0.0.1"',
        "no TLS": "server does not support SSL, but SSL was required",
    }

    def look(postgres: int, _: int) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", "session_service"],
            cwd=ROOT,
            env={
                **os.environ,
                **migrated,
                "DATABASE_URL": _postgres_url(postgres, authority),
                "PORT": str(free_port()),
            },
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert ended.returncode == 1
        (line,) = [line for line in ended.stdout.splitlines() if line.startswith("session-service: ")]
        assert line.startswith(
            "session-service: cannot start: the PostgreSQL of DATABASE_URL is out of reach: "
        )
        assert told[fault] in line

    tls = None if fault == "no TLS" else signer.certify(ELSEWHERE if fault == "another's name" else HERE)
    _through(migrated, tls, look)


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
def test_a_way_that_is_open_to_others_is_told(database_url: str, redis_url: str, count: int) -> None:
    """Whoever lets sessions leave the machine unguarded is told so, in a sentence without a secret."""
    found = insecure_transports(database_url, redis_url)
    assert len(found) == count
    assert "secret" not in " ".join(found)


def _postgres_url(port: int, authority: Authority) -> str:
    trust = f"sslmode=verify-full&sslrootcert={authority.file}"
    return f"postgresql://session_service@127.0.0.1:{port}/postgres?{trust}"


def _redis_url(port: int, authority: Authority) -> str:
    return f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}"


def _through(urls: Urls, tls: ssl.SSLContext | None, look: Callable[[int, int], None]) -> None:
    """Have a look at a service whose ways to PostgreSQL and Redis lead through these ports, under TLS."""
    sockets = urls["REDIS_URL"].removeprefix("unix://").removesuffix("redis.sock")

    async def run() -> None:
        postgres = Proxy(lambda: asyncio.open_unix_connection(f"{sockets}.s.PGSQL.5432"), tls, asked=True)
        redis = Proxy(lambda: asyncio.open_unix_connection(f"{sockets}redis.sock"), tls)
        ports = [await postgres.start(), await redis.start()]
        await asyncio.to_thread(look, *ports)
        await postgres.stop()
        await redis.stop()

    asyncio.run(run())
