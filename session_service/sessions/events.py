"""Domain values of the feed: its cursors, filters and pages."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import attrs
from attrs import frozen
from orjson import Fragment

from session_service.sessions.models import ExternalId, Reach

EventType = Literal[
    "session.started",
    "session.completed",
    "session.expired",
    "session.deadline_changed",
    "session.paused",
    "session.resumed",
    "session.reopened",
    "session.fenced",
    "session.erased",
]
"""The types of events in the feed: all but saves."""


@frozen
class EventCursor:
    """A place in the feed: the position of the last event that a reader has seen.

    Positions of another era are those of another feed: the database was restored, for example.
    """

    era: UUID
    shard: int
    position: int


@frozen
class EventFilter:
    """The filters of the feed, its page size and its cursor."""

    after: EventCursor | None
    types: Sequence[EventType] | None
    quiz_ids: Sequence[ExternalId] | None
    limit: int
    except_user: str | None = None

    def within(self, reach: Reach) -> "EventFilter":
        """Return the filter for the quizzes within reach, without the sessions of the reach's owner.

        An owner sees no other actor in the history of its session, and the feed shows all of them.
        """
        if reach.owner is None:
            return self
        quizzes = reach.quizzes if self.quiz_ids is None else reach.quizzes.intersection(self.quiz_ids)
        return attrs.evolve(self, quiz_ids=sorted(quizzes), except_user=reach.owner)


@frozen
class FeedPage:
    """Events in the order of their commits, as unparsed JSON text.

    `next` is the place up to which the page has read the feed, `newest` the place after the newest event.
    """

    items: Fragment
    next: EventCursor
    newest: EventCursor


@frozen
class FeedRead:
    """A page of the feed with the number of its events, and the place before the oldest event of the feed."""

    page: FeedPage
    found: int
    oldest: EventCursor

    def has_all_after(self, cursor: EventCursor) -> bool:
        """Return whether the feed has every event after the cursor."""
        newest = self.page.newest
        is_same = (cursor.era, cursor.shard) == (newest.era, newest.shard)
        return is_same and self.oldest.position <= cursor.position <= newest.position
