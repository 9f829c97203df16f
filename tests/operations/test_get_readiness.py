"""getReadiness: GET /health/ready."""

from dev import reaper
from tests.conftest import Urls
from tests.operations.test_get_health import told
from tests.support.service import Service, folder, running

PATH = "/health/ready"


def test_200_ready(service: Service) -> None:
    """A service whose database takes writes wants requests."""
    reply = service.client.get(PATH, headers={"x-request-id": "probe-1"})
    assert reply.status_code == 200
    assert reply.json() == {"status": "ready", "service": "session-service", "requestId": "probe-1"}


def test_200_without_redis(migrated: Urls) -> None:
    """Redis is no condition: without it everything works."""
    with folder() as base, reaper.servers(base) as others:
        gone = others["REDIS_URL"]
    with running(migrated, REDIS_URL=gone) as service:
        assert service.client.get("/health").json()["status"] == "degraded"
        assert service.client.get(PATH).status_code == 200


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """No parameter is ignored in silence."""
    assert service.client.get(PATH, params={"deep": "1"}).status_code == 400


def test_413_over_256_kib(service: Service) -> None:
    """The limit on bodies holds for a request that needs none, too."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413


def test_500_for_a_bug(defective_service: Service) -> None:
    """A readiness check that fails for a bug of the service is the error of every other operation."""
    assert defective_service.client.get(PATH).status_code == 500


def test_503_unavailable_without_the_table(broken_service: Service) -> None:
    """A database without the service's table is not ready."""
    reply = broken_service.client.get(PATH)
    assert (reply.status_code, reply.json()["status"]) == (503, "unavailable")


def test_503_unavailable_without_postgresql(cut_off_service: Service) -> None:
    """Without PostgreSQL no requests are wanted."""
    reply = told(cut_off_service, PATH, lambda reply: reply.status_code != 200)
    assert (reply.status_code, reply.json()["status"]) == (503, "unavailable")
