"""Tests of the alerts: each fires after its fault, with real servers, and none fires on a healthy service."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil
import psycopg
import pytest
import yaml
from redis import Redis

from dev import reaper
from dev.reaper import ROOT
from tests.conftest import Urls, migrate
from tests.support.ageing import lock_overdue
from tests.support.prometheus import RULES, Prometheus, prometheus, quick_rules
from tests.support.receiver import Response, receiving
from tests.support.service import Service, admin_page, folder, free_port, frozen_database, running
from tests.support.waiting import eventually
from tests.support.webhooks import local, started

ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())


class Site:
    """A service with its own PostgreSQL and Redis, and a Prometheus that scrapes it."""

    def __init__(self, urls: Urls, service: Service, admin: int, watcher: Prometheus) -> None:
        self.urls = urls
        self.service = service
        self.admin = admin
        self.prometheus = watcher
        self._session = service.start()["id"]

    def await_alerts(self, *names: str, meanwhile: Callable[[], None] = lambda: None) -> set[str]:
        """Wait until all these alerts fire; return the names of those that fire then."""

        def fire() -> bool:
            meanwhile()
            return set(names) <= self.prometheus.firing()

        eventually(fire, lambda: f"firing: {self.prometheus.firing()}")
        return self.prometheus.firing()

    def work(self) -> None:
        """Be a learner: start, save, read and complete."""
        session_id = self.service.start()["id"]
        self.service.save(session_id, 1, "x")
        self.service.read(session_id)
        self.service.complete(session_id)

    def save(self) -> None:
        """Save an answer in one session, which may fail."""
        self.service.save(self._session, 1, "x")

    def fail_to_start(self) -> None:
        """Start a session, which fails while PostgreSQL is away."""
        self.service.client.post("/api/sessions/start", json={"user_id": "u", "quiz_id": 7})

    def read_history(self) -> None:
        """Read the history of one session."""
        self.service.client.get(f"/api/sessions/{self._session}/events")

    def kill_postgres(self) -> None:
        """Kill PostgreSQL."""
        with psycopg.connect(self.urls["MIGRATION_DATABASE_URL"]) as database:
            (postmaster,) = psutil.Process(database.info.backend_pid).parents()[:1]
        postmaster.kill()

    @contextmanager
    def frozen_redis(self) -> Iterator[None]:
        """Freeze Redis until the end of the block."""
        with Redis.from_url(self.urls["REDIS_URL"]) as client:
            process = psutil.Process(client.info("server")["process_id"])
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    @contextmanager
    def held_rows(self) -> Iterator[None]:
        """Hold the row of the session for most of each second, until the end of the block."""
        over = Event()

        def hold() -> None:
            with psycopg.connect(self.urls["MIGRATION_DATABASE_URL"]) as holder:
                while not over.is_set():
                    holder.execute("select from quiz_sessions where id = %s for update", [self._session])
                    over.wait(0.9)
                    holder.commit()
                    over.wait(0.05)

        holding = Thread(target=hold)
        holding.start()
        try:
            yield
        finally:
            over.set()
            holding.join()


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of its own for each test: its faults remain."""
    admin = free_port()
    with folder() as base, reaper.servers(base) as urls:
        migrate(urls)
        with running(urls, ADMIN_PORT=str(admin)) as service, prometheus(admin, quick_rules()) as watcher:
            yield Site(urls, service, admin, watcher)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_each_alert_has_an_entry_in_the_runbook(rule: dict[str, dict[str, str]]) -> None:
    """An alert links to a heading of docs/operations.md, which says what to do."""
    page = (ROOT / "docs" / "operations.md").read_text()
    file, anchor = rule["annotations"]["runbook_url"].split("#")
    assert file == "docs/operations.md"
    (heading,) = (line for line in page.splitlines() if line.lower() == f"### {anchor}")
    entry = page.split(heading)[1].split("\n### ")[0]
    assert heading == f"### {rule['alert']}"
    assert "*Do:*" in entry or "*Do*" in entry


@pytest.mark.needs("promtool")
def test_promtool_accepts_rules_and_metrics(migrated: Urls) -> None:
    """`promtool check rules` and `check metrics` find nothing."""
    port = free_port()
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, capture_output=True)
    with running(migrated, ADMIN_PORT=str(port)) as service:
        service.start()
        service.client.get("/nothing")
        page = admin_page(port)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.needs("prometheus")
def test_every_query_of_the_dashboard_is_valid(site: Site) -> None:
    """Prometheus evaluates each query of the dashboard, which names metrics of the page."""
    page = admin_page(site.admin)
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "10s").replace("$job", "session-service")
            site.prometheus.query(expression)
            for name in re.findall(r"session_service_[a-z_]+", expression):
                base = re.sub("_(bucket|count|sum|total)$", "", name)
                assert f"# TYPE {base} " in page or f"# TYPE {name} " in page, name


@pytest.mark.needs("prometheus")
def test_no_alert_fires_on_a_healthy_service(site: Site) -> None:
    """While learners start, save and complete for twenty scrapes, no alert fires or waits to fire."""
    scrapes = "session_service_request_duration_seconds_count"
    # Before the first scrape Prometheus knows no instance.
    eventually(lambda: site.prometheus.query("ALERTS") == [])
    for _ in range(20):
        site.work()
        assert site.prometheus.query("ALERTS") == []
    assert site.prometheus.query(scrapes)


