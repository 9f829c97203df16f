"""Tracing: an OpenTelemetry span for each request, with TRACES=yes and the extra `opentelemetry`.

The SDK reads its own settings, such as OTEL_EXPORTER_OTLP_ENDPOINT, from the environment:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import os
import time
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from session_service.api.access_log import Entry

# These log what they refuse: a client's tracestate, and OTEL_EXPORTER_OTLP_HEADERS, which has a secret.
for _name in ("opentelemetry.trace.span", "opentelemetry.util.re"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_FLUSH_TIMEOUT = 1.0  # seconds in which the last spans are sent at the end of the process
_PARENT_HEADERS = {b"traceparent", b"tracestate"}


class Tracer:
    """Makes the spans, and sends them in batches from a thread of its own."""

    def __init__(self, version: str) -> None:
        chosen = os.environ.get("OTEL_SERVICE_NAME") or "session-service"
        resource = Resource.create({"service.name": chosen, "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("session_service", version)
        self._propagator = TraceContextTextMapPropagator()

    def add(self, entry: Entry) -> None:
        """Make the span of a request that has ended, below the span of its `traceparent`.

        Names are those of the semantic conventions for HTTP servers. A span has no query, address or user.
        """
        end, scope = time.time_ns(), entry.scope
        method = scope["method"]
        span = self._tracer.start_span(
            scope.get("operation") or method,
            context=self._propagator.extract(
                {
                    name.decode(): value.decode("latin-1")
                    for name, value in scope["headers"]
                    if name in _PARENT_HEADERS
                }
            ),
            kind=SpanKind.SERVER,
            start_time=end - round(entry.duration * 1e9),
            attributes={
                "http.request.method": method,
                "http.response.status_code": entry.status,
                "session_service.request_id": scope["request_id"],
                "session_service.queue_seconds": entry.queued,
            },
        )
        if session_id := scope.get("session_id"):
            span.set_attribute("session_service.session_id", str(session_id))
        if entry.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def close(self) -> None:
        """Send the last spans, for at most a second: the receiver may be away."""
        sending = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(_FLUSH_TIMEOUT)
