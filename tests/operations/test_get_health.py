"""getHealth: GET /health."""

from collections.abc import Callable

import httpx
import psycopg

from dev import reaper
from tests.conftest import Urls, migrate
from tests.support.service import Service, folder, running
from tests.support.waiting import eventually


def test_200_healthy(service: Service) -> None:
    """With both stores the service is healthy."""
    # On a busy machine the service may doubt its Redis for a second.
    reply = told(service, "/health", lambda reply: reply.json()["status"] == "healthy")
    body = reply.json()
    assert reply.status_code == 200
    assert body["checks"] == {"postgres": "up", "redis": "up"}
    assert body["requestId"] == "probe-1"


def test_200_degraded_without_redis(migrated: Urls) -> None:
    """Without Redis everything works, and the service says what is missing."""
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
    """No parameter is ignored in silence."""
    assert service.client.get("/health", params={"deep": "1"}).status_code == 400


def test_413_over_256_kib(service: Service) -> None:
    """The limit on bodies holds for a request that needs none, too."""
    assert service.client.request("GET", "/health", content=b" " * (256 * 1024 + 1)).status_code == 413


def test_500_for_a_bug(defective_service: Service) -> None:
    """A health check that fails for a bug of the service is the error of every other operation."""
    assert defective_service.client.get("/health").status_code == 500


def test_503_unhealthy_without_the_table(broken_service: Service) -> None:
    """A database without the service's table is unhealthy, in the shape of every other verdict."""
    reply = broken_service.client.get("/health")
    assert (reply.status_code, reply.json()["status"]) == (503, "unhealthy")
    assert reply.json()["checks"]["postgres"] == "down"
    fault = 'not ready: relation "quiz_sessions" does not exist'
    eventually(lambda: fault in broken_service.log.read_text())


def test_503_unhealthy_without_the_right_to_the_table(fresh_database: Urls) -> None:
    """A database that denies the service its table is unhealthy, and healthy once it does not any more."""
    migrate(fresh_database)
    with (
        running(fresh_database) as service,
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as owner,
    ):
        owner.execute("revoke update on quiz_sessions from session_service")
        reply = told(service, "/health", lambda reply: reply.status_code != 200)
        assert (reply.status_code, reply.json()["checks"]["postgres"]) == (503, "down")
        owner.execute("grant update on quiz_sessions to session_service")
        assert told(service, "/health", lambda reply: reply.status_code == 200)


def test_503_unhealthy_without_postgresql(cut_off_service: Service) -> None:
    """Without PostgreSQL the service says so, in the shape of its other answers."""
    reply = told(cut_off_service, "/health", lambda reply: reply.status_code != 200)
    assert (reply.status_code, reply.json()["status"]) == (503, "unhealthy")
    assert reply.json()["checks"]["postgres"] == "down"


def told(service: Service, path: str, settled: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Return what a probe is told once it is no more what was true up to a second ago."""

    def settled_reply() -> httpx.Response | None:
        reply = service.client.get(path, headers={"x-request-id": "probe-1"})
        return reply if settled(reply) else None

    found = eventually(settled_reply)
    assert found is not None
    return found
