"""Fixtures of the tests of batching."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import servers
from tests.conftest import Urls
from tests.support.batching import migrated_service
from tests.support.service import Service, folder


@pytest.fixture
def fresh_database(fresh_database: Urls) -> Iterator[Urls]:
    """URLs with an empty database and an empty Redis, so that no other service writes to the cache."""
    with folder() as base, servers.redis(base, base) as redis:
        yield fresh_database | {"REDIS_URL": redis.url}


@pytest.fixture
def isolated_service(fresh_database: Urls) -> Iterator[Service]:
    """A service with its own database."""
    with migrated_service(fresh_database) as service:
        yield service


@pytest.fixture
def patient_service(fresh_database: Urls, patient_repository: Path) -> Iterator[Service]:
    """A service with long timeouts and its own database."""
    with migrated_service(fresh_database, patient_repository) as service:
        yield service
