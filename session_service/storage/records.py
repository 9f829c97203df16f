"""Builds the records of batched statements, with digests and provenance, and parameters of other ones."""

from collections import defaultdict
from typing import Any, TypeVar
from uuid import UUID

from session_service.sessions import codec, journal
from session_service.sessions.codec import Digester
from session_service.sessions.ids import new_session_id
from session_service.sessions.models import (
    Changes,
    Filter,
    Provenance,
    Reach,
    StartSession,
    Write,
)
from session_service.sessions.order_models import Order
from session_service.settings import Settings
from session_service.storage.order_rows import OrderInput
from session_service.storage.queries import ReadInput, StartInput, WriteInput

Numbered = TypeVar("Numbered", ReadInput, WriteInput, StartInput, OrderInput)


def start_record(
    wanted: StartSession, key: str | None, provenance: Provenance, digester: Digester, settings: Settings
) -> StartInput:
    """Return the record of a start, with the service's defaults."""
    limit, grace = wanted.time_limit_seconds, wanted.grace_seconds
    chosen: dict[str, Any] = {
        "time_limit_seconds": settings.session_timeout_seconds if limit is None else limit,
        "grace_seconds": settings.grace_seconds if grace is None else grace,
        "on_expiry": wanted.on_expiry or "expire",
        "time_factor": wanted.time_factor or 1.0,
        "metadata": wanted.metadata or {},
    }
    return StartInput(
        id=new_session_id(wanted.user_id),
        user_id=wanted.user_id,
        quiz_id=wanted.quiz_id,
        max_attempts=wanted.max_attempts,
        key=key,
        digest=digester(wanted) if key else None,
        actor=provenance.actor,
        client_id=provenance.client_id,
        request_id=provenance.request_id,
        trace_id=provenance.trace_id,
        shown={"user_id": wanted.user_id, "quiz_id": codec.shown_id(wanted.quiz_id), **chosen},
        resume=wanted.if_active == "resume",
        locked=wanted.if_active == "resume" or wanted.max_attempts is not None,
        **chosen,
    )


def write_record(
    session_id: UUID, owner: str | None, write: Write, provenance: Provenance, digester: Digester
) -> tuple[WriteInput, int]:
    """Return the record of a write, and the size of its change as JSON in bytes."""
    change = journal.change_of(write)
    size = codec.size(change)
    record = WriteInput(
        id=session_id,
        owner=owner,
        kind="complete" if write.operation == "complete_session" else "save",
        change=change,
        cleared_answers=_cleared(write.answers),
        cleared_annotations=_cleared(write.annotations),
        current_question=write.current_question,
        expected_versions=write.expected_versions,
        key=write.key,
        digest=digester(write) if write.key else None,
        actor=provenance.actor,
        client_id=provenance.client_id,
        request_id=provenance.request_id,
        trace_id=provenance.trace_id,
        summary=journal.summarize(change, digester) if size > journal.MAX_KEPT else None,
    )
    return record, size


def order_record(
    session_id: UUID, order: Order, provenance: Provenance, digest: str | None, *, brief: bool = False
) -> OrderInput:
    """Return the record of an order; with `brief` its session comes back without answers."""
    return OrderInput(
        id=session_id,
        kind=order.kind,
        expires_at=order.expires_at,
        extra_seconds=order.extra_seconds,
        time_limit_seconds=order.time_limit_seconds,
        expected_versions=order.expected_versions,
        reason=order.reason,
        key=order.key,
        digest=digest,
        actor=provenance.actor,
        client_id=provenance.client_id,
        request_id=provenance.request_id,
        trace_id=provenance.trace_id,
        brief=brief,
    )


def list_parameters(wanted: Filter, reach: Reach) -> dict[str, object]:
    """Return the parameters of list_sessions: for one session more than the limit."""
    cursor = wanted.cursor
    return {
        "owner": reach.owner,
        "quizzes": list(reach.quizzes),
        "user_id": wanted.user_id,
        "quiz_id": wanted.quiz_id,
        "status": wanted.status,
        "before_ms": cursor.created_ms if cursor else None,
        "before_id": cursor.id if cursor else None,
        "count": wanted.limit + 1,
        "with_answers": wanted.with_answers,
    }


def history_parameters(session_id: UUID, reach: Reach, after: int, limit: int) -> dict[str, object]:
    """Return the parameters of list_session_events."""
    reached = {"owner": reach.owner, "quizzes": list(reach.quizzes)}
    return {"id": session_id, **reached, "after": after, "count": limit}


def count_parameters(wanted: Filter, reach: Reach) -> dict[str, object]:
    """Return the parameters of count_sessions."""
    owner = None if wanted.quiz_id in reach.quizzes else reach.owner
    return {"owner": owner, "quiz_id": wanted.quiz_id, "user_id": wanted.user_id}


def repeated(writes: list[WriteInput]) -> set[int]:
    """Return the indexes of writes that may be for the row of an earlier one: one of the two has no owner."""
    owners: defaultdict[UUID, set[str | None]] = defaultdict(set)
    found = set()
    for index, write in enumerate(writes):
        before = owners[write.id]
        if before and (write.owner is None or None in before):
            found.add(index)
        before.add(write.owner)
    return found


def numbered(records: list[Numbered]) -> list[Numbered]:
    """Set the ordinality of each record to its index, which its row of the result has; return the records."""
    for index, record in enumerate(records):
        record.ordinality = index
    return records


def _cleared(changes: Changes) -> tuple[str, ...]:
    return tuple(name for name, value in changes.items() if value is None)
