"""A test that is named after a status has to see that status."""

import re
from collections.abc import Iterator

import pytest

from tests import conformance
from tests.operations.test_every_status import operation_id


@pytest.fixture(autouse=True)
def status_is_seen(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that passed without a reply of the operation and status in its name."""
    named = re.match(r"test_(\d{3})_", request.function.__name__)
    conformance.SEEN.clear()
    yield
    if named:
        assert (operation_id(request.module.__name__), int(named[1])) in conformance.SEEN
