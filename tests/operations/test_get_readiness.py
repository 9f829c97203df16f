"""getReadiness: GET /health/ready."""

from dev import reaper
from tests.conftest import Urls
from tests.operations.test_get_health import await_probe
from tests.support.service import Service, folder, running

PATH = "/health/ready"


def test_200_ready(service: Service) -> None:
    """A service whose database accepts writes is ready."""
    response = service.client.get(PATH, headers={"x-request-id": "probe-1"})
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "service": "session-service", "requestId": "probe-1"}


def test_200_without_redis(migrated: Urls) -> None:
    """A service without Redis is ready."""
    with folder() as base, reaper.servers(base) as others:
        gone = others["REDIS_URL"]
    with running(migrated, REDIS_URL=gone) as service:
        assert service.client.get("/health").json()["status"] == "degraded"
        assert service.client.get(PATH).status_code == 200


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """An unknown query parameter is rejected, not ignored."""
    assert service.client.get(PATH, params={"deep": "1"}).status_code == 400


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413


def test_500_for_a_bug(service_with_health_bug: Service) -> None:
    """An unexpected error in a readiness check gets the usual 500."""
    assert service_with_health_bug.client.get(PATH).status_code == 500


def test_503_unavailable_without_the_table(service_without_table: Service) -> None:
    """A service whose database lacks the table is not ready."""
    response = service_without_table.client.get(PATH)
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")


def test_503_unavailable_without_postgresql(service_without_postgresql: Service) -> None:
    """A service without PostgreSQL is not ready."""
    response = await_probe(service_without_postgresql, PATH, lambda response: response.status_code != 200)
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
