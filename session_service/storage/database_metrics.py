"""Metrics of the database: backlogs of the background tasks and sizes, which all processes share."""

import asyncio
import logging
from collections.abc import Sequence

from session_service.metrics import Family, gauge, labelled_gauge
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries
from session_service.storage.connection import reason
from session_service.storage.event_rows import Backlogs
from session_service.storage.pool import ConnectionPool
from session_service.storage.webhook_rows import WebhookLag

TIMEOUT = 1.0  # seconds for the statements: less than a worker has for all its metrics

_log = logging.getLogger(__name__)


class DatabaseMetrics:
    """Measures the database; without a result in time the other metrics are published without it.

    Statements that take longer go on: psycopg takes ten seconds to cancel one of a silent server. The next
    caller waits for them, too, so that there are never more.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._measuring: asyncio.Task[list[Family]] | None = None

    async def __call__(self) -> list[Family]:
        """Return the metrics of the database; none if it is not available."""
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure())
        done, _ = await asyncio.wait({self._measuring}, timeout=TIMEOUT)
        return self._measuring.result() if done else []

    async def _measure(self) -> list[Family]:
        try:
            backlogs = await queries.measure_backlogs(self._pool)
            webhooks = await queries.measure_webhook_lag(self._pool)
        except ServiceUnavailableError:
            return []
        except Exception as error:  # noqa: BLE001 - a statement that is rejected must not take the others along
            _log.error("the database was not measured: %s", reason(error))
            return []
        return [*_backlogs(backlogs), *_webhooks(webhooks)]


def _backlogs(backlogs: Backlogs) -> list[Family]:
    return [
        gauge(
            "sweeper_lag_seconds",
            "Time for which the session that is longest overdue has not been ended.",
            backlogs.sweeper_lag / 1000,
        ),
        gauge(
            "unplaced_events",
            "Events without a position in the feed, counted up to 10000.",
            backlogs.unplaced_events,
        ),
        gauge(
            "unplaced_event_age_seconds",
            "Age of the oldest event without a position in the feed.",
            backlogs.unplaced_event_age / 1000,
        ),
        gauge("journal_bytes", "Size of the journal with its indexes.", backlogs.journal_bytes),
    ]


def _webhooks(lags: Sequence[WebhookLag]) -> list[Family]:
    """Return the lag of each endpoint of the webhooks."""
    by_name = [({"endpoint": lag.name}, lag) for lag in lags]
    return [
        labelled_gauge(
            "webhook_undelivered_events",
            "Events of the feed that an endpoint has not received.",
            [(labels, lag.undelivered) for labels, lag in by_name],
        ),
        labelled_gauge(
            "webhook_lag_seconds",
            "Age of the oldest event that an endpoint has not received.",
            [(labels, lag.oldest_seconds) for labels, lag in by_name],
        ),
        labelled_gauge(
            "webhook_retries",
            "Events that wait for another attempt.",
            [(labels, lag.retries) for labels, lag in by_name],
        ),
        labelled_gauge(
            "webhook_disabled",
            "1 for an endpoint that has responded with 410.",
            [(labels, lag.disabled) for labels, lag in by_name],
        ),
        labelled_gauge(
            "webhook_dispatcher_running",
            "1 while a process sends webhooks.",
            [(labels, lag.working) for labels, lag in by_name],
        ),
    ]
