"""Tests of a former primary: one that still takes connections after another server was promoted."""

from pathlib import Path

import psycopg

from tests.conftest import Urls
from tests.support.service import Service, folder, running
from tests.support.waiting import eventually
from tests.verify.faults.deployment import migrated_postgres
from tests.verify.histories.postgres import Postgres

FRESH = {"cache-control": "no-cache"}
READS = 20


def test_a_former_primary_serves_no_request(migrated: Urls) -> None:
    """A former primary to which new connections lead again serves no request: it lacks new sessions."""
    with folder() as base, folder() as first, folder() as second, migrated_postgres(first) as primary:
        standby = Postgres(second)
        primary.replicate(standby)
        host = base / "host"
        host.symlink_to(first)
        url = f"postgresql://session_service@/postgres?host={host}"
        with running(migrated | {"DATABASE_URL": url, "ERASE_DATABASE_URL": ""}) as service:
            primary.kill()
            standby.promote()
            _lead_to(host, second)
            session_id = eventually(lambda: _start(service))
            primary.start()
            _lead_to(host, first)
            _close_connections(standby)
            eventually(lambda: service.read(session_id, FRESH).status_code != 200)
            assert {service.read(session_id, FRESH).status_code for _ in range(READS)} == {503}
            _lead_to(host, second)
            eventually(lambda: service.read(session_id, FRESH).status_code == 200)
        standby.stop()


def _lead_to(host: Path, sockets: Path) -> None:
    """Let new connections lead to another server."""
    host.unlink()
    host.symlink_to(sockets)


def _start(service: Service) -> object:
    """Return the id of a new session, None if it was not started."""
    response = service.client.post("/api/sessions/start", json={"user_id": "ada", "quiz_id": 7})
    return response.json().get("id")


def _close_connections(postgres: Postgres) -> None:
    with psycopg.connect(postgres.owner_url, autocommit=True) as database:
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'session_service'"
        )
