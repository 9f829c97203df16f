"""Erasure service: erases sessions with all that is kept of them, for data protection.

A role of the database that may delete sessions is needed, which the service's own role may not.
"""

from collections.abc import Awaitable
from typing import Protocol
from uuid import UUID

from attrs import frozen

from session_service.sessions.errors import ForbiddenError, SessionNotFoundError
from session_service.sessions.models import Actor


@frozen
class ErasureReport:
    """The number of a user's sessions that a call has erased, and whether some may be left."""

    erased: int
    unfinished: bool


class Store(Protocol):
    """The storage that the service needs. Of the actor only the type is kept."""

    def erase(self, session_id: UUID, actor: str, /) -> Awaitable[bool]:
        """Erase a session; return whether it existed."""

    def erase_user(self, user_id: str, actor: str, /) -> Awaitable[ErasureReport]:
        """Erase the sessions of a user, and the user's name in other journals."""


class ErasureService:
    """Erases sessions; raises the contract's errors. Without a store erasing is off."""

    def __init__(self, store: Store | None) -> None:
        self._given = store

    async def erase(self, session_id: UUID, actor: Actor) -> None:
        """Erase a session; raise SessionNotFoundError if there is none."""
        if not await self._store.erase(session_id, actor["type"]):
            raise SessionNotFoundError(session_id)

    async def erase_user(self, user_id: str, actor: Actor) -> ErasureReport:
        """Erase the sessions of a user; a call that could not reach all of them is to be repeated."""
        return await self._store.erase_user(user_id, actor["type"])

    @property
    def _store(self) -> Store:
        if self._given is None:
            raise ForbiddenError("Erasing is not enabled: ERASE_DATABASE_URL is not set.")
        return self._given
