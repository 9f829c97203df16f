"""Sessions in Redis, never an older version over a newer; a cache that is broken, slow or full is a miss.

An entry is the bytes `s1 <version> <body>` under `session:<id>`; `s1` is the layout's name, so that
a later layout is not mistaken for this one during a rollout.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Self, TypeVar
from uuid import UUID

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from session_service.models import Snapshot

T = TypeVar("T")

_TIMEOUT = 0.05  # seconds
_PAUSE = 1.0  # seconds

_log = logging.getLogger(__name__)

# KEYS[1] is the entry; ARGV: its version, its bytes, its life in milliseconds.
_RAISE = """
local held = redis.pcall('getrange', KEYS[1], 0, 15)
local version = type(held) == 'string' and tonumber(string.match(held, '^s1 (%d+) '))
if version and version > tonumber(ARGV[1]) then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
return 1
"""


# KEYS[1] is the entry; ARGV: the bytes that it is taken out for, so that no other entry goes with them.
_DISCARD = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


class Cache:
    """The sessions that were read or written lately, as the bytes of their replies."""

    def __init__(self, url: str) -> None:
        # The library's own defaults would wait seconds and repeat ten times.
        self._redis = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._raise = self._redis.register_script(_RAISE)
        self._discard = self._redis.register_script(_DISCARD)
        self._breaker = Breaker()

    async def get(self, session_id: UUID) -> Snapshot | None:
        """Return what is held of the session, or None."""
        entry = await self._breaker.attempt(lambda: self._redis.get(_key(session_id)))
        if not isinstance(entry, bytes):
            return None
        snapshot = _decode(session_id, entry)
        if snapshot is None:
            _log.warning("redis held something else under the key of session %s", session_id)
            await self._breaker.attempt(lambda: self._discard(keys=[_key(session_id)], args=[entry]))
        return snapshot

    async def raise_to(self, snapshot: Snapshot, seconds: float) -> None:
        """Hold the snapshot for so many seconds, unless a newer version is held already."""
        entry = b"s1 %d %b" % (snapshot.version, snapshot.body)
        life = max(1, int(seconds * 1000))
        await self._breaker.attempt(
            lambda: self._raise(keys=[_key(snapshot.id)], args=[snapshot.version, entry, life])
        )

    async def ping(self) -> bool:
        """Tell whether Redis answers."""
        return await self._breaker.attempt(self._redis.ping) is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()


class Breaker:
    """Keeps a store that failed from being waited for: a pause, then one call to find out."""

    def __init__(self) -> None:
        self._broken = False
        self._paused_until = 0.0

    async def attempt(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return the call's result; None if it failed, took too long, or was not made at all."""
        if self._broken:
            if monotonic() < self._paused_until:
                return None
            self._paused_until = monotonic() + _PAUSE
        try:
            async with asyncio.timeout(_TIMEOUT):
                result = await call()
        except ResponseError as error:
            _log.warning("redis refused a command: %s", type(error).__name__)
            return None
        except (RedisError, OSError) as error:
            self._open(error)
            return None
        self._close()
        return result

    def _open(self, error: Exception) -> None:
        if not self._broken:
            _log.warning("redis is out of reach, reads go to the database: %s", type(error).__name__)
        self._broken = True
        self._paused_until = monotonic() + _PAUSE

    def _close(self) -> None:
        if self._broken:
            _log.warning("redis is back")
        self._broken = False


def _key(session_id: UUID) -> str:
    return f"session:{session_id}"


def _decode(session_id: UUID, entry: bytes) -> Snapshot | None:
    """Return the entry as a snapshot; None if it is not one of this session in this layout."""
    head = re.match(rb's1 (\d{1,10}) \{"id":"([0-9a-f-]{36})"', entry)
    if head is None or head[2].decode() != str(session_id) or not entry.endswith(b"}"):
        return None
    return Snapshot(session_id, int(head[1]), entry[head.end(1) + 1 :])
