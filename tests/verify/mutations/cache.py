"""Mutations of the session cache, and of the Redis client below it."""

from tests.verify.mutations.mutation import (
    Mutation,
    force,
    remove,
    replace,
    replace_lua,
    set_constant,
)

CACHE = "session_service/storage/session_cache.py"
REDIS = "session_service/storage/redis.py"

MUTATIONS = [
    Mutation(
        "version that the client has seen",
        CACHE,
        force("SessionCache._find", "$ENTRY.version >= seen_version", value=True),
        "tests/operations/test_get_session.py::test_200_skips_a_stale_cache_entry",
    ),
    Mutation(
        "lifetime of an entry",
        CACHE,
        force("SessionCache._find", "$TIME < $ENTRY.good_until", value=True),
        "tests/storage/test_session_cache.py::test_an_expired_entry_is_a_miss_but_keeps_older_versions_out",
    ),
    Mutation(
        "session id in an entry",
        CACHE,
        force("_decode", "$NAMED != str(session_id)", value=False),
        "tests/storage/test_session_cache.py::test_an_invalid_entry_is_a_cache_miss",
    ),
    Mutation(
        "no older version over a newer one",
        CACHE,
        replace_lua("_PUT_IF_NEWER", "not $HELD or $HELD <= $LEAST", "true"),
        "tests/storage/test_session_cache.py::test_an_older_version_never_replaces_a_newer",
    ),
    Mutation(
        "session of the same version under a tombstone",
        CACHE,
        replace_lua("_PUT_IF_NEWER", "and version - 1 or version", "and version or version"),
        "tests/storage/test_session_cache.py::test_a_raised_version_keeps_its_session",
    ),
    Mutation(
        "time for which Redis keeps an entry",
        CACHE,
        replace_lua("_PUT_IF_NEWER", "'px', ARGV[1]", "'px', 1"),
        "tests/storage/test_session_cache.py::test_a_cache_hit_needs_no_postgresql",
    ),
    Mutation(
        "newest version of a batch",
        CACHE,
        replace("SessionCache.put_if_newer", "sorted($FILLS, key=$KEY)", "$FILLS"),
        "tests/storage/test_session_cache.py::test_the_newest_version_of_a_batch_is_cached",
    ),
    Mutation(
        "versions that are raised in parts",
        CACHE,
        replace("SessionCache.raise_versions", "RAISE_SIZE", "len(left)"),
        "tests/storage/test_session_cache.py::test_many_versions_are_raised_in_parts",
    ),
    Mutation(
        "tombstones before reads",
        CACHE,
        remove("SessionCache._write_tombstones", "while self._dirty: $$$"),
        "tests/verify/faults/test_redis_outages.py::test_a_failed_cache_write_becomes_a_tombstone",
    ),
    Mutation(
        "wait after too many dirty sessions",
        CACHE,
        force("SessionCache._write_tombstones", "$TIME >= self._blind_until", value=True),
        "tests/verify/faults/test_redis_outages.py::test_too_many_dirty_sessions_disable_the_cache_for_cache_seconds",
    ),
    Mutation(
        "old entry deleted when Redis is full",
        CACHE,
        remove("SessionCache._write", "await self.client.call(lambda: self.client.commands.delete(*$KEYS))"),
        "tests/verify/faults/test_redis_outages.py::test_redis_full",
    ),
    Mutation(
        "circuit breaker of Redis",
        REDIS,
        remove("RedisClient.call", "self._trip($ERROR)"),
        "tests/verify/faults/test_redis_outages.py::test_redis_killed_and_back",
    ),
    Mutation(
        "time limit of Redis",
        REDIS,
        set_constant("TIMEOUT_TICKS", "800"),
        "tests/verify/faults/test_redis_outages.py::test_redis_frozen",
    ),
    Mutation(
        "delays of the event loop not counted as Redis's",
        REDIS,
        replace("RedisClient.call", "TickTimeout()", "asyncio.timeout(0.05)"),
        "tests/verify/faults/test_redis_outages.py::test_a_suspended_service_does_not_trip_the_circuit_breaker",
    ),
    Mutation(
        "primary that the Sentinels name",
        REDIS,
        force("RedisClient._watch_primary", "await sentinels.has_moved()", value=False),
        "tests/verify/histories/test_failovers.py::test_an_instance_without_requests_notices",
    ),
    Mutation(
        "one question for Redis's clock at a time",
        REDIS,
        force("RedisClient.clock", "self._measuring is None or self._measuring.done()", value=True),
        "tests/storage/test_session_cache.py::test_concurrent_reads_share_redis_commands",
    ),
]
