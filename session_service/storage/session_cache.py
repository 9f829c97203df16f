"""The session cache in Redis: no reply is older than an earlier one, and no request fails because of Redis.

Without its protocol a slow fill could put an old session over a newer one. A script replaces lower versions
only; a version that could not be written is written as a tombstone before any read; an entry is good until a
moment of Redis's own clock. docs/cache.md has the proof.

An entry is `s1 <version> <good until> <user> <quiz> <expires at> <body>` under `session:<id>`: `<good until>`
in milliseconds, the user and the quiz percent-encoded, `<expires at>` a timestamp or `none`. A tombstone ends
after `<good until>`, which is 0. Another release may change what follows that: an entry that this one cannot
read still guards its version.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import islice
from time import monotonic
from typing import cast
from urllib.parse import quote, unquote
from uuid import UUID

from attrs import frozen
from redis.exceptions import ResponseError

from session_service import metrics
from session_service.sessions import codec
from session_service.sessions.models import EncodedSession, ExternalId, Status
from session_service.storage.redis import ClockReading, RedisClient, UnreachableError
from session_service.traffic.batching import Batcher

MAX_CACHED_BODY = 64 * 1024  # bytes; a batch of larger bodies would block Redis for too long
RAISE_SIZE = 250  # versions that one script raises; thousands take longer than a command may
MAX_DIRTY = 20_000  # dirty sessions that are remembered one by one
SCAN_SIZE = 1000  # keys that Redis looks at in one step of `clear`
# Version of the tombstone of an erased session: above those of sessions, which have 32 bits, so that nothing
# raises the cache beyond it.
ERASED = 9_999_999_999

_log = logging.getLogger(__name__)

_KEYS = "session:" + "-".join("?" * length for length in (8, 4, 4, 4, 12))

_GUARD = re.compile(rb"s1 (\d{1,10}) (\d{1,15}) ")
_SESSION = re.compile(
    rb"([^ ]{1,3060}) ([^ ]{1,1536}) ([0-9TZ:.-]{24}|none) "
    rb'(\{"id":"([0-9a-f-]{36})","status":"(in_progress|completed|expired|paused)",.*\})',
    re.DOTALL,
)
# Within answers the same characters would have a space or a backslash between them.
_UPDATED_AT = b'"updated_at":"'

# KEYS are entries; ARGV: the time for which each guards against older ones, in milliseconds, then the version
# and the bytes of each. Bytes without a session replace lower versions only, others also the same version. So
# does the tombstone of an erased session, whose guard lasts from its last write. Returns Redis's time in
# milliseconds.
_PUT_IF_NEWER = """
local time = redis.call('time')
for n, key in ipairs(KEYS) do
  local head = redis.pcall('getrange', key, 0, 31)
  local held = type(head) == 'string' and tonumber(string.match(head, '^s1 (%d+) '))
  local version, entry = tonumber(ARGV[2 * n]), ARGV[2 * n + 1]
  local least = string.sub(entry, -1) == ' ' and version < 9999999999 and version - 1 or version
  if not held or held <= least then redis.call('set', key, entry, 'px', ARGV[1]) end
end
return time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS[1] is the entry; ARGV: its bytes, so that no other entry is deleted.
_DELETE_IF_EQUAL = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


@frozen
class Entry:
    """A parsed entry; `session` is None in a tombstone, and in an entry of a later release."""

    version: int
    good_until: int
    session: EncodedSession | None


