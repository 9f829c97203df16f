"""Sessions in replies: those of the contract's shape."""

from contextlib import suppress

from .json_values import as_mapping
from .kept import Assignment
from .models import Session, SessionPage, SessionStatus

_OVER = {SessionStatus.COMPLETED, SessionStatus.EXPIRED}


def session_in(content: object) -> Session | None:
    """Return the session in a reply, if there is one."""
    with suppress(Exception):
        return Session.from_dict(as_mapping(content))
    return None


def is_running(session: Session | None) -> bool:
    """Return whether there is a session that has not ended."""
    return session is not None and session.status not in _OVER


def is_paused(session: Session | None) -> bool:
    """Return whether there is a session that a teacher has paused."""
    return session is not None and session.status == SessionStatus.PAUSED


def latest_in(content: object, assignment: Assignment) -> tuple[str | None] | None:
    """Return the id of the running session in a page, else of the newest; None for other replies."""
    with suppress(Exception):
        page = SessionPage.from_dict(as_mapping(content)).items
        if all((one.user_id, one.quiz_id) == assignment for one in page):
            running = [one for one in page if one.status not in _OVER]
            return (str((running or page)[0].id) if page else None,)
    return None
