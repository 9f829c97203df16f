"""Fixtures of the tests of batching."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Urls
from tests.support.batching import migrated_service
from tests.support.service import Service


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
