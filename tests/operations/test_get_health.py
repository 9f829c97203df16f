"""getHealth: GET /health."""

from collections.abc import Callable

import httpx
import psycopg

from dev import reaper
from tests.conftest import Urls, migrate
from tests.support.service import Service, folder, running
from tests.support.waiting import eventually

PRIVILEGES = [
    ("update", "quiz_sessions"),
    ("update", "quiz_orders"),
    ("select", "session_events"),
    ("select", "unplaced_events"),
    ("select", "event_positions"),
    ("update", "event_feeds"),
]


def test_200_healthy(service: Service) -> None:
    """The service is healthy if PostgreSQL and Redis are up."""
    # On a busy machine the circuit breaker for Redis may be open for a second.
    response = await_probe(service, "/health", lambda response: response.json()["status"] == "healthy")
    body = response.json()
    assert response.status_code == 200
    assert body["checks"] == {"postgres": "up", "redis": "up"}
    assert body["requestId"] == "probe-1"


def test_200_degraded_without_redis(migrated: Urls) -> None:
    """Without Redis the health is degraded, and all operations work."""
    with folder() as base, reaper.servers(base) as others:
        gone = others["REDIS_URL"]
    with running(migrated, REDIS_URL=gone) as service:
        body = service.client.get("/health").json()
        assert (body["status"], body["checks"]) == ("degraded", {"postgres": "up", "redis": "down"})
        session_id = service.start()["id"]
        assert service.save(session_id, 1, "x").status_code == 200
        assert service.read(session_id).json()["answers"] == {"1": "x"}
        assert service.complete(session_id).status_code == 200


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """An unknown query parameter is rejected, not ignored."""
    assert service.client.get("/health", params={"deep": "1"}).status_code == 400


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    assert service.client.request("GET", "/health", content=b" " * (256 * 1024 + 1)).status_code == 413


def test_500_for_a_bug(service_with_health_bug: Service) -> None:
    """An unexpected error in a health check gets the usual 500."""
    assert service_with_health_bug.client.get("/health").status_code == 500


def test_503_unhealthy_without_the_table(service_without_table: Service) -> None:
    """A database without the table is unhealthy."""
    response = service_without_table.client.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "unhealthy")
    assert response.json()["checks"]["postgres"] == "down"
    fault = 'not ready: relation "quiz_sessions" does not exist'
    eventually(lambda: fault in service_without_table.log.read_text())


def test_503_unhealthy_without_privileges_on_a_table(fresh_database: Urls) -> None:
    """Without privileges on a table the health is unhealthy; it recovers with the privileges."""
    migrate(fresh_database)
    with (
        running(fresh_database) as service,
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as owner,
    ):
        for right, table in PRIVILEGES:
            owner.execute(f"revoke {right} on {table} from session_service")
            response = await_probe(service, "/health", lambda response: response.status_code != 200)
            assert (response.status_code, response.json()["checks"]["postgres"]) == (503, "down"), table
            owner.execute(f"grant {right} on {table} to session_service")
            assert await_probe(service, "/health", lambda response: response.status_code == 200)


def test_503_unhealthy_without_postgresql(service_without_postgresql: Service) -> None:
    """Without PostgreSQL the health is unhealthy."""
    response = await_probe(
        service_without_postgresql, "/health", lambda response: response.status_code != 200
    )
    assert (response.status_code, response.json()["status"]) == (503, "unhealthy")
    assert response.json()["checks"]["postgres"] == "down"


def await_probe(service: Service, path: str, expected: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Return the response to a probe once it is the expected one: results are cached for up to a second."""
    last = ""

    def expected_response() -> httpx.Response | None:
        nonlocal last
        response = service.client.get(path, headers={"x-request-id": "probe-1"})
        last = response.text
        return response if expected(response) else None

    found = eventually(expected_response, lambda: f"{last}\n{service.log.read_text()}")
    assert found is not None
    return found
