"""Tests of TRACES=yes: a span for each request, sent to a receiver of OpenTelemetry's protocol."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.service import failed_start, free_port, running
from tests.support.waiting import LIMIT

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}  # milliseconds between two batches of spans


class Collector(ThreadingHTTPServer):
    """A receiver of spans; it answers once `open` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: SimpleQueue[tuple[dict[str, Any], Any]] = SimpleQueue()
        self.asked = Event()
        self.open = Event()
        self.open.set()

    def span(self, name: str) -> tuple[dict[str, Any], Any]:
        """Return the next span of this name, and the attributes of its resource."""
        while True:
            resource, span = self.spans.get(timeout=LIMIT)
            if span.name == name:
                return resource, span


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.set()
        self.server.open.wait()
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    self.server.spans.put((resource, span))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[tuple[Collector, dict[str, str]]]:
    """Run a receiver; yield it with the settings of a service that sends to it."""
    with Collector() as collector:
        Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}"
        yield collector, {"TRACES": "yes", "OTEL_EXPORTER_OTLP_ENDPOINT": url, **SOON}
        collector.open.set()
        collector.shutdown()


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_a_request_is_a_span_of_its_trace(migrated: Urls, server: str) -> None:
    """A span is named after its operation, belongs to the caller's span, and has status and session."""
    with collecting() as (collector, settings), running(migrated, SERVER=server, **settings) as service:
        session = service.start(user_id="ada-lovelace")
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "r-1"}
        service.save(session["id"], 1, "x", headers)
        resource, started = collector.span("startSession")
        _, saved = collector.span("updateProgress")
        assert resource["service.name"] == "session-service"
        assert (saved.trace_id.hex(), saved.parent_span_id.hex()) == (TRACE, PARENT)
        assert (started.trace_id.hex(), started.parent_span_id) != (TRACE, PARENT)
        assert saved.kind == saved.SPAN_KIND_SERVER
        assert saved.start_time_unix_nano < saved.end_time_unix_nano
        attributes = values(saved.attributes)
        assert attributes.pop("session_service.queue_seconds") >= 0
        assert attributes == {
            "http.request.method": "PUT",
            "http.response.status_code": 200,
            "session_service.request_id": "r-1",
            "session_service.session_id": session["id"],
        }
        assert "ada" not in str(started) + str(saved)


def test_a_failed_request_is_an_error(migrated_database: tuple[Urls, psycopg.Connection]) -> None:
    """The span of a 500 has the status of an error, that of a 404 has not."""
    urls, owner = migrated_database
    with collecting() as (collector, settings), running(urls, **settings) as service:
        assert service.client.get("/nowhere").status_code == 404
        owner.execute("alter table quiz_sessions rename to renamed")
        assert service.read(uuid4()).status_code == 500
        assert collector.span("GET")[1].status.code == 0
        failed = collector.span("getSession")[1].status
    assert failed.code == failed.STATUS_CODE_ERROR


def test_a_receiver_that_is_away_or_hangs_delays_nothing(migrated: Urls) -> None:
    """Requests are served, and graceful shutdown ends, while no span can be sent."""
    with collecting() as (collector, settings):
        collector.open.clear()
        with running(migrated, **settings) as service:
            assert service.save(service.start()["id"], 1, "x").status_code == 200
            assert collector.asked.wait(LIMIT)
            assert service.save(service.start()["id"], 1, "x").status_code == 200
            service.process.terminate()
            assert service.process.wait(LIMIT) == 0
    away = {"TRACES": "yes", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", **SOON}
    with running(migrated, **away) as service:
        assert service.save(service.start()["id"], 1, "x").status_code == 200


def test_the_last_spans_are_sent_at_the_end(migrated: Urls) -> None:
    """Spans of the last requests before graceful shutdown are sent, however long a batch waits."""
    with collecting() as (collector, settings):
        with running(migrated, **{**settings, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}) as service:
            service.start()
            service.process.terminate()
            service.process.wait(LIMIT)
        collector.span("startSession")


def test_without_traces_nothing_of_it_is_loaded() -> None:
    """The service loads no exporter of OpenTelemetry unless TRACES=yes; redis-py may load the SDK."""
    code = "import sys, session_service.__main__; sys.exit('opentelemetry.exporter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_wrong_variable_of_the_sdk_is_refused(migrated: Urls) -> None:
    """A variable OTEL_... that the SDK rejects ends the start with one line, without its value."""
    env = {**migrated, "TRACES": "yes", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "canary"}
    refused = "session-service: TRACES=yes: a variable OTEL_... has a value that is not allowed\n"
    assert failed_start(env) == refused


def test_traces_without_the_extra_are_refused(migrated: Urls, tmp_path: Path) -> None:
    """TRACES=yes without the extra ends the start with one line that names it."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('not installed')")
    env = {**migrated, "TRACES": "yes", "PYTHONPATH": str(tmp_path)}
    refused = "session-service: TRACES=yes needs the extra opentelemetry: not installed\n"
    assert failed_start(env) == refused
