"""One function for each operationId but orders and erasing, in the contract's order."""

from typing import Literal
from uuid import UUID

from attrs import frozen

from session_service.api.auth.principal import Principal
from session_service.api.headers import IfMatch, IfNoneMatch, NoCache, expected_versions
from session_service.api.health import Health, HealthChecks, Liveness, Readiness, ServiceVersion
from session_service.sessions.erasure import ErasureService
from session_service.sessions.events import EventCursor, EventFilter, EventType, FeedPage
from session_service.sessions.exports import Export, ExportFilter, Exports, Format
from session_service.sessions.feed import EventFeed
from session_service.sessions.models import (
    CompleteSession,
    Cursor,
    EncodedSession,
    ExternalId,
    Filter,
    History,
    IdempotencyKey,
    Provenance,
    ReadPage,
    SaveAnswer,
    SaveAnswers,
    StartResult,
    StartSession,
    Status,
    Write,
)
from session_service.sessions.orders import OrderService
from session_service.sessions.service import SessionService


@frozen
class Services:
    """The services that the operations call."""

    sessions: SessionService
    orders: OrderService
    erasure: ErasureService
    feed: EventFeed
    exports: Exports
    health: HealthChecks
    version: ServiceVersion

    def begin_shutdown(self) -> None:
        """Begin graceful shutdown: readiness fails, no request waits for an event, exports end."""
        self.health.begin_shutdown()
        self.feed.begin_shutdown()
        self.exports.begin_shutdown()


async def start_session(
    services: Services,
    principal: Principal,
    *,
    body: StartSession,
    provenance: Provenance,
    idempotency_key: IdempotencyKey | None = None,
) -> StartResult:
    return await services.sessions.start(principal.user_id, body, idempotency_key, provenance)


async def list_sessions(
    services: Services,
    principal: Principal,
    *,
    user_id: str | None = None,
    quiz_id: ExternalId | None = None,
    status: Status | None = None,
    limit: int = 20,
    cursor: Cursor | None = None,
    include: Literal["answers"] | None = None,
) -> ReadPage:
    wanted = Filter(user_id, quiz_id, status, limit, cursor, with_answers=include == "answers")
    return await services.sessions.list(principal.reach, wanted)


async def export_answers(
    services: Services,
    principal: Principal,
    *,
    user_id: str | None = None,
    quiz_id: ExternalId | None = None,
    status: Status | None = None,
    format: Format = "csv",
) -> Export:
    return await services.exports.open(principal.reach, ExportFilter(user_id, quiz_id, status), format)


async def get_session(
    services: Services,
    principal: Principal,
    *,
    id: UUID,
    if_none_match: IfNoneMatch | None = None,
    cache_control: NoCache | None = None,
) -> EncodedSession:
    seen_version = if_none_match.newest if if_none_match else 0
    return await services.sessions.read(
        principal.reach, id, seen_version=seen_version, fresh=bool(cache_control)
    )


async def update_progress(
    services: Services,
    principal: Principal,
    *,
    id: UUID,
    body: SaveAnswer,
    provenance: Provenance,
    idempotency_key: IdempotencyKey | None = None,
    if_match: IfMatch | None = None,
) -> EncodedSession:
    question = body.question_id
    write = Write(
        "update_progress",
        answers={question: body.answer},
        annotations={} if body.annotation is None else {question: body.annotation},
        current_question=question,
        expected_versions=expected_versions(body.version, if_match),
        key=idempotency_key,
    )
    return await services.sessions.write(principal.user_id, id, write, provenance)


async def save_answers(
    services: Services,
    principal: Principal,
    *,
    id: UUID,
    body: SaveAnswers,
    provenance: Provenance,
    idempotency_key: IdempotencyKey | None = None,
    if_match: IfMatch | None = None,
) -> EncodedSession:
    write = Write(
        "save_answers",
        answers=body.answers or {},
        annotations=body.annotations or {},
        current_question=body.current_question,
        expected_versions=expected_versions(body.version, if_match),
        key=idempotency_key,
    )
    return await services.sessions.write(principal.user_id, id, write, provenance)


async def complete_session(
    services: Services,
    principal: Principal,
    *,
    id: UUID,
    body: CompleteSession | None,
    provenance: Provenance,
    idempotency_key: IdempotencyKey | None = None,
    if_match: IfMatch | None = None,
) -> EncodedSession:
    last = body or CompleteSession()
    write = Write(
        "complete_session",
        answers=last.answers or {},
        annotations=last.annotations or {},
        expected_versions=expected_versions(last.version, if_match),
        key=idempotency_key,
    )
    return await services.sessions.write(principal.user_id, id, write, provenance)


async def list_session_events(
    services: Services, principal: Principal, *, id: UUID, after: int = 0, limit: int = 100
) -> History:
    return await services.sessions.events(principal.reach, id, after=after, limit=limit)


async def list_events(
    services: Services,
    principal: Principal,
    *,
    after: EventCursor | None = None,
    types: list[EventType] | None = None,
    quiz_id: ExternalId | None = None,
    limit: int = 100,
    wait: int = 0,
) -> FeedPage:
    wanted = EventFilter(after, types, None if quiz_id is None else [quiz_id], limit)
    return await services.feed.read(principal.reach, wanted, wait)


async def get_health(services: Services) -> Health:
    return await services.health.health()


async def get_liveness(services: Services) -> Liveness:
    return services.health.liveness()


async def get_readiness(services: Services) -> Readiness:
    return await services.health.readiness()


async def get_version(services: Services) -> ServiceVersion:
    return services.version
