"""Mutations of session_service/api/, without authentication."""

from tests.verify.mutations.mutation import Mutation, force, remove, replace, set_argument, set_constant

REQUEST = "session_service/api/request.py"
APPLICATION = "session_service/api/application.py"
VALIDATION = "session_service/api/validation.py"
ENDPOINT = "session_service/api/endpoint.py"
HEALTH = "session_service/api/health.py"

MUTATIONS = [
    Mutation(
        "size limit of a body",
        REQUEST,
        set_constant("MAX_BODY_BYTES", "2560 * 1024"),
        "tests/operations/test_get_session.py::test_413_over_256_kib",
    ),
    Mutation(
        "time limit of a body",
        REQUEST,
        set_constant("READ_BODY_TIMEOUT", "30.0"),
        "tests/operations/test_every_operation.py::test_408_for_a_body_that_does_not_arrive",
    ),
    Mutation(
        "no request with half a body",
        REQUEST,
        replace("BodyReader._read_chunks", "raise ClientDisconnect", "break"),
        "tests/api/test_application.py::test_an_incomplete_body_has_no_effect",
    ),
    Mutation(
        "memory guaranteed to small bodies",
        REQUEST,
        replace("BodyReader._read_chunks", "$SIZE > GUARANTEED_BODY_SIZE and $FULL", "$FULL"),
        "tests/api/test_application.py::test_slow_large_bodies_do_not_block_saves",
    ),
    Mutation(
        "format of a request id",
        REQUEST,
        set_constant("_REQUEST_ID", 're.compile(rb"[A-Za-z0-9._-]{1,129}")'),
        "tests/api/test_application.py::test_an_invalid_request_id_is_replaced",
    ),
    Mutation(
        "escaped path in the access log",
        "session_service/api/access_log.py",
        replace("_path", "quote($PATH, safe=$SAFE)", '$PATH.decode("latin-1")'),
        "tests/api/test_application.py::test_the_access_log_has_one_line_per_request",
    ),
    Mutation(
        "no query in the access log",
        "session_service/api/access_log.py",
        replace("_path", 'scope["raw_path"]', 'scope["raw_path"] + scope["query_string"]'),
        "tests/api/test_application.py::test_the_access_log_has_one_line_per_request",
    ),
    Mutation(
        "length limit of a request target",
        APPLICATION,
        set_constant("MAX_TARGET_BYTES", "8 * 1024"),
        "tests/operations/test_every_operation.py::test_414_over_4_kib",
    ),
    Mutation(
        "time limit of a request",
        APPLICATION,
        set_constant("REQUEST_TIMEOUT", "50.0"),
        "tests/verify/faults/test_postgres_long.py::test_long_scenario[frozen_postgresql]",
    ),
    Mutation(
        "one violation reported for a large body",
        VALIDATION,
        force("Input.violations", "$SIZE <= FULL_REPORT_LIMIT", value=True),
        "tests/operations/test_save_answers.py::test_400_reports_one_violation_of_many",
    ),
    Mutation(
        "only plain keys in a violation",
        VALIDATION,
        force("_shown_key", "_PLAIN_NAME.fullmatch($KEY)", value=True),
        "tests/api/test_contract.py::test_a_fault_below_any_key_is_named",
    ),
    Mutation(
        "bound of the levels of a value",
        VALIDATION,
        remove("_MaxDepth.validate", "raise ValueError($TEXT)"),
        "tests/operations/test_exactness.py::test_the_bound_of_nesting_is_64",
    ),
    Mutation(
        "bound of the size of metadata",
        VALIDATION,
        force("_MaxBytes.validate", "$SIZE > self._limit", value=False),
        "tests/operations/test_bounds.py::test_metadata_have_2048_bytes",
    ),
    Mutation(
        "quotes around an idempotency key",
        "session_service/api/headers.py",
        force("_parse_idempotency_key", "$TEXT.startswith($QUOTE)", value=False),
        "tests/operations/test_idempotency_key_forms.py::test_a_quoted_key_is_its_content",
    ),
    Mutation(
        "validation of a body",
        ENDPOINT,
        replace("Endpoint._body", "$BODY.violations($$$)", "[]"),
        "tests/api/test_requests.py::test_invalid_json_is_rejected",
    ),
    Mutation(
        "encoding of a query",
        ENDPOINT,
        set_argument("_query", "errors", '"replace"'),
        "tests/api/test_requests.py::test_query_syntax",
    ),
    Mutation(
        "one content type",
        ENDPOINT,
        replace("_check_media_type", "len($TYPES) != 1", "not $TYPES"),
        "tests/api/test_requests.py::test_content_type_must_be_json",
    ),
    Mutation(
        "declared header",
        "session_service/api/responses.py",
        replace("session_headers", 'b"etag"', 'b"x-etag"'),
        "tests/operations/test_get_session.py::test_200_with_all_saved_answers",
    ),
    Mutation(
        "content security policy of the page",
        "session_service/api/static_files.py",
        replace("", "\"script-src 'self'\"", '"script-src *"'),
        "tests/api/test_docs.py::test_each_file_is_served",
    ),
    Mutation(
        "allowed origins",
        "session_service/api/cors.py",
        force("Cors._origin", "$ORIGIN in self._origins", value=True),
        "tests/api/test_cors.py::test_other_origins_can_read_nothing",
    ),
    Mutation(
        "readiness during graceful shutdown",
        HEALTH,
        force("HealthChecks.readiness", "self._draining", value=False),
        "tests/api/test_health.py::test_readiness_is_draining_during_graceful_shutdown",
    ),
    Mutation(
        "one health check of a store at a time",
        HEALTH,
        force("CachedCheck.run", "self._running and self._running.done()", value=True),
        "tests/api/test_health.py::test_a_health_check_times_out",
    ),
    Mutation(
        "circuit breaker of Redis in the health check",
        HEALTH,
        force("HealthChecks._is_redis_up", "self._redis_available()", value=True),
        "tests/api/test_health.py::test_a_redis_failure_in_a_request_is_reported_at_once",
    ),
]
