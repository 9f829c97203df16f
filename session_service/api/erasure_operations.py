"""One function for each operationId of erasing; its parameters are the operation's."""

from uuid import UUID

from session_service.api.auth.principal import Principal
from session_service.api.operations import Services
from session_service.sessions.erasure import ErasureReport


async def erase_sessions(services: Services, principal: Principal, *, user_id: str) -> ErasureReport:
    return await services.erasure.erase_user(user_id, principal.actor)


async def erase_session(services: Services, principal: Principal, *, id: UUID) -> None:
    await services.erasure.erase(id, principal.actor)
