"""Mutations of session_service/traffic/, and of the rate limits in session_service/app.py."""

from tests.verify.mutations.mutation import Mutation, force, replace, replace_lua, set_constant

MUTATIONS = [
    Mutation(
        "one call of a key at a time",
        "session_service/traffic/batching.py",
        replace("Batcher.__call__", "$KEY or object()", "object()"),
        "tests/traffic/test_batcher.py::test_calls_with_the_same_key_keep_their_order",
    ),
    Mutation(
        "limit of the queue",
        "session_service/traffic/batching.py",
        force("Batcher._enqueue", "self._queued >= QUEUE_SIZE", value=False),
        "tests/traffic/test_batcher.py::test_a_full_queue_rejects_immediately",
    ),
    Mutation(
        "limit of the memory of all bodies",
        "session_service/traffic/load_shedding.py",
        force("LoadShedder.admit", "$MEMORY > MAX_BODY_MEMORY", value=False),
        "tests/traffic/test_load_shedding.py::test_bodies_of_32_mib_are_admitted",
    ),
    Mutation(
        "limit of requests in flight",
        "session_service/traffic/load_shedding.py",
        set_constant("MAX_IN_FLIGHT", "1001"),
        "tests/traffic/test_load_shedding.py::test_a_thousand_requests_are_admitted",
    ),
    Mutation(
        "later retries of many rejected clients",
        "session_service/traffic/load_shedding.py",
        replace("LoadShedder.retry_after", "1 + $REJECTED // $RATE", "1"),
        "tests/traffic/test_load_shedding.py::test_retry_after_grows_with_the_number_of_rejected_requests",
    ),
    Mutation(
        "rate limit after a change of Redis's clock",
        "session_service/traffic/rate_limiter.py",
        replace_lua("TAKE", "if not (full > now and full <= now + size) then full = now end", ""),
        "tests/traffic/test_rate_limiter.py::test_an_invalid_bucket_is_replaced",
    ),
    Mutation(
        "no names of users in Redis",
        "session_service/traffic/rate_limiter.py",
        replace("RateLimiter.acquire", "sha256($PRINCIPAL.encode()).hexdigest()[:$LENGTH]", "$PRINCIPAL"),
        "tests/traffic/test_rate_limiter.py::test_redis_keys_contain_no_principal",
    ),
    Mutation(
        "rate limit of a process without Redis",
        "session_service/traffic/rate_limiter.py",
        replace("RateLimiter._count", "self._local.take($KEY)", "0"),
        "tests/traffic/test_rate_limiter.py::test_without_redis_each_process_counts_locally",
    ),
    Mutation(
        "rate limit of services",
        "session_service/app.py",
        replace("_rate_limits", "services if principal.service else learners", "learners"),
        "tests/traffic/test_rate_limiter.py::test_services_have_no_rate_limit_by_default",
    ),
]
