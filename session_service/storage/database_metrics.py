"""Metrics of the database: backlogs of the background tasks and sizes, which all processes share."""

from session_service.metrics import Family, gauge
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries
from session_service.storage.pool import ConnectionPool


async def measure_database(pool: ConnectionPool) -> list[Family]:
    """Return the metrics of the database; none if it is not available."""
    try:
        backlogs = await queries.measure_backlogs(pool)
    except ServiceUnavailableError:
        return []
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
