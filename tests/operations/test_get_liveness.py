"""getLiveness: GET /health/live."""

from tests.support.service import Service

PATH = "/health/live"


def test_200_alive(service: Service) -> None:
    """A process that runs says so."""
    reply = service.client.get(PATH, headers={"x-request-id": "probe-1"})
    assert reply.status_code == 200
    assert reply.json() == {"status": "alive", "service": "session-service", "requestId": "probe-1"}


def test_200_without_a_database(cut_off_service: Service, broken_service: Service) -> None:
    """A database that is away, or is not what it should be, is no reason to restart the service."""
    assert cut_off_service.client.get(PATH).status_code == 200
    assert broken_service.client.get(PATH).status_code == 200


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """No parameter is ignored in silence."""
    assert service.client.get(PATH, params={"deep": "1"}).status_code == 400


def test_413_over_256_kib(service: Service) -> None:
    """The limit on bodies holds for a request that needs none, too."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413
