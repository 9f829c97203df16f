"""One function for each operationId of an order; its parameters are the operation's."""

from uuid import UUID

from session_service.api.auth.principal import Principal
from session_service.api.headers import IfMatch, expected_versions
from session_service.api.operations import Services
from session_service.sessions.models import EncodedSession, IdempotencyKey, Provenance
from session_service.sessions.order_models import (
    ChangeDeadline,
    ChangeDeadlines,
    Order,
    OrderReport,
    PauseSession,
    PauseSessions,
    QuizOrder,
    ReopenSession,
    ResumeSession,
    ResumeSessions,
)


async def change_deadlines(
    services: Services,
    principal: Principal,
    *,
    body: ChangeDeadlines,
    provenance: Provenance,
    idempotency_key: IdempotencyKey | None = None,
) -> OrderReport:
    order = Order(
        "deadline",
        expires_at=body.expires_at,
        extra_seconds=body.extra_seconds,
        time_limit_seconds=body.time_limit_seconds,
        reason=body.reason,
        key=idempotency_key,
    )
    quiz_order = QuizOrder(body.quiz_id, body.user_ids, order)
    return await services.orders.order_quiz(principal.reach, quiz_order, provenance)


async def pause_sessions(
    services: Services,
    principal: Principal,
    *,
    body: PauseSessions,
    provenance: Provenance,
    idempotency_key: IdempotencyKey,
) -> OrderReport:
    order = Order("pause", reason=body.reason, key=idempotency_key)
    quiz_order = QuizOrder(body.quiz_id, body.user_ids, order)
    return await services.orders.order_quiz(principal.reach, quiz_order, provenance)


async def resume_sessions(
    services: Services,
    principal: Principal,
    *,
    body: ResumeSessions,
    provenance: Provenance,
    idempotency_key: IdempotencyKey,
) -> OrderReport:
    order = Order("resume", reason=body.reason, key=idempotency_key)
    quiz_order = QuizOrder(body.quiz_id, body.user_ids, order)
    return await services.orders.order_quiz(principal.reach, quiz_order, provenance)


async def change_deadline(
    services: Services,
    *,
    id: UUID,
    body: ChangeDeadline,
    provenance: Provenance,
    idempotency_key: IdempotencyKey | None = None,
    if_match: IfMatch | None = None,
) -> EncodedSession:
    order = Order(
        "deadline",
        expires_at=body.expires_at,
        extra_seconds=body.extra_seconds,
        time_limit_seconds=body.time_limit_seconds,
        reason=body.reason,
        expected_versions=expected_versions(body.version, if_match),
        key=idempotency_key,
    )
    return await services.orders.order(id, order, provenance)


async def pause_session(
    services: Services,
    *,
    id: UUID,
    body: PauseSession | None,
    provenance: Provenance,
    idempotency_key: IdempotencyKey,
    if_match: IfMatch | None = None,
) -> EncodedSession:
    asked = body or PauseSession()
    versions = expected_versions(asked.version, if_match)
    order = Order("pause", reason=asked.reason, expected_versions=versions, key=idempotency_key)
    return await services.orders.order(id, order, provenance)


async def resume_session(
    services: Services,
    *,
    id: UUID,
    body: ResumeSession | None,
    provenance: Provenance,
    idempotency_key: IdempotencyKey,
    if_match: IfMatch | None = None,
) -> EncodedSession:
    asked = body or ResumeSession()
    versions = expected_versions(asked.version, if_match)
    order = Order("resume", reason=asked.reason, expected_versions=versions, key=idempotency_key)
    return await services.orders.order(id, order, provenance)


async def reopen_session(
    services: Services,
    *,
    id: UUID,
    body: ReopenSession,
    provenance: Provenance,
    idempotency_key: IdempotencyKey,
    if_match: IfMatch | None = None,
) -> EncodedSession:
    order = Order(
        "reopen",
        time_limit_seconds=body.time_limit_seconds,
        reason=body.reason,
        expected_versions=expected_versions(body.version, if_match),
        key=idempotency_key,
    )
    return await services.orders.order(id, order, provenance)
