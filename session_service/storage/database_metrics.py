"""Metrics of the database: backlogs of the background tasks and sizes, which all processes share."""

from collections.abc import Sequence

from session_service.metrics import Family, gauge, labelled_gauge
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries
from session_service.storage.event_rows import Backlogs
from session_service.storage.pool import ConnectionPool
from session_service.storage.statements import RejectedError
from session_service.storage.webhook_rows import WebhookLag


async def measure_database(pool: ConnectionPool) -> list[Family]:
    """Return the metrics of the database; none if it is not available or rejects the statements."""
    try:
        backlogs, webhooks = await queries.measure_backlogs(pool), await queries.measure_webhook_lag(pool)
    except (ServiceUnavailableError, RejectedError):
        # The page has the other metrics, also while the role lacks a right.
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
