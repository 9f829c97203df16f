"""Mutations of session_service/storage/ where it uses PostgreSQL."""

from tests.verify.mutations.mutation import Mutation, force, remove, replace, set_argument

STORE = "session_service/storage/session_store.py"
STATEMENTS = "session_service/storage/statements.py"
POOL = "session_service/storage/pool.py"
CONNECTION = "session_service/storage/connection.py"

MUTATIONS = [
    Mutation(
        "repeat of a write that found its row locked",
        STORE,
        force("SessionStore.write", '$RESULT is None or $RESULT.verdict != "busy"', value=True),
        "tests/traffic/test_batching.py::test_a_row_that_is_held_delays_no_other",
    ),
    Mutation(
        "rejected batch repeated one by one",
        STORE,
        set_argument("SessionStore.__init__", "retry_singly_on", "()"),
        "tests/traffic/test_batching.py::test_one_row_that_the_database_refuses_fails_alone",
    ),
    Mutation(
        "no repeat of a batch with an unknown outcome",
        STORE,
        set_argument("SessionStore.__init__", "retry_singly_on", "(RejectedError, ServiceUnavailableError)"),
        "tests/traffic/test_batching.py::test_an_unknown_outcome_is_told_to_each",
    ),
    Mutation(
        "connections that lists leave to others",
        STORE,
        replace(
            "SessionStore.__init__",
            "Batcher(self._list, concurrency=$COUNT, max_batch_size=$SIZE)",
            "Batcher(self._list, concurrency=64, max_batch_size=$SIZE)",
        ),
        "tests/traffic/test_batching.py::test_lists_leave_connections_for_everything_else",
    ),
    Mutation(
        "owner check of a list",
        STORE,
        replace("SessionStore.find", "$OWNER or $FILTER.user_id", "$FILTER.user_id"),
        "tests/api/auth/test_ownership.py::test_a_list_has_ones_own",
    ),
    Mutation(
        "separate queues of owner and others",
        STORE,
        replace("SessionStore.write", "(session_id, owner)", "session_id"),
        "tests/api/auth/test_ownership.py::test_strangers_do_not_hold_up_the_owner",
    ),
    Mutation(
        "one write of a row in a batch",
        STORE,
        force("SessionStore._write", "$WRITE.ordinality in $REPEATED", value=False),
        "tests/api/auth/test_ownership.py::test_a_user_and_a_service_write_one_after_the_other",
    ),
    Mutation(
        "check of a connection before use",
        POOL,
        force("ConnectionPool._acquire", "$CONNECTION.is_alive()", value=True),
        "tests/verify/faults/test_postgres.py::test_restarted_while_nobody_asks",
    ),
    Mutation(
        "circuit breaker of PostgreSQL",
        POOL,
        force("ConnectionPool._acquire", "self.is_down", value=False),
        "tests/verify/faults/test_circuit_breaker.py::test_a_refusal_takes_no_wait",
    ),
    Mutation(
        "reconnection in the background",
        POOL,
        remove("ConnectionPool._reconnect_later", "await self.check()"),
        "tests/verify/faults/test_circuit_breaker.py::test_it_closes_without_a_request",
    ),
    Mutation(
        "circuit breaker for requests that wait",
        CONNECTION,
        remove("Breaker.trip", "self.reject_waiters()"),
        "tests/verify/faults/test_circuit_breaker.py::test_those_who_wait_are_rejected_with_the_refusal",
    ),
    Mutation(
        "use of the connections that are left",
        CONNECTION,
        replace("Breaker.is_open", "self._is_refused and $CLOSED", "self._is_refused"),
        "tests/verify/faults/test_circuit_breaker.py::test_a_connection_that_is_left_is_used",
    ),
    Mutation(
        "timeout not counted as a refusal",
        CONNECTION,
        replace("Connection.connect", "psycopg.errors.ConnectionTimeout", "()"),
        "tests/verify/faults/test_circuit_breaker.py::test_a_postgresql_that_stands_still_has_refused_nothing",
    ),
    Mutation(
        "encoding of a connection",
        CONNECTION,
        replace("", '"client_encoding"', '"fallback_application_name"'),
        "tests/storage/test_database_settings.py::test_no_setting_of_the_database_changes_a_reply",
    ),
    Mutation(
        "repeat of a read on another connection",
        STATEMENTS,
        force("_run", "$FILE.writes or not $CONNECTION.broken", value=True),
        "tests/verify/faults/test_postgres.py::test_answers_in_shreds",
    ),
    Mutation(
        "no repeat of a write",
        STATEMENTS,
        replace("_run", "$FILE.writes or not $CONNECTION.broken", "not $CONNECTION.broken"),
        "tests/traffic/test_batching.py::test_an_unknown_outcome_is_told_to_each",
    ),
    Mutation(
        "records checked against their class",
        STATEMENTS,
        remove("_read", "sql_files.check_record($FILE, $CLASS)"),
        "tests/storage/test_statements.py::test_a_class_that_contradicts_the_record_stops_the_start",
    ),
    Mutation(
        "class for a statement that takes records",
        STATEMENTS,
        force("_read", "file.record", value=False),
        "tests/storage/test_statements.py::test_a_statement_with_records_is_bound_with_their_class",
    ),
    Mutation(
        "records checked against the SQL text",
        "session_service/storage/sql_files.py",
        force("_check_recordset", "$COLUMNS != declared", value=False),
        "tests/storage/test_statements.py::test_a_misspelt_column_of_a_record_stops_the_start",
    ),
    Mutation(
        "values that a database returns changed",
        "session_service/storage/readiness.py",
        force("ReadinessCheck._probe", "codec.encode($ROW) != codec.encode(PROBE)", value=False),
        "tests/api/test_health.py::test_a_database_that_returns_other_values_is_down",
    ),
    Mutation(
        "checksum of a migration",
        "session_service/storage/migrations.py",
        force("pending", "$CHECKSUMS[$NAME] != _checksum($FILE)", value=False),
        "tests/storage/test_migrations.py::test_a_file_that_was_changed_is_refused",
    ),
]
