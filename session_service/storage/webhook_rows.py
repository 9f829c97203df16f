"""Classes of the rows of the statements of webhooks."""

from uuid import UUID

import attrs
from orjson import Fragment


@attrs.frozen
class RegisteredWebhook:
    """The state of an endpoint: whether it is disabled, and whether its URL is another one since."""

    disabled: bool
    moved: bool


@attrs.frozen
class AcceptedEvents:
    """The number of events taken from the feed, that of trimmed positions, and whether more follow."""

    accepted: int
    missed: int
    more: bool


@attrs.frozen
class DueDelivery:
    """A delivery that is due, with its message, or without one if its line of the journal was erased.

    `failing_seconds` is the time since the first failed attempt.
    """

    position: int
    session_id: UUID
    version: int
    attempts: int
    failing_seconds: int
    message: Fragment | None
    trace_id: str | None


@attrs.frozen
class WebhookLag:
    """The lag of an endpoint: the events that it has not received, and the age of the oldest, in seconds."""

    name: str
    undelivered: int
    oldest_seconds: int
    retries: int
    disabled: bool
    working: bool