@pytest.mark.needs("prometheus")
def test_alerts_of_a_killed_postgresql(site: Site) -> None:
    """After PostgreSQL is killed its alert fires, and that of failed requests."""
    site.kill_postgres()
    site.await_alerts("SessionServiceDatabaseDown", "SessionServiceErrors", meanwhile=site.fail_to_start)


@pytest.mark.needs("prometheus")
def test_alert_of_a_frozen_redis(site: Site) -> None:
    """While Redis does not respond its alert fires, and no other."""
    with site.frozen_redis():
        assert site.await_alerts("SessionServiceCacheDown", meanwhile=site.work) == {
            "SessionServiceCacheDown"
        }


@pytest.mark.needs("prometheus")
def test_alert_of_slow_saves(site: Site) -> None:
    """While another transaction holds the rows of sessions for most of each second, saves are slow."""
    with site.held_rows():
        site.await_alerts("SessionServiceSlow", meanwhile=site.save)


@pytest.mark.needs("prometheus")
def test_alert_of_overload(site: Site) -> None:
    """While PostgreSQL executes nothing, queued requests are rejected, which is the alert of an overload."""
    with frozen_database(site.urls["MIGRATION_DATABASE_URL"]):
        site.await_alerts("SessionServiceOverloaded", meanwhile=site.fail_to_start)


@pytest.mark.needs("prometheus")
def test_alert_of_a_stopped_sweeper(site: Site) -> None:
    """A session that is overdue for an hour, and whose row is locked, is not ended."""
    with psycopg.connect(site.urls["MIGRATION_DATABASE_URL"]) as holder:
        session_id = lock_overdue(site.service, holder)
        assert session_id
        site.await_alerts("SessionServiceSweeperStopped")


@pytest.mark.needs("prometheus")
def test_alert_of_a_stopped_feed(site: Site) -> None:
    """While another transaction holds the lock of the feed, its events get no position."""
    with psycopg.connect(site.urls["MIGRATION_DATABASE_URL"]) as holder:
        holder.execute("select from event_feeds for update")
        session_id = site.service.start()["id"]
        with psycopg.connect(site.urls["MIGRATION_DATABASE_URL"], autocommit=True) as owner:
            owner.execute(
                "update session_events set at = at - interval '1 hour' where session_id = %s", [session_id]
            )
        site.await_alerts("SessionServiceFeedStopped")


@pytest.mark.needs("prometheus")
def test_alert_of_a_bug(site: Site) -> None:
    """A response with 500, here for a right that the service's role has lost, fires the alert of a bug."""
    with psycopg.connect(site.urls["MIGRATION_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("revoke select on session_events from session_service")
        site.read_history()
        site.await_alerts("SessionServiceBug")


@pytest.mark.needs("prometheus")
def test_alert_of_an_instance_that_is_down(site: Site) -> None:
    """After the service is killed the alert of the instance fires."""
    site.service.process.kill()
    site.await_alerts("SessionServiceDown")


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(
    ("series", "shown"),
    [
        ({"up": 1}, "a does not serve"),
        ({"up": 0, "session_service_database_available": 1}, "a does not serve"),
        ({}, "Prometheus knows no instance"),
        ({"up": 1, "session_service_database_available": 0}, None),
        ({"up": 1, "session_service_database_available": 1}, None),
    ],
)
def test_an_instance_without_metrics_of_the_database_does_not_serve(
    series: dict[str, int], shown: str | None, tmp_path: Path
) -> None:
    """The alert fires, too, for an instance that never ends its start, and if there is no instance at all."""
    labels = {"job": "session-service"} | ({"instance": "a"} if series else {})
    named = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    alert = {
        "exp_labels": {"severity": "page", **labels},
        "exp_annotations": {"summary": shown, "runbook_url": "docs/operations.md#sessionservicedown"},
    }
    test = {
        "interval": "15s",
        "input_series": [
            {"series": f"{name}{{{named}}}", "values": f"{value}x20"} for name, value in series.items()
        ],
        "alert_rule_test": [
            {"eval_time": "3m", "alertname": "SessionServiceDown", "exp_alerts": [alert] if shown else []}
        ],
    }
    rules = str(ROOT / "deploy/prometheus/alerts.yaml")
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": [rules], "tests": [test]}))
    subprocess.run(["promtool", "test", "rules", tmp_path / "test.yaml"], check=True)


@pytest.mark.needs("prometheus")
def test_alerts_of_webhooks(site: Site) -> None:
    """A receiver that is gone, one that responds with 410, and a killed process have an alert each."""
    with receiving() as receiver:
        receiver.respond = lambda _: Response(410)
        endpoints = {"gone": local(f"http://127.0.0.1:{free_port()}/"), "refusing": local(receiver.url())}
        with (
            started(site.urls, endpoints) as process,
            psycopg.connect(site.urls["MIGRATION_DATABASE_URL"], autocommit=True) as owner,
        ):
            process.await_line("this process sends webhooks")
            site.service.start()
            eventually(lambda: owner.execute("select from webhook_deliveries").rowcount > 0)
            owner.execute("update webhook_deliveries set placed_at = placed_at - interval '1 hour'")
            site.await_alerts("SessionServiceWebhookLate", "SessionServiceWebhookDisabled")
            process.kill()
            site.await_alerts("SessionServiceWebhooksStopped")
