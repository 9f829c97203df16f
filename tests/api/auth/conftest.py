"""Fixtures of the tests of authentication: key files, an issuer, and a service with two users."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from dev import reaper
from tests.api.auth.deployment import ADA, BOB, Deployment, User
from tests.api.auth.keys import EC, ED, RSA
from tests.conftest import migrate
from tests.support.inspection import INSIDE
from tests.support.issuer import SERVICE_SCOPE, JwksServer, jwks, token_settings
from tests.support.service import folder, running


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A JWK Set file with a key of each type."""
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(RSA, EC, ED))
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JwksServer:
    """An issuer with one key and a trusted certificate authority; the test opens it."""
    published = JwksServer(tmp_path)
    published.content = jwks(EC)
    monkeypatch.setenv("SSL_CERT_FILE", str(published.authority))
    return published


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, patient_repository: Path) -> Iterator[Deployment]:
    """A service with long timeouts and private servers."""
    settings = token_settings(tmp_path_factory.mktemp("issuer") / "keys.json")
    with folder() as base, reaper.servers(base) as urls:
        migrate(urls)
        with (
            psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as database,
            Redis.from_url(urls["REDIS_URL"]) as redis,
        ):
            database.execute("alter database postgres set log_statement = 'all'")
            with running(urls, patient_repository, PYTHONPATH=INSIDE, **settings) as service:
                yield Deployment(service, urls, base / "postgres.log", redis, database)


@pytest.fixture(scope="module")
def ada(deployment: Deployment) -> Iterator[User]:
    """The client of one user."""
    user = User(deployment.service, ADA)
    with user.client:
        yield user


@pytest.fixture(scope="module")
def bob(deployment: Deployment) -> Iterator[User]:
    """The client of another user."""
    user = User(deployment.service, BOB)
    with user.client:
        yield user


@pytest.fixture(scope="module")
def platform(deployment: Deployment) -> Iterator[User]:
    """The client of a service whose subject is that of one user."""
    user = User(deployment.service, ADA, scope=SERVICE_SCOPE)
    with user.client:
        yield user
