"""The readiness check of PostgreSQL: a statement that exercises every type that requests use."""

import logging
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from attrs import asdict
from orjson import Fragment

from session_service.environment import SettingError
from session_service.sessions import codec
from session_service.sessions.errors import ServiceUnavailableError
from session_service.storage import queries, session_settings
from session_service.storage.connection import reason
from session_service.storage.pool import ConnectionPool
from session_service.storage.queries import Probe
from session_service.storage.statements import RejectedError

# Values that another encoding, date format or time zone would change.
PROBE = Probe(
    text="Zoë 😀",
    number=2_147_483_647,
    moment=datetime(2001, 2, 3, 4, 5, 6, 789_000, UTC),
    id=UUID("fedcba98-7654-4321-8fed-cba987654321"),
    document=Fragment('{"1": "Zoë 😀"}'.encode()),
)

_log = logging.getLogger(__name__)


class ReadinessCheck:
    """Checks whether PostgreSQL can serve requests; logs each new reason for a failure."""

    def __init__(self, pool: ConnectionPool) -> None:
        # A separate pool of one connection: a check must succeed when requests hold every other connection.
        self._pool = pool
        self._fault = ""

    async def __call__(self) -> bool:
        """Return whether PostgreSQL can serve requests."""
        fault = await self._find_fault()
        if fault and fault != self._fault:
            _log.warning("not ready: %s", fault)
        self._fault = fault
        return not fault

    async def check_at_start(self) -> None:
        """Raise SettingError if PostgreSQL rejects the statement of the check.

        A database that is unreachable or read-only may recover: the service starts, and is not ready until it
        does.
        """
        try:
            await self._probe()
        except RejectedError as error:
            raise SettingError(f"PostgreSQL rejects what the service needs: {reason(error)}") from error
        except ServiceUnavailableError as error:
            _log.warning("not ready: %s", reason(error))

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def _find_fault(self) -> str:
        try:
            await self._probe()
        except Exception as error:  # noqa: BLE001 - after any error the check has failed
            return reason(error)
        return ""

    async def _probe(self) -> None:
        """Send a value of each type as every statement does; raise the statement's errors.

        Raise RejectedError if PostgreSQL returns a different value.
        """
        row = await queries.ping(self._pool, **asdict(PROBE))
        if codec.encode(row) != codec.encode(PROBE):
            raise RejectedError("ping: PostgreSQL returns other values than it was sent")
        async with self._pool.connection() as connection:
            await session_settings.configure(connection)
