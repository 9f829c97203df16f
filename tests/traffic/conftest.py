"""Fixtures of the tests of batching."""

from collections.abc import Iterator

import pytest

from tests.conftest import Urls
from tests.support.batching import migrated_service
from tests.support.service import Service


@pytest.fixture
def isolated_service(fresh_database: Urls) -> Iterator[Service]:
    """A service with its own database."""
    with migrated_service(fresh_database) as service:
        yield service
