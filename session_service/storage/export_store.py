"""Reads the pages of exports."""

from functools import partial
from typing import Any

import attrs

from session_service.sessions.exports import MAX_PAGE_BYTES, PageRequest, QuestionsPage, SessionsPage
from session_service.sessions.models import Cursor
from session_service.storage import queries
from session_service.storage.event_store import Lane
from session_service.storage.export_rows import ExportRow, QuestionsRow
from session_service.storage.pool import ConnectionPool
from session_service.storage.session_cache import SessionCache

MAX_STORED_BYTES = 1024 * 1024  # bytes of stored answers whose questions one statement lists


class ExportStore:
    """Reads pages; a version enters the cache before it is returned, so that no later read is older.

    Without a cache no version is returned.
    """

    def __init__(self, pool: ConnectionPool, cache: SessionCache | None, lists: Lane) -> None:
        self._pool = pool
        self._cache = cache
        self._lists = lists

    async def sessions(self, wanted: PageRequest) -> SessionsPage:
        """Return the next sessions, once the cache has no version below those of the page."""
        parameters = _parameters(wanted, MAX_PAGE_BYTES)
        rows: list[ExportRow] = await self._lists(partial(queries.export_sessions, self._pool, **parameters))
        found = [row for row in rows if row.passes]
        if self._cache is None:
            found = [attrs.evolve(row, version=None) for row in found]
        elif versions := {row.id: row.version for row in found if row.version is not None}:
            await self._cache.raise_versions(versions)
        if not rows:
            return SessionsPage(0, None, [])
        return SessionsPage(rows[-1].scanned, _cursor(rows[-1]), found)

    async def questions(self, wanted: PageRequest) -> QuestionsPage:
        """Return the questions of the next sessions, at most MAX_QUESTIONS."""
        parameters = _parameters(wanted, MAX_STORED_BYTES)
        rows: list[QuestionsRow] = await self._lists(
            partial(queries.list_answered_questions, self._pool, **parameters)
        )
        if not rows:
            return QuestionsPage(0, None, [])
        return QuestionsPage(rows[0].scanned, _cursor(rows[0]), rows[0].questions)


def _cursor(row: ExportRow | QuestionsRow) -> Cursor:
    return Cursor.behind(row.created_at, row.id)


def _parameters(wanted: PageRequest, max_bytes: int) -> dict[str, Any]:
    return {
        "user_id": wanted.wanted.user_id,
        "quiz_id": wanted.wanted.quiz_id,
        "status": wanted.wanted.status,
        "before_ms": wanted.after.created_ms if wanted.after else None,
        "before_id": wanted.after.id if wanted.after else None,
        "count": wanted.count,
        "max_bytes": max_bytes,
    }
