"""Classes of the records and rows of the statements of the feed."""

from uuid import UUID

import attrs
from orjson import Fragment


@attrs.define(slots=False)
class PlaceInput:
    """A record of place_events: an event of list_unplaced_events."""

    arrival: int


@attrs.frozen
class UnplacedEvent:
    """A committed event without a position; the arrival is its number in the order of statements."""

    arrival: int
    session_id: UUID
    version: int


@attrs.frozen
class PlacedEvent:
    """The position of an event in the feed."""

    position: int


@attrs.frozen
class FeedRow:
    """The state of the feed: its era, the newest position and the last one that was deleted."""

    era: UUID
    shard: int
    newest: int
    trimmed: int


@attrs.frozen
class FeedPageRow(FeedRow):
    """A page of the feed, the number of its events, and the last position that was looked at."""

    reached: int
    found: int
    items: Fragment


@attrs.frozen
class Backlogs:
    """The backlogs of the background tasks, times in milliseconds, and the size of the journal in bytes."""

    sweeper_lag: int
    unplaced_events: int
    unplaced_event_age: int
    journal_bytes: int
