"""Session caches in the process of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import orjson

from session_service.sessions.models import EncodedSession, ExternalId
from session_service.storage.redis import RedisClient
from session_service.storage.session_cache import SessionCache


@asynccontextmanager
async def session_cache(url: str, seconds: int = 30, batch_size: int = 64) -> AsyncIterator[SessionCache]:
    """Open a cache in the Redis at the URL."""
    async with RedisClient(url) as client:
        yield SessionCache(client, seconds, batch_size)


def encoded_session(session_id: UUID, version: int, padding: int = 0) -> EncodedSession:
    """Return a version of a session; its body has `padding` additional bytes."""
    body = {"id": str(session_id), "status": "in_progress", "version": version, "x": "x" * padding}
    return EncodedSession(
        id=session_id,
        status="in_progress",
        version=version,
        user_id='ada "\\ \u00fc',
        quiz_id=ExternalId('quiz "\\ \u00fc'),
        expires_at="none",
        body=orjson.dumps(body),
        read_at=0,
    )
