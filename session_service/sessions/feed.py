"""The feed of events for other services: keeps to the reach of a request, and waits for new events."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from session_service.sessions.errors import EventsGoneError
from session_service.sessions.events import EventCursor, EventFilter, FeedPage, FeedRead
from session_service.sessions.models import Reach

MAX_WAITING = 32  # requests that wait for an event; others are answered at once


class EventReader(Protocol):
    """The storage of the feed, as its readers need it."""

    def read(self, wanted: EventFilter, /) -> Awaitable[FeedRead]:
        """Return the events after the cursor that pass the filters, as many as a page has."""


class EventFeed:
    """Reads the feed, and lets readers that have seen all of it wait for its next event.

    `announce` is called with the newest place in the feed, again and again while `has_waiting` is true: one
    statement then serves all waiting requests, which hold no connection.
    """

    def __init__(self, events: EventReader) -> None:
        self._events = events
        # The place up to which each waiting request has read the feed.
        self._waiting: dict[asyncio.Future[bool], EventCursor] = {}
        self._ends = False
        self.on_wait: Callable[[], None] = _nothing
        """Called when a request begins to wait."""

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits for an event."""
        return bool(self._waiting)

    async def read(self, reach: Reach, wanted: EventFilter, wait: int) -> FeedPage:
        """Return a page of the feed; if it would be empty, wait for an event, up to `wait` seconds.

        Raise EventsGoneError if events after the cursor are missing.
        """
        wanted = wanted.within(reach)
        end = asyncio.get_running_loop().time() + wait
        page, found = await self._read(wanted)
        while not found and page.next == page.newest and await self._wait(page.next, end):
            page, found = await self._read(attrs.evolve(wanted, after=page.next))
        return page

    def announce(self, newest: EventCursor) -> None:
        """End the waiting of each request that has not read up to the newest place."""
        for waiting, place in self._waiting.items():
            if place != newest and not waiting.done():
                waiting.set_result(True)

    def begin_shutdown(self) -> None:
        """End all waiting: from now on every request is answered at once."""
        self._ends = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(False)

    async def _read(self, wanted: EventFilter) -> tuple[FeedPage, int]:
        read = await self._events.read(wanted)
        if wanted.after is not None and not read.has_all_after(wanted.after):
            raise EventsGoneError(read.oldest)
        return read.page, read.found

    async def _wait(self, place: EventCursor, end: float) -> bool:
        """Wait until there are events after the place; return False if there are none by `end`."""
        loop = asyncio.get_running_loop()
        seconds = end - loop.time()
        if self._ends or len(self._waiting) >= MAX_WAITING or seconds <= 0:
            return False
        announced: asyncio.Future[bool] = loop.create_future()
        self._waiting[announced] = place
        self.on_wait()
        try:
            await asyncio.wait({announced}, timeout=seconds)
        finally:
            del self._waiting[announced]
        return announced.done() and announced.result()


def _nothing() -> None:
    pass
