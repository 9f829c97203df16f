"""Admin page: serves `/metrics` on ADMIN_HOST and ADMIN_PORT, in a thread of its own.

The thread asks the event loop for the metrics, so that every value is read where it is changed.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from session_service.metrics import Family, Merge
from session_service.settings import Settings

SCRAPE_TIMEOUT = 5.0  # seconds in which the event loop must return the metrics: half of Prometheus's default

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Collect = Callable[[], Awaitable[list[Family]]]

_MERGED: dict[Merge, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max, "min": min}


class _UnresponsiveError(Exception):
    """The event loop does not respond, or has ended."""


class _LoopCollector(Collector):
    """Collects the metrics of an event loop from another thread."""

    def __init__(self, collect: Collect, loop: asyncio.AbstractEventLoop) -> None:
        self._collect = collect
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        request = asyncio.run_coroutine_threadsafe(self._run(), self._loop)
        try:
            families = request.result(SCRAPE_TIMEOUT)
        except (FutureTimeoutError, CancelledError):
            request.cancel()
            raise _UnresponsiveError from None
        for family in families:
            metric = Metric(family.name, family.documentation, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)
            yield metric

    async def _run(self) -> list[Family]:
        return await self._collect()


def publish(settings: Settings, collect: Collect, loop: asyncio.AbstractEventLoop) -> None:
    """Serve the metrics until the process ends; exit with 1 if the port is not free. Off without a port."""
    if settings.admin is None:
        return
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_LoopCollector(collect, loop))
    try:
        server, _ = start_http_server(settings.admin.port, settings.admin.host, registry)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no host name"
        sys.exit(f"session-service: cannot listen on ADMIN_HOST and ADMIN_PORT: {reason}")
    page = server.get_app()
    assert page is not None
    server.set_app(partial(_respond, page))


def _respond(page: "WSGIApplication", environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    """Return the page, or 503 if the event loop does not respond: an empty page would count as a success."""
    try:
        return page(environ, start)
    except _UnresponsiveError:
        start("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"The event loop does not respond.\n"]


def process_families() -> list[Family]:
    """Return CPU time, memory and open files of this process, under the names that all exporters use."""
    return [
        Family(
            metric.name,
            metric.documentation,
            "counter" if metric.type == "counter" else "gauge",
            [(sample.name, sample.labels, sample.value) for sample in metric.samples],
            "min" if metric.name == "process_start_time_seconds" else "sum",
        )
        for metric in ProcessCollector(registry=None).collect()
    ]


def merge(snapshots: Iterable[list[Family]]) -> list[Family]:
    """Return the metrics of several processes as one, each by its own rule."""
    by_name: dict[str, list[Family]] = defaultdict(list)
    for snapshot in snapshots:
        for family in snapshot:
            by_name[family.name].append(family)
    return [_merged(families) for families in by_name.values()]


def _merged(families: list[Family]) -> Family:
    values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = defaultdict(list)
    for family in families:
        for name, labels, value in family.samples:
            values[name, tuple(labels.items())].append(value)
    first = families[0]
    function = _MERGED[first.merge]
    samples = [(name, dict(labels), function(found)) for (name, labels), found in values.items()]
    return Family(first.name, first.documentation, first.kind, samples, first.merge)
