"""Tests of the session cache with instances of contract 1.2 on the same Redis, which have another format.

Their part of the cache is written out here as it was in that release: the format, the parser and the script.
"""

import asyncio
import re
from functools import partial
from itertools import permutations
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import orjson
import pytest
from redis import Redis

from tests.conftest import Urls
from tests.support.caches import encoded_session, session_cache
from tests.support.service import Service
from tests.support.waiting import eventually

FOREVER = 10**14  # milliseconds, a time that Redis's clock does not reach

GUARD = re.compile(rb"s1 (\d{1,10}) (\d{1,15}) ")
SESSION = re.compile(rb'([^ ]{1,3060}) (\d{1,10}) (-?\d{1,15}) (\{"id":"([0-9a-f-]{36})".*\})', re.DOTALL)
PUT_IF_NEWER = """
local time = redis.call('time')
for n, key in ipairs(KEYS) do
  local head = redis.pcall('getrange', key, 0, 31)
  local held = type(head) == 'string' and tonumber(string.match(head, '^s1 (%d+) '))
  local version = ARGV[2 * n]
  if not held or held <= tonumber(version) then redis.call('set', key, ARGV[2 * n + 1], 'px', ARGV[1]) end
end
return time[1] * 1000 + math.floor(time[2] / 1000)
"""


class ReleaseBefore:
    """An instance of contract 1.2, without its database."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache
        self._put = cache.register_script(PUT_IF_NEWER)

    def put(self, session_id: object, version: int, session: dict[str, Any]) -> None:
        """Write a version, unless the cache has a newer one."""
        user = quote(session["user_id"], safe="").encode()
        entry = b"s1 %d %d %b 7 %d %b" % (version, FOREVER, user, FOREVER, orjson.dumps(session))
        self._put(keys=[_key(session_id)], args=[30_000, version, entry])

    def get(self, session_id: object) -> tuple[int, bytes | None]:
        """Return the version and the body of the entry; fail on bytes that this release would delete."""
        content = self._cache.get(_key(session_id))
        assert isinstance(content, bytes)
        guard = GUARD.match(content)
        assert guard is not None
        found = SESSION.fullmatch(content, guard.end())
        assert found is None or found[5].decode() == str(session_id)
        return int(guard[1]), found and found[4]


@pytest.fixture
def release_before(cache: Redis) -> ReleaseBefore:
    """An instance of contract 1.2 on the Redis of the service."""
    return ReleaseBefore(cache)


@pytest.mark.parametrize(
    "chosen",
    [
        {"quiz_id": 7},
        {"quiz_id": 7, "time_limit_seconds": 0},
        {"quiz_id": "007"},
        {"quiz_id": "quiz 7 1795000000000 {}"},
        {"quiz_id": "\u00fc%20", "time_limit_seconds": 0, "metadata": {"a b": "c d"}},
        {"quiz_id": 7, "time_limit_seconds": 31_536_000, "grace_seconds": 3600, "on_expiry": "complete"},
    ],
    ids=str,
)
def test_the_release_before_does_not_read_an_entry_and_keeps_it(
    service: Service, release_before: ReleaseBefore, chosen: dict[str, Any]
) -> None:
    """An instance of 1.2 takes an entry of this release for a miss, and keeps its version."""
    session = service.start(**chosen)
    assert service.save(session["id"], 1, "x").status_code == 200
    assert release_before.get(session["id"]) == (2, None)
    release_before.put(session["id"], 1, {"id": session["id"], "user_id": "ada"})
    assert release_before.get(session["id"]) == (2, None)


def test_an_ended_session_is_not_read_by_the_release_before(
    service: Service, release_before: ReleaseBefore
) -> None:
    """An instance of 1.2 takes the entries of completed and expired sessions for misses, too."""
    completed, expired = service.start()["id"], service.start(time_limit_seconds=1)["id"]
    service.complete(completed)
    eventually(lambda: service.read(expired).status_code == 410)
    for session_id in (completed, expired):
        service.read(session_id)
        assert release_before.get(session_id) == (2, None)


@pytest.mark.parametrize("version", [1, 2, 9])
def test_an_entry_of_the_release_before_is_a_miss_and_guards_its_version(
    service: Service, cache: Redis, release_before: ReleaseBefore, version: int
) -> None:
    """An entry of 1.2 is never sent; it is replaced by this version or a newer one, and by no older one."""
    session_id = service.start()["id"]
    cache.delete(_key(session_id))
    foreign = {"id": session_id, "user_id": "ada", "version": version, "answers": {"1": "not stored"}}
    release_before.put(session_id, version, foreign)
    saved = service.save(session_id, 1, "x").json()
    assert service.read(session_id).json() == saved
    held, body = release_before.get(session_id)
    assert (held, body is not None) == (max(version, 2), version == 9)


@pytest.mark.parametrize("order", list(permutations([1, 2, 3, 4])), ids=str)
def test_the_cache_never_goes_back(
    migrated: Urls, release_before: ReleaseBefore, order: tuple[int, ...]
) -> None:
    """Versions by instances of both releases, in any order, never replace a newer one.

    1 and 3 are by 1.2; this release writes 2 with a session and raises to 4 without one.
    """
    session_id = uuid4()

    def write(version: int) -> bool:
        return asyncio.run(attempt(version))

    async def attempt(version: int) -> bool:
        async with session_cache(migrated["REDIS_URL"]) as current:
            if version == 2:
                await current.put_if_newer([(encoded_session(session_id, 2), FOREVER)])
            else:
                await current.raise_versions({session_id: version})
            shown = await current.get(session_id)
            assert shown is None or shown.version == 2 == version
            # On a busy machine a command may take longer than its timeout: then it is given up.
            return current.client.available

    newest = 0
    for version in order:
        newest = max(newest, version)
        if version % 2:
            release_before.put(session_id, version, {"id": str(session_id), "user_id": "ada"})
        else:
            eventually(partial(write, version))
        assert release_before.get(session_id)[0] == newest


def test_the_tombstone_of_an_erased_session_guards_in_the_release_before(
    service: Service, release_before: ReleaseBefore
) -> None:
    """An instance of 1.2 takes the tombstone of an erased session for a miss, and puts no entry over it."""
    session_id = service.start()["id"]
    assert service.client.delete(f"/api/sessions/{session_id}").status_code == 204
    assert release_before.get(session_id) == (9_999_999_999, None)
    release_before.put(session_id, 2**31 - 1, {"id": session_id, "user_id": "ada"})
    assert release_before.get(session_id) == (9_999_999_999, None)


def _key(session_id: object) -> str:
    assert UUID(str(session_id))
    return f"session:{session_id}"
