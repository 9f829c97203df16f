"""Connection budget: finds out whether PostgreSQL lets in as many connections as a rolling update needs."""

from session_service.settings import Settings
from session_service.storage import erasure_store, queries
from session_service.storage.pool import ConnectionPool

HEALTH_CONNECTIONS = 1  # of each process, for the readiness check


async def find_shortage(pool: ConnectionPool, settings: Settings, processes: int) -> str:
    """Return a warning if a limit of PostgreSQL is below what twice these processes may open, or "".

    While an instance is updated, its old and its new processes run side by side. Other instances are not
    known. Behind a pooler the limits of PostgreSQL are not those of the service.
    """
    async with pool.connection() as connection:
        if connection.pooled:
            return ""
        limits = await queries.get_connection_limits(connection)
    own = settings.database_pool_size + HEALTH_CONNECTIONS
    erasing = erasure_store.CONNECTIONS if settings.erasing else 0
    for name, limit, each in (
        ("max_connections less the reserved ones", limits.server, own + erasing),
        ("the limit of the database", limits.database, own + erasing),
        ("the limit of the role", limits.role, own),
    ):
        if 0 <= limit < 2 * processes * each:
            return (
                f"PostgreSQL lets in {limit} connections ({name}), and an update of this instance alone may "
                f"open {2 * processes * each} (2 x {processes} processes x {each}): see docs/operations.md"
            )
    return ""
