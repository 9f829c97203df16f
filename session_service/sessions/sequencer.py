"""The sequencer: gives events their positions in the feed, and announces them to waiting readers."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol

from session_service.sessions.errors import ServiceError
from session_service.sessions.events import EventCursor
from session_service.sessions.feed import EventFeed

BATCH_SIZE = 250  # events that get their positions in one statement
INTERVAL = 0.25  # seconds between two rounds while there are events or waiting readers
IDLE_INTERVAL = 1.0  # seconds until the next round otherwise; another instance may have left an event behind
RETRY_INTERVAL = 2.0  # seconds until the next round after one that failed, so that an outage logs few lines
TRIM_BATCH_SIZE = 1000  # positions that are deleted in one statement
TRIM_INTERVAL = 600.0  # seconds between two deletions of old positions

_log = logging.getLogger(__name__)


class EventPlacer(Protocol):
    """The storage of the feed, as the sequencer needs it."""

    def place(self, count: int, /) -> Awaitable[int]:
        """Give positions to up to `count` events; return the number of events that had none."""

    def newest(self) -> Awaitable[EventCursor]:
        """Return the newest place in the feed."""

    def trim(self, count: int, /) -> Awaitable[int]:
        """Delete up to `count` old positions; return the number of those deleted."""


class Sequencer:
    """Places events while the service runs; every instance does so, and each event gets one position."""

    def __init__(self, events: EventPlacer, feed: EventFeed) -> None:
        self._events = events
        self._feed = feed
        self._woken = asyncio.Event()
        feed.on_wait = self.wake

    def wake(self) -> None:
        """Begin the next round once INTERVAL has passed: there is an event to place, or a reader waits."""
        self._woken.set()

    async def run(self) -> None:
        """Place events until cancelled."""
        while True:
            if not self._feed.has_waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_INTERVAL):
                        await self._woken.wait()
            self._woken.clear()
            succeeded = await _attempt(self._round())
            await asyncio.sleep(INTERVAL if succeeded else RETRY_INTERVAL)

    async def trim(self) -> None:
        """Delete old positions until cancelled."""
        while True:
            await _attempt(self._trim())
            await asyncio.sleep(TRIM_INTERVAL)

    async def _round(self) -> None:
        while await self._events.place(BATCH_SIZE) == BATCH_SIZE:
            pass
        if self._feed.has_waiting:
            self._feed.announce(await self._events.newest())

    async def _trim(self) -> None:
        while await self._events.trim(TRIM_BATCH_SIZE) == TRIM_BATCH_SIZE:
            pass


async def _attempt(work: Awaitable[None]) -> bool:
    """Return whether the work succeeds; log why it fails, since the next round may succeed."""
    try:
        await work
    except ServiceError as error:
        _log.warning("the feed of events was not served: %s", error)
    except Exception as error:  # noqa: BLE001 - the next round may succeed
        _log.error("the feed of events was not served", exc_info=error)
    else:
        return True
    return False
