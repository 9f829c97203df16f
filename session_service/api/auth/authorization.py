"""Authorization: decides by a token's scopes which sessions an operation may reach for it."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from session_service.api.auth.principal import LEARNER, PROCTOR, Principal
from session_service.sessions.errors import ForbiddenError
from session_service.sessions.models import Reach

FindUser = Callable[[Reach, UUID], Awaitable[str]]
"""Returns the user of a session; raises SessionNotFoundError if the session is not within the reach."""


async def authorize(
    principal: Principal, access: frozenset[str], session_id: UUID | None, find_user: FindUser
) -> Principal:
    """Return the principal with its reach in an operation with this `x-access`; raise ForbiddenError.

    A session that the principal may read, but not use for this operation, is forbidden: to a save one of a
    proctor's quizzes, and to an operation that is not for learners its own. Others are reported as missing.
    """
    acting = principal.acting(access)
    if session_id is not None and _reaches_more(principal, acting, access):
        # A session keeps its user and quiz: the statement of the operation need not check them again.
        own = await find_user(principal.reach, session_id) == principal.user_id
        if (LEARNER if own else PROCTOR) not in access:
            raise ForbiddenError("The token does not allow this operation on this session.")
        return principal.as_learner() if own else principal.as_staff()
    if acting is None:
        raise ForbiddenError("The token's scopes do not allow this operation.")
    return acting


def _reaches_more(principal: Principal, acting: Principal | None, access: frozenset[str]) -> bool:
    """Return whether the principal may reach sessions to which the operation does not apply."""
    if principal.user_id is None or (acting is not None and acting.user_id is None):
        return False
    return LEARNER not in access or (bool(principal.quizzes) and PROCTOR not in access)
