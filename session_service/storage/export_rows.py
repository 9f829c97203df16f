"""The rows of statements about exports."""

from datetime import datetime
from uuid import UUID

import attrs

from session_service.sessions.models import SessionSummary


@attrs.frozen
class ExportRow(SessionSummary):
    """A session of a page of an export, with the number of sessions that were read up to it.

    Only the last row of a page may not pass the filter; it has no answers.
    """

    passes: bool = True
    scanned: int = 0


@attrs.frozen
class QuestionsRow:
    """The questions with an answer of a page of sessions: the last one, and the number of sessions."""

    id: UUID
    created_at: datetime
    scanned: int
    questions: list[str]
