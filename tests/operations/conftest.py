"""A test that is named after a status has to see that status."""

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
    """Let the ten seconds of a stalled body pass while other tests run."""
    items.sort(key=lambda item: item.name.startswith("test_408_"))


@pytest.fixture(autouse=True)
def status_is_seen(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that passed without a reply of the operation and status in its name."""
    named = re.match(r"test_(\d{3})_", request.function.__name__)
    conformance.SEEN.clear()
    yield
    if named:
        several = getattr(request.node, "callspec", None)
        operation = several.params.get("operation") if several else None
        wanted = operation or operation_id(request.module.__name__)
        assert (wanted, int(named[1])) in conformance.SEEN


@pytest.fixture(scope="session", autouse=True)
def stalled(service: Service) -> Iterator[dict[str, http.client.HTTPConnection]]:
    """A request for each operation, sent before the first test of this folder, whose body never comes."""
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
