"""Mutations of session_service/storage/, except the session cache and the Redis client."""

from tests.verify.mutations.mutation import Mutation, force, remove, replace, set_argument

STORE = "session_service/storage/session_store.py"
STATEMENTS = "session_service/storage/statements.py"
POOL = "session_service/storage/pool.py"
CONNECTION = "session_service/storage/connection.py"
SETTINGS = "session_service/storage/session_settings.py"
HOSTS = "session_service/storage/hosts.py"
FORMER_PRIMARY = "session_service/storage/former_primary.py"

MUTATIONS = [
    Mutation(
        "no warning about connections behind a pooler",
        "session_service/storage/connection_budget.py",
        force("find_shortage", "connection.pooled", value=False),
        "tests/storage/test_connection_budget.py::test_no_warning_behind_a_pooler",
    ),
    Mutation(
        "repeat of a write that found its row locked",
        STORE,
        force("SessionStore._write", '$RESULT is None or $RESULT.verdict != "busy"', value=True),
        "tests/traffic/test_row_locks.py::test_a_row_lock_delays_no_other_session",
    ),
    Mutation(
        "rejected batch repeated one by one",
        STORE,
        set_argument("SessionStore.__init__", "retry_singly_on", "()"),
        "tests/traffic/test_batched_statements.py::test_a_row_that_violates_a_constraint_fails_alone",
    ),
    Mutation(
        "no repeat of a batch with an unknown outcome",
        STORE,
        set_argument("SessionStore.__init__", "retry_singly_on", "(RejectedError, ServiceUnavailableError)"),
        "tests/traffic/test_batched_statements.py::test_a_lost_connection_makes_each_outcome_of_the_batch_unknown",
    ),
    Mutation(
        "connections that lists leave to others",
        STORE,
        replace(
            "SessionStore.__init__",
            "alone(self._run, lane=$LANE, concurrency=lists)",
            "alone(self._run, lane=$LANE, concurrency=64)",
        ),
        "tests/traffic/test_batched_statements.py::test_slow_lists_leave_connections_for_other_operations",
    ),
    Mutation(
        "attempts on the other hosts while one is silent",
        HOSTS,
        replace("_connect", "if not pending: $$$", "raise error from None"),
        "tests/storage/test_hosts.py::test_a_silent_host_does_not_delay_another_that_is_promoted",
    ),
    Mutation(
        "rejection of a former primary",
        FORMER_PRIMARY,
        force("reject_former_primary", "found.timeline < newest", value=False),
        "tests/verify/faults/test_former_primary.py::test_a_former_primary_serves_no_request",
    ),
    Mutation(
        "entry no longer good than its session",
        STORE,
        remove("SessionStore._lifetime", "$SECONDS = min($$$)"),
        "tests/operations/test_get_session.py::test_410_for_an_expired_session_in_the_cache",
    ),
    Mutation(
        "entry no longer good than CACHE_SECONDS",
        STORE,
        replace("SessionStore._lifetime", "float(self._settings.cache_seconds)", "3600.0"),
        "tests/storage/test_session_cache.py::test_an_entry_expires_after_cache_seconds",
    ),
    Mutation(
        "version of a rejected write in the cache",
        STORE,
        replace(
            "SessionStore.results",
            "if fills: $$$",
            'if all(one and one.verdict == "ok" for one in results): await self._cache.put_if_newer(fills)',
        ),
        "tests/storage/test_session_cache.py::test_rejected_writes_update_the_cache",
    ),
    Mutation(
        "overdue session ended by a read",
        STORE,
        force("SessionStore.read", '$RESULT and $RESULT.verdict == "overdue"', value=False),
        "tests/operations/test_ends.py::test_after_its_end_a_session_is_expired",
    ),
    Mutation(
        "expired session from the cache as 410",
        STORE,
        replace("SessionStore.read", '"expired" if $CACHED.status == "expired" else "ok"', '"ok"'),
        "tests/operations/test_overdue.py::test_an_expired_session_is_read_from_the_cache",
    ),
    Mutation(
        "cache raised by the sweeper",
        STORE,
        remove("SessionStore.expire", "await self._cache.raise_versions($VERSIONS)"),
        "tests/operations/test_overdue.py::test_no_read_is_older_than_the_sweepers_version",
    ),
    Mutation(
        "start judged again under the lock",
        STORE,
        replace("SessionStore.start", "$RECORD.locked = True", "$RECORD.locked = False"),
        "tests/operations/test_attempts.py::test_the_largest_limit_binds_later_starts",
    ),
    Mutation(
        "time of a session from the cache",
        STORE,
        replace("SessionStore.read", "self._clock.now()", "0"),
        "tests/operations/test_time_headers.py::test_every_reply_about_a_session_has_its_times",
    ),
    Mutation(
        "database's clock in an instance",
        "session_service/storage/database_clock.py",
        remove("DatabaseClock.set", "self._offset = $OFFSET"),
        "tests/operations/test_time_headers.py::test_every_reply_about_a_session_has_its_times",
    ),
    Mutation(
        "owner check of a cached session",
        STORE,
        force("SessionStore.read", "reach.covers($SESSION)", value=True),
        "tests/api/auth/test_ownership.py::test_a_foreign_session_is_like_a_missing_one",
    ),
    Mutation(
        "separate queues of owner and others",
        STORE,
        replace("SessionStore._write", "($RECORD.id, $RECORD.owner)", "$RECORD.id"),
        "tests/api/auth/test_concurrent_access.py::test_foreign_writes_do_not_delay_the_owner",
    ),
    Mutation(
        "one write of a row in a batch",
        STORE,
        force("SessionStore._write_batch", "$WRITE.ordinality in $REPEATED", value=False),
        "tests/api/auth/test_concurrent_access.py::test_concurrent_writes_of_a_user_and_a_service_are_serialized",
    ),
    Mutation(
        "check of a connection before use",
        POOL,
        force("ConnectionPool._acquire", "$CONNECTION.is_alive()", value=True),
        "tests/verify/faults/test_postgres.py::test_postgresql_is_restarted_while_idle",
    ),
    Mutation(
        "circuit breaker of PostgreSQL",
        POOL,
        force("ConnectionPool._acquire", "self.is_down", value=False),
        "tests/verify/faults/test_postgres_circuit_breaker.py::test_the_open_circuit_breaker_rejects_without_a_wait",
    ),
    Mutation(
        "reconnection in the background",
        POOL,
        remove("ConnectionPool._reconnect_later", "await self.check()"),
        "tests/verify/faults/test_postgres_circuit_breaker.py::test_the_circuit_breaker_closes_by_itself",
    ),
    Mutation(
        "circuit breaker for requests that wait",
        CONNECTION,
        remove("PostgresBreaker.trip", "self.reject_waiters()"),
        "tests/verify/faults/test_postgres_circuit_breaker.py::test_the_circuit_breaker_rejects_waiting_requests",
    ),
    Mutation(
        "use of the connections that are left",
        CONNECTION,
        replace("PostgresBreaker.is_open", "self._is_refused and $CLOSED", "self._is_refused"),
        "tests/verify/faults/test_postgres_circuit_breaker.py::test_remaining_connections_keep_the_circuit_breaker_closed",
    ),
    Mutation(
        "timeout not counted as a refusal",
        CONNECTION,
        replace("PostgresConnection.connect", "psycopg.errors.ConnectionTimeout", "()"),
        "tests/verify/faults/test_postgres_circuit_breaker.py::test_a_frozen_postgresql_keeps_the_circuit_breaker_closed",
    ),
    Mutation(
        "encoding of a connection",
        CONNECTION,
        replace("", '"client_encoding"', '"fallback_application_name"'),
        "tests/verify/settings/test_database_settings.py::test_no_setting_of_the_database_changes_a_response",
    ),
    Mutation(
        "repeat of a read on another connection",
        STATEMENTS,
        force("_run", "$FILE.writes or not $CONNECTION.broken", value=True),
        "tests/verify/faults/test_postgres.py::test_responses_of_postgresql_are_fragmented",
    ),
    Mutation(
        "no repeat of a write",
        STATEMENTS,
        replace("_run", "$FILE.writes or not $CONNECTION.broken", "not $CONNECTION.broken"),
        "tests/traffic/test_batched_statements.py::test_a_lost_connection_makes_each_outcome_of_the_batch_unknown",
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
        "tests/storage/test_statements.py::test_a_statement_with_records_needs_their_class",
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
        "tests/api/test_health.py::test_a_postgresql_that_returns_other_values_is_not_ready",
    ),
    Mutation(
        "settings of a role behind a pooler",
        SETTINGS,
        force("_check", "$SETTING.stored != $SETTING.value", value=False),
        "tests/verify/poolers/test_pgbouncer.py::test_a_changed_setting_is_refused",
    ),
    Mutation(
        "settings of a pooler's connection",
        SETTINGS,
        force("_differing", "$SETTING.held != $SETTING.value", value=False),
        "tests/verify/poolers/test_pgbouncer.py::test_a_connection_that_another_client_has_changed",
    ),
    Mutation(
        "settings of a pooler's connections checked while an instance runs",
        "session_service/storage/readiness.py",
        remove("ReadinessCheck._probe", "await session_settings.configure($CONNECTION)"),
        "tests/verify/poolers/test_pgbouncer.py::test_a_connection_that_another_client_has_changed",
    ),
    Mutation(
        "older connections of a role ended",
        "session_service/storage/pooled_roles.py",
        force("prepare_role", "await _end_older($$$)", value=True),
        "tests/verify/poolers/test_pgbouncer.py::test_bin_migrate_stores_the_settings",
    ),
    Mutation(
        "settings of a role that older connections lack",
        SETTINGS,
        remove("store_settings", "await queries.mark_settings($CONNECTION)"),
        "tests/verify/poolers/test_pgbouncer.py::test_bin_migrate_fails_until_older_connections_have_ended",
    ),
    Mutation(
        "no connection of bin/migrate left in a pooler",
        "session_service/storage/pooled_roles.py",
        remove("_end_own", "await queries.end_own_connection($CONNECTION)"),
        "tests/verify/poolers/test_pgbouncer.py::test_bin_fence_works_after_bin_migrate",
    ),
    Mutation(
        "prepared statements of a pooler that another client has prepared",
        "session_service/storage/startup.py",
        remove("check_prepared", "prepared.add($PID)"),
        "tests/verify/poolers/test_pgbouncer.py::test_prepared_statements_while_others_hold_connections",
    ),
    Mutation(
        "circuit breaker behind a pooler",
        "session_service/storage/pool.py",
        force("ConnectionPool._prepare", "_is_refused($$$)", value=False),
        "tests/verify/poolers/test_circuit_breaker.py::test_it_opens_and_closes_by_itself",
    ),
    Mutation(
        "prepared statements of a pooler",
        "session_service/storage/startup.py",
        remove("_check", "await check_prepared($$$)"),
        "tests/verify/poolers/test_pgbouncer.py::test_prepared_statements",
    ),
    Mutation(
        "options that a pooler drops",
        "session_service/storage/startup.py",
        remove("_check", "_check_options($$$)"),
        "tests/verify/poolers/test_pgbouncer.py::test_options_that_a_pooler_drops_are_refused",
    ),
    Mutation(
        "direct connection for webhooks",
        SETTINGS,
        force("configure_directly", "$CONNECTION.pooled", value=False),
        "tests/verify/poolers/test_pgbouncer.py::test_bin_webhooks_needs_a_direct_connection",
    ),
    Mutation(
        "no request to cancel through a pooler",
        CONNECTION,
        force("PostgresConnection.cancel_safe", "self.pooled", value=False),
        "tests/verify/poolers/test_pgbouncer.py::test_the_end_of_a_service_leaves_the_pooler_running",
    ),
    Mutation(
        "checksum of a migration",
        "session_service/storage/migrations.py",
        force("pending", "$CHECKSUMS[$NAME] != _checksum($FILE)", value=False),
        "tests/storage/test_migrations.py::test_a_changed_migration_is_rejected",
    ),
]
