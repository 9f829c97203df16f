"""Checks that a test named after a status has received a response with that status."""

import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.operations.test_every_operation import OPERATIONS, filled
from tests.operations.test_every_status import operation_id
from tests.support import conformance
from tests.support.service import Service
from tests.support.waiting import LIMIT


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of stalled bodies last: their timeout of ten seconds passes during other tests."""
    items.sort(key=lambda item: item.name.startswith("test_408_"))


@pytest.fixture(autouse=True)
def status_is_seen(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that received no response with the operation and status in its name."""
    named = re.match(r"test_(\d{3})_", request.function.__name__)
    conformance.SEEN.clear()
    yield
    if named:
        several = getattr(request.node, "callspec", None)
        operation = several.params.get("operation") if several else None
        expected = operation or operation_id(request.module.__name__)
        assert (expected, int(named[1])) in conformance.SEEN


@pytest.fixture(scope="session", autouse=True)
def stalled(service: Service) -> Iterator[dict[str, http.client.HTTPConnection]]:
    """A request for each operation, sent before the first test of this folder, without its body."""
    connections = {}
    for name, (method, path) in OPERATIONS.items():
        connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=LIMIT)
        connection.putrequest(method, filled(path))
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", "10")
        connection.endheaders()
        connections[name] = connection
    yield connections
    for connection in connections.values():
        connection.close()
