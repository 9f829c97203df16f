"""Reads the feed of events, and gives events their positions in it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from session_service.sessions.events import EventCursor, EventFilter, FeedPage, FeedRead
from session_service.storage import queries
from session_service.storage.event_rows import FeedPageRow, FeedRow, PlaceInput, UnplacedEvent
from session_service.storage.pool import ConnectionPool
from session_service.storage.session_cache import SessionCache

Lane = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Runs a query when one of a limited number of connections is free."""


class EventStore:
    """Reads, places and trims events.

    An event has a position only after the cache has no version below the event's, so that a reader of the
    feed sees no older session afterwards: also if the instance that wrote the event was killed before it
    could raise the cache.
    """

    def __init__(
        self, pool: ConnectionPool, cache: SessionCache, days: int, *, lists: Lane, rounds: Lane
    ) -> None:
        self._pool = pool
        self._cache = cache
        self._days = days
        self._lists = lists
        self._rounds = rounds

    async def read(self, wanted: EventFilter) -> FeedRead:
        """Return the events after the cursor that pass the filters, as many as a page has."""
        row: FeedPageRow = await self._lists(
            partial(
                queries.list_events,
                self._pool,
                after=wanted.after.position if wanted.after else None,
                types=wanted.types,
                quiz_ids=wanted.quiz_ids,
                except_user=wanted.except_user,
                count=wanted.limit,
            )
        )
        page = FeedPage(row.items, _cursor(row, row.reached), _cursor(row, row.newest))
        return FeedRead(page, row.found, _cursor(row, row.trimmed))

    async def newest(self) -> EventCursor:
        """Return the newest place in the feed."""
        row: FeedRow = await self._rounds(partial(queries.get_event_feed, self._pool))
        return _cursor(row, row.newest)

    async def place(self, count: int) -> int:
        """Give positions to up to `count` events; return the number of events that had none."""
        events: list[UnplacedEvent] = await self._rounds(
            partial(queries.list_unplaced_events, self._pool, count=count)
        )
        if events:
            # Of several events of a session the newest comes last.
            await self._cache.raise_versions({event.session_id: event.version for event in events})
            places = [PlaceInput(event.arrival) for event in events]
            await self._rounds(partial(queries.place_events, self._pool, places))
        return len(events)

    async def trim(self, count: int) -> int:
        """Delete up to `count` old positions; return the number of those deleted."""
        return len(await self._rounds(partial(queries.trim_events, self._pool, days=self._days, count=count)))


def _cursor(row: FeedRow, position: int) -> EventCursor:
    return EventCursor(row.era, row.shard, position)
