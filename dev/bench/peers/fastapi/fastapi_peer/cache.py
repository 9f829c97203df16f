"""Sessions in Redis; where Redis fails, the database is asked."""

import logging
import os
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fastapi_peer.schemas import Session

TTL = 30  # seconds

redis = Redis.from_url(os.environ["REDIS_URL"], max_connections=1000)
_log = logging.getLogger(__name__)


async def get(session_id: UUID) -> Session | None:
    """Return the session if it is held."""
    try:
        held = await redis.get(f"session:{session_id}")
    except RedisError as error:
        _log.warning("cache: %s", error)
        return None
    return Session.model_validate_json(held) if held else None


async def put(session: Session, *, replace: bool = True) -> None:
    """Hold the session; a reader does not replace what a write may just have put there."""
    try:
        await redis.set(f"session:{session.id}", session.model_dump_json(), ex=TTL, nx=not replace)
    except RedisError as error:
        _log.warning("cache: %s", error)
