"""The deployment that the tests of a file share."""

from collections.abc import Iterator

import pytest

from tests.conftest import Urls
from tests.verify.faults.deployment import Deployment, deployed


@pytest.fixture(scope="module")
def deployment(migrated: Urls) -> Iterator[Deployment]:
    """A deployment that the tests of the file break and repair one after the other."""
    with deployed(migrated) as one:
        yield one
