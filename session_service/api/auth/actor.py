"""Names the actor of a token, as the journal shows it."""

from typing import Any, TypeGuard

from session_service.sessions.models import Actor


def actor_of(claims: dict[str, Any]) -> Actor:
    """Return the learner of verified claims: the subject, and the party that acts for it, if there is one.

    That party is `act.sub` (RFC 8693, 4.1); an `act` without a usable one still shows that there is a party.
    """
    actor = {"type": "learner", "subject": str(claims["sub"])}
    act = claims.get("act")
    if act is None:
        return actor
    acting = act.get("sub") if isinstance(act, dict) else None
    return {**actor, "acting": acting if is_user_id(acting) else "unknown"}


def is_user_id(subject: object) -> TypeGuard[str]:
    """Return whether the subject fits the contract's user_id; an unpaired surrogate is not a character."""
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or "\0" in subject:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in subject)
