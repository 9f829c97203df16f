"""Retention: erases sessions that have ended long ago, for as long as the service runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from session_service.sessions.errors import ServiceError

BATCH_SIZE = 100  # sessions that are erased in one transaction
INTERVAL = 60.0  # seconds between two rounds; the first one begins with the service
PAUSE = 0.1  # seconds between two batches, for other work

_log = logging.getLogger(__name__)


async def retain(erase: Callable[[int], Awaitable[int]]) -> None:
    """Erase old sessions until cancelled; of several instances one works at a time.

    `erase` takes the maximum number of sessions and returns the number of those that it has erased.
    """
    while True:
        try:
            erased = 0
            while count := await erase(BATCH_SIZE):
                erased += count
                await asyncio.sleep(PAUSE)
            if erased:
                _log.info("erased %d sessions older than RETENTION_DAYS", erased)
        except ServiceError as error:
            _log.warning("old sessions were not erased: %s", error)
        except Exception as error:  # noqa: BLE001 - the next round may succeed
            _log.error("old sessions were not erased", exc_info=error)
        await asyncio.sleep(INTERVAL)
