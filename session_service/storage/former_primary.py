"""Rejects connections to a former primary.

A primary that was frozen while another server was promoted still takes connections as a primary for a moment,
until its manager demotes it. It lacks what was committed since: it would show old versions, and new sessions
as missing. Its timeline is older.
"""

import psycopg

from session_service.storage import queries
from session_service.storage.connection import PostgresConnection
from session_service.storage.statements import RejectedError

# The newest timeline that this process has seen of each database cluster.
_newest: dict[int, int] = {}


class FormerPrimaryError(psycopg.OperationalError):
    """The server is a primary of an older timeline than another one before."""


async def reject_former_primary(connection: PostgresConnection) -> None:
    """Close a new connection and raise FormerPrimaryError if it leads to a former primary."""
    try:
        found = await queries.get_timeline(connection)
    except RejectedError:
        # A service that is compatible with PostgreSQL may have no timelines.
        return
    if found.timeline is None:
        return
    newest = _newest.setdefault(found.cluster, found.timeline)
    if found.timeline < newest:
        await connection.close()
        raise FormerPrimaryError(
            f"a former primary: its timeline is {found.timeline}, that of the newest one {newest};"
            " after a restore of an older backup, restart this process"
        )
    _newest[found.cluster] = found.timeline
