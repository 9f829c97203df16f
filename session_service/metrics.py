"""Metrics: counters, histograms and gauges of this process; `server/admin.py` publishes them.

Names and units follow Prometheus's conventions (https://prometheus.io/docs/practices/naming/). Only the event
loop changes a value, so none needs a lock: observing one takes 0.2 µs, with a histogram of prometheus_client
1.2 µs.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from attrs import define, field, frozen

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min"]
Sample = tuple[str, dict[str, str], float]

PREFIX = "session_service_"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@frozen
class Family:
    """A metric and its samples; `merge` says how the values of several processes become one."""

    name: str
    documentation: str
    kind: Kind
    samples: list[Sample]
    merge: Merge = "sum"


@define
class Counter:
    """A count that only rises, for each combination of labels."""

    name: str
    documentation: str
    labels: tuple[str, ...]
    _values: dict[tuple[str, ...], int] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        _metrics.append(self)

    def add(self, *values: str, count: int = 1) -> None:
        """Add to the count with these values of the labels."""
        self._values[values] = self._values.get(values, 0) + count

    def family(self) -> Family:
        """Return the current samples."""
        samples: list[Sample] = [
            (f"{self.name}_total", dict(zip(self.labels, values, strict=True)), count)
            for values, count in self._values.items()
        ]
        return Family(self.name, self.documentation, "counter", samples)


@define
class Histogram:
    """The distribution of a value in cumulative buckets, for each combination of labels."""

    name: str
    documentation: str
    labels: tuple[str, ...]
    bounds: Sequence[float]
    _children: dict[tuple[str, ...], "Buckets"] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        _metrics.append(self)

    def observe(self, value: float, *labels: str) -> None:
        """Add a value to the distribution with these values of the labels."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = Buckets(len(self.bounds))
        child.counts[bisect_left(self.bounds, value)] += 1
        child.total += value

    def family(self) -> Family:
        """Return the current samples."""
        samples: list[Sample] = []
        for values, child in self._children.items():
            labels = dict(zip(self.labels, values, strict=True))
            count = 0
            for bound, one in zip([*map(str, map(float, self.bounds)), "+Inf"], child.counts, strict=True):
                count += one
                samples.append((f"{self.name}_bucket", {**labels, "le": bound}, count))
            samples += [(f"{self.name}_count", labels, count), (f"{self.name}_sum", labels, child.total)]
        return Family(self.name, self.documentation, "histogram", samples)


class Buckets:
    """The number of values in each bucket, the last one without an upper bound, and their sum."""

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.total = 0.0


@define
class Gauge:
    """A value that rises and falls, read when it is published."""

    name: str
    documentation: str
    label: str = ""
    merge: Merge = "sum"
    _read: dict[str, Callable[[], float]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        _metrics.append(self)

    def set_function(self, read: Callable[[], float], value: str = "") -> None:
        """Read the value, that of the label's `value`, with this function."""
        self._read[value] = read

    def family(self) -> Family:
        """Return the current samples."""
        samples: list[Sample] = [
            (self.name, {self.label: value} if self.label else {}, float(read()))
            for value, read in self._read.items()
        ]
        return Family(self.name, self.documentation, "gauge", samples, self.merge)


_metrics: list[Counter | Histogram | Gauge] = []

request_seconds = Histogram(
    PREFIX + "request_duration_seconds",
    "Time from the arrival of a request's headers to the end of its response, by operation and status.",
    ("operation", "status"),
    _SECONDS,
)
rejected_requests = Counter(
    PREFIX + "rejected_requests", "Requests that were rejected without having been processed.", ("reason",)
)
requests_in_flight = Gauge(PREFIX + "requests_in_flight", "Requests that have arrived and are processed.")
body_bytes = Gauge(PREFIX + "request_body_bytes", "Memory of the bodies of requests in flight.")
batch_size = Histogram(PREFIX + "batch_size", "Calls that were processed as one batch.", ("lane",), _SIZES)
queue_seconds = Histogram(
    PREFIX + "queue_duration_seconds", "Time that a call was queued for its batch.", ("lane",), _SECONDS
)
pool_connections = Gauge(PREFIX + "database_connections", "Connections to PostgreSQL by state.", "state")
pool_waiting = Gauge(PREFIX + "database_connection_waiters", "Requests that wait for a connection.")
database_available = Gauge(
    PREFIX + "database_available", "1 while PostgreSQL accepts connections, 0 while it refuses.", merge="min"
)
cache_reads = Counter(
    PREFIX + "cache_reads", "Reads of the cache by result: hit, miss, or unavailable.", ("result",)
)
cache_available = Gauge(
    PREFIX + "cache_available", "1 while Redis serves reads, 0 while they go to PostgreSQL.", merge="min"
)
cache_dirty = Gauge(PREFIX + "cache_dirty_sessions", "Versions that are still to be written to Redis.")
info = Gauge(PREFIX + "info", "1, with the version of the service.", "version", merge="max")


async def collect(*, with_database: bool = True) -> list[Family]:
    """Return all metrics of the process, and those of the database."""
    return [*(metric.family() for metric in _metrics), *(await database() if with_database else ())]


def gauge(name: str, documentation: str, value: float) -> Family:
    """Return a gauge of the database, of which every process has the same value."""
    return labelled_gauge(name, documentation, [({}, value)])


def labelled_gauge(name: str, documentation: str, values: list[tuple[dict[str, str], float]]) -> Family:
    """Return a gauge of the database with labels, of which every process has the same values."""
    full = PREFIX + name
    samples: list[Sample] = [(full, labels, float(value)) for labels, value in values]
    return Family(full, documentation, "gauge", samples, "max")


async def _none() -> list[Family]:
    return []


database: Callable[[], Awaitable[list[Family]]] = _none
"""Returns the metrics of the database; the composition root sets it."""
