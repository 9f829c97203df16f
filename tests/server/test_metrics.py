"""Tests of /metrics: the page is valid, and counts what has happened."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dev import servers
from session_service import metrics
from session_service.server import admin
from session_service.settings import Settings
from tests.conftest import Urls
from tests.support.service import (
    Service,
    admin_page,
    failed_start,
    folder,
    free_port,
    frozen_database,
    running,
)
from tests.support.waiting import eventually

PREFIX = "session_service_"


class Page:
    """The page of a running service."""

    def __init__(self, port: int) -> None:
        self.port = port

    def values(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return all samples by name and labels; the parser rejects an invalid page."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(admin_page(self.port))
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Return the value of a sample, 0 if there is none."""
        return self.values().get((PREFIX + name, frozenset(labels.items())), 0.0)


@contextmanager
def _measured(urls: Urls, **settings: str) -> Iterator[tuple[Service, Page]]:
    port = free_port()
    with running(urls, ADMIN_PORT=str(port), **settings) as service:
        yield service, Page(port)


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_requests_are_counted_by_operation_and_status(migrated: Urls, server: str) -> None:
    """Each request counts once, with its operation and status, and so does one that no operation takes."""
    with _measured(migrated, SERVER=server) as (service, page):
        session = service.start()
        for _ in range(3):
            assert service.save(session["id"], 1, "x").status_code == 200
        assert service.read("00000000-0000-4000-8000-000000000000").status_code == 404
        assert service.client.get("/api/nothing").status_code == 404
        count = "request_duration_seconds_count"
        eventually(lambda: page.value(count, operation="updateProgress", status="200") == 3)
        assert page.value(count, operation="startSession", status="201") == 1
        assert page.value(count, operation="getSession", status="404") == 1
        assert page.value(count, operation="none", status="404") == 1
        assert page.value("batch_size_count", lane="write") == 3


def test_a_read_of_the_cache_is_a_hit_or_a_miss(migrated: Urls) -> None:
    """A read of a session that Redis has is a hit, another one a miss."""
    with _measured(migrated) as (service, page):
        session = service.start()
        service.read(session["id"])
        assert page.value("cache_reads_total", result="hit") == 1
        service.read("00000000-0000-4000-8000-000000000000")
        assert page.value("cache_reads_total", result="miss") == 1


def test_the_loss_of_redis_is_visible(migrated: Urls) -> None:
    """After the loss of Redis the cache is unavailable, and the versions that it lacks are counted."""
    with (
        folder() as base,
        servers.redis(base, base) as redis,
        _measured(migrated, REDIS_URL=redis.url) as (service, page),
    ):
        session = service.start()
        assert page.value("cache_available") == 1
        redis.process.kill()
        redis.process.wait()
        assert service.save(session["id"], 1, "x").status_code == 200
        assert page.value("cache_available") == 0
        assert page.value("cache_dirty_sessions") == 1


def test_a_rejected_request_is_counted_with_its_reason(migrated: Urls) -> None:
    """A request over the rate limit counts as rejected, with this reason."""
    with _measured(migrated, RATE_LIMIT="1") as (service, page):
        service.start()
        response = service.client.get("/api/sessions")
        assert response.status_code == 429
        eventually(lambda: page.value("rejected_requests_total", reason="rate_limit") == 1)


def test_the_page_has_the_backlogs_of_the_database(migrated: Urls) -> None:
    """The page shows the sweeper's lag, the unplaced events and the size of the journal."""
    with _measured(migrated) as (service, page):
        service.start()
        names = {name for name, _ in page.values()}
        for name in ("sweeper_lag_seconds", "unplaced_events", "unplaced_event_age_seconds"):
            assert PREFIX + name in names
        assert page.value("journal_bytes") > 0
        assert "process_cpu_seconds_total" in names


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_a_frozen_database_leaves_the_other_metrics(
    migrated_database: tuple[Urls, psycopg.Connection], server: str
) -> None:
    """While PostgreSQL is silent the page has all other metrics, and later those of the database again."""
    urls, _ = migrated_database
    with _measured(urls, SERVER=server) as (service, page):
        service.start()
        with frozen_database(urls["MIGRATION_DATABASE_URL"]):
            names = {name for name, _ in page.values()}
            assert PREFIX + "request_duration_seconds_count" in names
            assert PREFIX + "journal_bytes" not in names
        eventually(lambda: page.value("journal_bytes") > 0)


def test_a_rejected_statement_leaves_the_other_metrics(
    migrated_database: tuple[Urls, psycopg.Connection],
) -> None:
    """If PostgreSQL rejects a statement of the metrics, the page has all others, and the log says why."""
    urls, owner = migrated_database
    with _measured(urls) as (service, page):
        owner.execute("alter table webhook_endpoints rename to elsewhere")
        assert page.value("info", version="2.1.0") == 1
        assert (PREFIX + "journal_bytes", frozenset()) not in page.values()
        eventually(lambda: "the database was not measured" in service.log.read_text())


def test_an_unresponsive_event_loop_is_no_empty_page(migrated: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without metrics would be a success for Prometheus: the status is 503."""
    monkeypatch.setattr(admin, "SCRAPE_TIMEOUT", 0.1)
    port = free_port()
    for name, value in {**migrated, "ADMIN_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    loop = asyncio.new_event_loop()
    admin.publish(Settings.read(), metrics.collect, loop)
    # admin_page raises it for 503.
    with pytest.raises(OSError, match="event loop"):
        admin_page(port)


def test_without_a_port_there_is_no_page(migrated: Urls) -> None:
    """The service serves no metrics on its own port."""
    with running(migrated) as service:
        assert service.client.get("/metrics").status_code == 404


def test_a_used_port_stops_the_start(migrated: Urls) -> None:
    """A port of the page that is not free stops the start with one line."""
    with _measured(migrated) as (_, page):
        output = failed_start({**migrated, "ADMIN_PORT": str(page.port)})
    assert "cannot listen on ADMIN_HOST and ADMIN_PORT" in output
