"""Identifies the principal of a request (RFC 4949): the user or the service that makes it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

import attrs
from attrs import frozen

from session_service.sessions.models import Actor, ExternalId, Reach
from session_service.settings import LESSER_SCOPES, Settings

ANY = "sessions:any"
READ, PROCTOR, ERASE = LESSER_SCOPES
LEARNER = "learner"  # in `x-access` of the contract: sessions of the token's own subject
ACCESS = frozenset({LEARNER, ANY, READ, PROCTOR, ERASE})

_ANONYMOUS: Actor = {"type": "anonymous"}


@frozen
class Principal:
    """An authenticated caller: the rate limiter's `key` for it, and the sessions that it reaches.

    It reaches the sessions of `user_id` and those of `quizzes`; with None for the user, all sessions that its
    `scopes` allow. `service` marks a token with scopes, which has a separate rate limit; `actor` is for the
    journal.
    """

    key: str
    user_id: str | None
    service: bool = False
    scopes: frozenset[str] = frozenset()
    quizzes: frozenset[ExternalId] = frozenset()
    actor: Actor = _ANONYMOUS

    @classmethod
    def of_token(cls, learner: Actor, scopes: frozenset[str], quizzes: frozenset[ExternalId]) -> "Principal":
        """Return the principal of a token: a learner, or a service if it has scopes.

        The token of a proctor acts for its subject, too.
        """
        subject = learner["subject"]
        # Prefixes keep a service and a user with the same subject apart.
        if not scopes:
            return cls(f"user:{subject}", subject, actor=learner)
        user_id = subject if PROCTOR in scopes and ANY not in scopes else None
        staff = {**learner, "type": "staff"}
        return cls(f"service:{subject}", user_id, service=True, scopes=scopes, quizzes=quizzes, actor=staff)

    @property
    def reach(self) -> Reach:
        """The sessions that the principal reaches."""
        return Reach(self.user_id, self.quizzes)

    def acting(self, access: frozenset[str]) -> "Principal | None":
        """Return the principal with the reach that an operation with this `x-access` gives to it.

        None: neither its scopes nor its subject allow the operation.
        """
        granted = self.scopes & access
        if granted - {PROCTOR}:
            return self.as_staff()
        if granted:
            return self
        if self.user_id is not None and LEARNER in access:
            return self.as_learner()
        return None

    def as_learner(self) -> "Principal":
        """Return the principal for sessions of its subject only, as which the journal names it."""
        if not self.scopes:
            return self
        actor = {**self.actor, "type": "learner"}
        return attrs.evolve(self, quizzes=frozenset(), actor=actor)

    def as_staff(self) -> "Principal":
        """Return the principal for all sessions."""
        return self if self.user_id is None else attrs.evolve(self, user_id=None, quizzes=frozenset())


class Authenticator(AbstractAsyncContextManager["Authenticator"], Protocol):
    """Authenticates requests while its context is entered."""

    async def authenticate(self, scope: Mapping[str, Any], /) -> Principal:
        """Return the principal of an ASGI scope; raise UnauthenticatedError without valid credentials."""


class AnonymousAuthenticator:
    """Accepts every request as a principal for all users, with the client address as its rate limit key."""

    def __init__(self, *, erases: bool) -> None:
        self._scopes = frozenset({ANY, ERASE}) if erases else frozenset({ANY})

    async def authenticate(self, scope: Mapping[str, Any]) -> Principal:
        """Return the principal of the client address."""
        address = scope["client"][0] if scope.get("client") else "unknown"
        return Principal(f"address:{address}", None, scopes=self._scopes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator for AUTH: bearer tokens if it is `jwt`, anonymous if it is `none`."""
    if settings.tokens is None:
        return AnonymousAuthenticator(erases=settings.erases_without_tokens)
    # Imported late: PyJWT and cryptography take 17 MiB, which AUTH=none does not need.
    from session_service.api.auth.bearer import BearerAuthenticator  # noqa: PLC0415

    return BearerAuthenticator(settings.tokens)
