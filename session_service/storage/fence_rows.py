"""Classes of the rows of the statements of bin/fence."""

from datetime import datetime
from uuid import UUID

import attrs


@attrs.frozen
class FenceSize:
    """The number of all sessions and of those that run or are paused; the highest version and its session."""

    sessions: int
    running: int
    highest: int
    highest_id: UUID | None


@attrs.frozen
class OpenFence:
    """A fence that is not finished, with the number of sessions that are done."""

    era: UUID
    began_at: datetime
    sessions: int


@attrs.frozen
class BegunFence:
    """The era of the feed that has begun with a fence."""

    era: UUID


@attrs.frozen
class FencedBatch:
    """The number of sessions of a batch, and of all that are done."""

    fenced: int
    total: int