class SessionCache:
    """Caches recently returned sessions, as the bytes of their replies."""

    def __init__(self, client: RedisClient, seconds: int, batch_size: int) -> None:
        self.client = client
        self._seconds = seconds
        self._entries: Batcher[UUID, bytes | str | None] = Batcher(
            self._read, lane="cache", concurrency=1, max_batch_size=batch_size
        )
        self._put = client.register(_PUT_IF_NEWER)
        self._delete = client.register(_DELETE_IF_EQUAL)
        self._dirty: dict[UUID, int] = {}
        self._blind_until = 0.0
        metrics.cache_available.set_function(lambda: client.available)
        metrics.cache_dirty.set_function(lambda: len(self._dirty))
        client.recover = self._write_tombstones

    async def get(self, session_id: UUID, seen_version: int = 0, read_at: int = 0) -> EncodedSession | None:
        """Return the cached session, unless it is older than `seen_version`; None on a cache miss.

        `read_at` is the database's time, which the session then has, unless another instance, whose clock
        is ahead, has written it later.
        """
        found = await self._find(session_id, seen_version, read_at)
        metrics.cache_reads.add("hit" if found else "miss" if self.client.available else "unavailable")
        return found

    async def _find(self, session_id: UUID, seen_version: int, read_at: int) -> EncodedSession | None:
        try:
            reading = await self.client.clock()
            content = await self._entries(session_id) if reading else None
        except UnreachableError:
            return None
        if reading is None or not isinstance(content, bytes):
            return None
        entry = _decode(session_id, content, read_at)
        if entry is None:
            _log.warning("Redis had another value under the key of session %s", session_id)
            await self._discard(session_id, content)
        elif entry.version >= seen_version and reading.latest(monotonic()) < entry.good_until:
            return entry.session
        return None

    async def now(self) -> int:
        """Return the least that Redis's clock shows, in milliseconds; 0 if it is unknown."""
        with suppress(UnreachableError):
            reading = await self.client.clock()
            return reading.earliest(monotonic()) if reading else 0
        return 0

    async def put_if_newer(self, fills: Sequence[tuple[EncodedSession, int]]) -> None:
        """Ensure that no older version of the sessions is read from the cache from now on.

        The second value of a pair is the time until which the session may be read, by Redis's clock. A large
        session is stored as its version only. A version that cannot be written now is marked dirty: the cache
        is not read before its tombstone is written.
        """
        if self.client.accepts_writes:
            with suppress(UnreachableError):
                # Of several versions of a session the newest comes last, and is the one that is written.
                rising = sorted(fills, key=lambda fill: fill[0].version)
                await self._write(
                    {session.id: (session.version, _encode(session, until)) for session, until in rising}
                )
                return
        for session, _ in fills:
            self._mark_dirty(session.id, session.version)

    async def raise_versions(self, versions: Mapping[UUID, int]) -> bool:
        """Ensure that no version below these is read from the cache from now on; store no session.

        Return whether Redis has them. Otherwise this instance does not read the cache, but others may.
        """
        left = dict(versions)
        if self.client.accepts_writes:
            with suppress(UnreachableError):
                while left:
                    part = dict(islice(left.items(), RAISE_SIZE))
                    await self._write(_tombstones(part))
                    for session_id in part:
                        del left[session_id]
        for session_id, version in left.items():
            self._mark_dirty(session_id, version)
        return not left

    async def clear(self) -> int:
        """Delete the entries of all sessions, and return their number; raise UnreachableError if Redis fails.

        No instance may be running. Other keys of the database are left alone.
        """
        commands, deleted, cursor = self.client.commands, 0, None
        while cursor != 0:
            scan = partial(commands.scan, cursor or 0, match=_KEYS, count=SCAN_SIZE)
            cursor, keys = await self.client.call(scan)
            if keys:
                deleted += await self.client.call(partial(commands.delete, *keys))
        return deleted

    def _mark_dirty(self, session_id: UUID, version: int) -> None:
        if len(self._dirty) < MAX_DIRTY or session_id in self._dirty:
            self._dirty[session_id] = max(version, self._dirty.get(session_id, 0))
        else:
            # No entry lives longer than this, so nothing older than the session is read afterwards.
            self._blind_until = monotonic() + self._seconds

    async def _read(self, ids: list[UUID]) -> list[bytes | str | None]:
        """Return the values of the sessions' keys; None for a key of another type."""
        keys = [_key(session_id) for session_id in ids]
        return await self.client.call(lambda: self.client.commands.mget(keys))

    async def _discard(self, session_id: UUID, content: bytes) -> None:
        # The key may have another type by now: then the entry is gone, too.
        with suppress(UnreachableError, ResponseError):
            await self.client.call(lambda: self._delete(keys=[_key(session_id)], args=[content]))

    async def _write(self, entries: dict[UUID, tuple[int, bytes]]) -> None:
        """Write the entries, each with its version, unless a newer one is there."""
        keys = [_key(session_id) for session_id in entries]
        arguments: list[int | bytes] = [self._seconds * 1000]
        for version_and_entry in entries.values():
            arguments += version_and_entry
        sent = monotonic()
        try:
            time = await self.client.call(lambda: self._put(keys=keys, args=arguments))
        except ResponseError:
            # A full Redis accepts no new entry, but it can still delete the old ones.
            await self.client.call(lambda: self.client.commands.delete(*keys))
        else:
            self.client.note_clock(ClockReading(time, sent, monotonic()))

    async def _write_tombstones(self) -> bool:
        """Write the versions of all dirty sessions; return whether the cache may be read again."""
        while self._dirty:
            dirty = dict(islice(self._dirty.items(), RAISE_SIZE))
            await self._write(_tombstones(dirty))
            for session_id, version in dirty.items():
                if self._dirty[session_id] == version:
                    del self._dirty[session_id]
        return monotonic() >= self._blind_until


def _key(session_id: UUID) -> str:
    return f"session:{session_id}"


def _tombstones(versions: Mapping[UUID, int]) -> dict[UUID, tuple[int, bytes]]:
    return {session_id: (version, b"s1 %d 0 " % version) for session_id, version in versions.items()}


def _encode(session: EncodedSession, good_until: int) -> bytes:
    # The time is negative for an overdue session while the clock of Redis is unknown.
    guard = b"s1 %d %d " % (session.version, max(good_until, 0))
    if len(session.body) >= MAX_CACHED_BODY:
        return guard
    user, quiz = (quote(text, safe="").encode() for text in (session.user_id, session.quiz_id))
    return guard + b"%b %b %b %b" % (user, quiz, session.expires_at.encode(), session.body)


def _decode(session_id: UUID, content: bytes, read_at: int) -> Entry | None:
    """Return the parsed entry; None if it is not an entry of this session."""
    guard = _GUARD.match(content)
    if guard is None:
        return None
    version, good_until = int(guard[1]), int(guard[2])
    found = _SESSION.fullmatch(content, guard.end())
    if found is None:
        return Entry(version, good_until, None)
    user, quiz, expires_at, named, status = (part.decode() for part in found.group(1, 2, 3, 5, 6))
    if named != str(session_id):
        return None
    session = EncodedSession(
        id=session_id,
        status=cast("Status", status),
        version=version,
        user_id=unquote(user),
        quiz_id=ExternalId(unquote(quiz)),
        expires_at=expires_at,
        body=found[4],
        read_at=max(read_at, _updated_at(found[4])),
    )
    return Entry(version, good_until, session)


def _updated_at(body: bytes) -> int:
    """Return the session's `updated_at` in milliseconds since 1970, 0 if it is not a timestamp."""
    start = body.rfind(_UPDATED_AT) + len(_UPDATED_AT)
    with suppress(ValueError):
        return codec.milliseconds(datetime.fromisoformat(body[start : start + 24].decode()))
    return 0
