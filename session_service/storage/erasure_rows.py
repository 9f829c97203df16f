"""Classes of the rows of the statements that erase."""

from uuid import UUID

import attrs


@attrs.frozen
class SessionId:
    """The id of a session that is locked, or was erased."""

    id: UUID


@attrs.frozen
class RetentionTurn:
    """Whether this transaction has the turn to erase old sessions."""

    is_taken: bool


@attrs.frozen
class ErasableCounts:
    """The number of rows that erasing would delete, and of lines of other journals that name the user."""

    sessions: int
    lines: int
    positions: int
    actors: int


@attrs.frozen
class MissingRight:
    """A right that a role needs and lacks."""

    name: str
