"""Session service: checks the owner of a start or a list; turns a verdict into a session or an error.

`owner` is the only user whose sessions a caller may change, and `reach` has the sessions that it may see.
With None as the owner the caller may act for any user.
"""

from collections.abc import Awaitable
from typing import Protocol
from uuid import UUID

from session_service.sessions.errors import (
    AttemptsExhaustedError,
    ForbiddenError,
    IdempotencyKeyReusedError,
    PayloadTooLargeError,
    RefusedError,
    ServiceUnavailableError,
    SessionCompletedError,
    SessionConflictError,
    SessionExpiredError,
    SessionNotFoundError,
    SessionPausedError,
)
from session_service.sessions.models import (
    Cursor,
    EncodedSession,
    Filter,
    History,
    Provenance,
    Reach,
    ReadPage,
    SessionPage,
    SessionSummary,
    StartResult,
    StartSession,
    StatusCounts,
    Write,
    WriteResult,
)

# The fields of a start that only a service may choose.
_RESERVED = ("time_limit_seconds", "grace_seconds", "on_expiry", "time_factor", "max_attempts", "metadata")

_REFUSALS: dict[str, type[RefusedError]] = {
    "conflict": SessionConflictError,
    "completed": SessionCompletedError,
    "expired": SessionExpiredError,
    "paused": SessionPausedError,
}


class Store(Protocol):
    """The storage that the service needs; it reports other users' sessions as missing."""

    def start(
        self, wanted: StartSession, key: str | None, provenance: Provenance, /
    ) -> Awaitable[WriteResult]:
        """Return a new session, or the one that the key or `if_active: resume` finds."""

    def read(
        self, session_id: UUID, reach: Reach, /, *, seen_version: int, fresh: bool
    ) -> Awaitable[WriteResult | None]:
        """Return the session, no older than `seen_version`; from the database if `fresh` is set."""

    def find_user(self, session_id: UUID, reach: Reach, /) -> Awaitable[str | None]:
        """Return the session's user; an overdue session is not ended."""

    def write(
        self, session_id: UUID, owner: str | None, write: Write, provenance: Provenance, /
    ) -> Awaitable[WriteResult | None]:
        """Return the session after the write, whether or not the write was applied."""

    def find(self, wanted: Filter, reach: Reach, /) -> Awaitable[list[SessionSummary]]:
        """Return the sessions that pass the filter: up to one more than its limit."""

    def now(self) -> int:
        """Return the database's time in milliseconds since 1970."""

    def count(self, wanted: Filter, reach: Reach, /) -> Awaitable[StatusCounts]:
        """Return the number of sessions with each status, of the filter's quiz and user, within reach."""

    def events(
        self, session_id: UUID, reach: Reach, /, *, after: int, limit: int
    ) -> Awaitable[History | None]:
        """Return the lines of the session's journal after a version, at most `limit` of them."""


class SessionService:
    """Starts, lists, reads and writes sessions; raises the contract's errors."""

    def __init__(self, store: Store, *, learner_starts: bool) -> None:
        self._store = store
        self._learner_starts = learner_starts

    async def start(
        self, owner: str | None, wanted: StartSession, key: str | None, provenance: Provenance
    ) -> StartResult:
        """Start an attempt, or return the one that the key or `if_active: resume` finds.

        Raise ForbiddenError if the session would be another user's, or for a choice that is reserved for
        services.
        """
        _check_owner(owner, wanted.user_id)
        if owner is not None:
            self._check_learner_start(wanted)
        result = await self._store.start(wanted, key, provenance)
        if result.verdict == "key_reused":
            raise IdempotencyKeyReusedError
        if result.verdict == "exhausted":
            raise AttemptsExhaustedError
        return StartResult(result.session, new=result.verdict == "ok")

    async def list(self, reach: Reach, wanted: Filter) -> ReadPage:
        """Return the sessions within reach that pass the filter, newest first, after its cursor.

        Raise ForbiddenError if the filter asks for those of another user, who has none within reach.
        """
        if wanted.user_id is not None and not reach.quizzes:
            _check_owner(reach.owner, wanted.user_id)
        found = await self._store.find(wanted, reach)
        items = found[: wanted.limit]
        if wanted.with_answers:
            items = [one for one in items if one.answers is not None]
        counts = None if wanted.quiz_id is None else await self._store.count(wanted, reach)
        last = items[-1] if len(found) > len(items) else None
        cursor = Cursor.behind(last.created_at, last.id) if last else None
        return ReadPage(SessionPage(items, cursor, counts), self._store.now())

    async def read(
        self, reach: Reach, session_id: UUID, *, seen_version: int = 0, fresh: bool = False
    ) -> EncodedSession:
        """Return the session, no older than `seen_version`; raise SessionExpiredError after its end."""
        result = await self._store.read(session_id, reach, seen_version=seen_version, fresh=fresh)
        return session_or_error(session_id, result)

    async def find_user(self, reach: Reach, session_id: UUID) -> str:
        """Return the user of a session, whatever its state; raise SessionNotFoundError out of reach."""
        user_id = await self._store.find_user(session_id, reach)
        if user_id is None:
            raise SessionNotFoundError(session_id)
        return user_id

    async def events(self, reach: Reach, session_id: UUID, *, after: int, limit: int) -> History:
        """Return the lines of the session's journal after a version, at most `limit` of them."""
        history = await self._store.events(session_id, reach, after=after, limit=limit)
        if history is None:
            raise SessionNotFoundError(session_id)
        return history

    async def write(
        self, owner: str | None, session_id: UUID, write: Write, provenance: Provenance
    ) -> EncodedSession:
        """Merge the changes into a running session; if the write is a completion, end it in the same step.

        A repeat of a keyed write changes nothing and returns the session, and so does completing a completed
        session with answers that it has.
        """
        result = await self._store.write(session_id, owner, write, provenance)
        return session_or_error(session_id, result)

    def _check_learner_start(self, wanted: StartSession) -> None:
        if not self._learner_starts:
            raise ForbiddenError("Only the token of a service may start a session.")
        chosen = [name for name in _RESERVED if getattr(wanted, name) is not None]
        if chosen:
            raise ForbiddenError(f"Only the token of a service may choose {', '.join(chosen)}.")


def _check_owner(owner: str | None, user_id: str) -> None:
    if owner not in (None, user_id):
        raise ForbiddenError("The token is not for this user.")


def session_or_error(session_id: UUID, result: WriteResult | None) -> EncodedSession:
    """Return the session of a request that a statement accepted, or raise the error of its verdict."""
    if result is None:
        raise SessionNotFoundError(session_id)
    match result.verdict:
        case "key_reused":
            raise IdempotencyKeyReusedError
        case "conflict" | "completed" | "expired" | "paused":
            raise _REFUSALS[result.verdict](result.session)
        case "too_large":
            raise PayloadTooLargeError(
                "The session would have over 10000 answers or annotations, or over 1048576 bytes of both."
            )
        # Not expected: the store repeats a busy write under the row's lock. A busy write was not applied.
        case "busy":
            raise ServiceUnavailableError("not_applied", reason="lock")
        case _:
            return result.session
