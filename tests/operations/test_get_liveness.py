"""getLiveness: GET /health/live."""

from tests.support.service import Service

PATH = "/health/live"


def test_200_alive(service: Service) -> None:
    """A running process is alive."""
    response = service.client.get(PATH, headers={"x-request-id": "probe-1"})
    assert response.status_code == 200
    assert response.json() == {"status": "alive", "service": "session-service", "requestId": "probe-1"}


def test_200_without_a_database(service_without_postgresql: Service, service_without_table: Service) -> None:
    """A process is alive without its database, and with a damaged one: a restart would not help."""
    assert service_without_postgresql.client.get(PATH).status_code == 200
    assert service_without_table.client.get(PATH).status_code == 200


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """An unknown query parameter is rejected, not ignored."""
    assert service.client.get(PATH, params={"deep": "1"}).status_code == 400


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413
