"""Mutations of the SQL statements and the migrations."""

from tests.verify.mutations.mutation import Mutation, remove_sql, replace_sql

WRITES = [
    Mutation(
        "recognition of a repeated save",
        "sql/write_sessions.sql",
        replace_sql("any ((s).recent_writes)", "any ('{}'::text[])"),
        "tests/operations/test_update_progress_idempotency.py::test_200_for_a_repeat_with_the_same_idempotency_key",
    ),
    Mutation(
        "one write for a key",
        "sql/write_sessions.sql",
        replace_sql("split_part($WRITE, ' ', 1) = (a).key", "'' = (a).key"),
        "tests/operations/test_update_progress_idempotency.py::test_422_for_another_write_with_the_same_idempotency_key",
    ),
    Mutation(
        "sixteen keys of a session",
        "sql/write_sessions.sql",
        replace_sql("(a).digest, t.recent_writes[:15]", "(a).digest, t.recent_writes[:3]"),
        "tests/operations/test_update_progress_idempotency.py::test_200_for_any_of_the_last_sixteen_idempotency_keys",
    ),
    Mutation(
        "key checked before the version",
        "sql/write_sessions.sql",
        replace_sql(
            "when (a).key || ' ' || (a).digest",
            "when (s).version <> all ((a).expected_versions) then 'conflict'"
            " when (a).key || ' ' || (a).digest",
        ),
        "tests/operations/test_update_progress_idempotency.py::test_200_for_a_repeat_of_a_save_with_a_version",
    ),
    Mutation(
        "version check",
        "sql/write_sessions.sql",
        replace_sql("(s).version <> all ((a).expected_versions)", "false"),
        "tests/operations/test_update_progress_preconditions.py::test_409_on_a_stale_version",
    ),
    Mutation(
        "status check",
        "sql/write_sessions.sql",
        replace_sql("when status = 'completed' then", "when false then"),
        "tests/operations/test_update_progress.py::test_410_for_a_completed_session",
    ),
    Mutation(
        "expiry check of a write",
        "sql/write_sessions.sql",
        replace_sql("(s).closes_at <= checked_at, false)", "false, false)"),
        "tests/operations/test_ends.py::test_after_its_end_a_session_is_expired",
    ),
    Mutation(
        "clock read after the lock",
        "sql/write_sessions.sql",
        replace_sql("clock_timestamp()) as checked_at", "now()) as checked_at"),
        "tests/operations/test_update_progress.py::test_410_for_a_save_that_gets_the_row_lock_after_expiry",
    ),
    Mutation(
        "row lock",
        "sql/write_sessions.sql",
        remove_sql("for update skip locked"),
        "tests/traffic/test_row_locks.py::test_concurrent_instances_lose_no_save_and_never_deadlock",
    ),
    Mutation(
        "no wait for a lock in a batch",
        "sql/write_sessions.sql",
        remove_sql("skip locked"),
        "tests/traffic/test_row_locks.py::test_a_row_lock_delays_no_other_session",
    ),
    Mutation(
        "order of writes that wait for a lock",
        "sql/write_sessions.sql",
        remove_sql("where not a.must_queue"),
        "tests/traffic/test_row_locks.py::test_writes_behind_a_row_lock_keep_their_order",
    ),
    Mutation(
        "limit of the number of answers",
        "sql/write_sessions.sql",
        replace_sql("jsonb_object_keys(answers)) > 10000", "jsonb_object_keys(answers)) > 100000"),
        "tests/operations/test_update_progress.py::test_413_for_the_ten_thousand_and_first_answer",
    ),
    Mutation(
        "limit of the size of the answers",
        "sql/write_sessions.sql",
        replace_sql("> 1048576", "> 10485760"),
        "tests/operations/test_update_progress.py::test_413_over_one_mebibyte_of_answers",
    ),
    Mutation(
        "owner check of a write",
        "sql/write_sessions.sql",
        replace_sql("where s.id = a.id and (a.owner is null or s.user_id = a.owner)", "where s.id = a.id"),
        "tests/api/auth/test_ownership.py::test_a_foreign_session_is_like_a_missing_one",
    ),
    Mutation(
        "owner check of a write of a locked row",
        "sql/write_sessions.sql",
        replace_sql("on s.id = a.id and (a.owner is null or s.user_id = a.owner)", "on s.id = a.id"),
        "tests/api/auth/test_ownership.py::test_a_foreign_session_is_like_a_missing_one",
    ),
    Mutation(
        "digests deleted at completion",
        "sql/write_sessions.sql",
        replace_sql(
            "array(select split_part(recent, ' ', 1) from unnest(t.recent_writes[:15]) as recent)",
            "t.recent_writes[:15]",
        ),
        "tests/sessions/test_digests.py::test_a_completed_session_keeps_no_digest",
    ),
    Mutation(
        "digests of an older release",
        "sql/write_sessions.sql",
        replace_sql("split_part((a).digest, '.', 1) || '.'", "''"),
        "tests/sessions/test_digests.py::test_digests_of_older_releases_match",
    ),
    Mutation(
        "answers of a second completion",
        "sql/write_sessions.sql",
        replace_sql("(a).kind = 'complete' and answers = (s).answers", "(a).kind = 'complete'"),
        "tests/operations/test_complete_session.py::test_410_for_a_second_completion_with_other_answers",
    ),
]

OTHER_STATEMENTS = [
    Mutation(
        "completion by the deadline in a list",
        "sql/list_sessions.sql",
        remove_sql("when on_expiry = 'complete' then 'completed'"),
        "tests/operations/test_ends.py::test_a_list_shows_the_end",
    ),
    Mutation(
        "overdue session ended by a repeated start",
        "sql/start_sessions.sql",
        remove_sql("when s.status = 'in_progress' and s.closes_at <= now then 'overdue'"),
        "tests/operations/test_ends.py::test_a_repeated_start_ends_its_session",
    ),
    Mutation(
        "limit of attempts",
        "sql/start_sessions.sql",
        replace_sql("w.attempts >= w.most", "w.attempts > w.most"),
        "tests/operations/test_attempts.py::test_attempts_have_numbers",
    ),
    Mutation(
        "attempts counted under the lock",
        "sql/start_sessions.sql",
        replace_sql("(w.locked and w.attempts < w.most)", "w.attempts < w.most"),
        "tests/operations/test_attempts.py::test_concurrent_starts_keep_the_limit",
    ),
    Mutation(
        "limit of attempts for later starts",
        "sql/start_sessions.sql",
        replace_sql("coalesce(a.max_attempts, max(s.max_attempts))", "a.max_attempts"),
        "tests/operations/test_attempts.py::test_the_largest_limit_binds_later_starts",
    ),
    Mutation(
        "completion by the sweeper",
        "sql/expire_sessions.sql",
        replace_sql("case s.on_expiry when 'complete' then 'completed' else 'expired' end", "'expired'"),
        "tests/operations/test_overdue.py::test_no_read_is_older_than_the_sweepers_version",
    ),
    Mutation(
        "version of a session that the sweeper ends",
        "sql/expire_sessions.sql",
        remove_sql("version = s.version + 1,"),
        "tests/operations/test_overdue.py::test_no_read_is_older_than_the_sweepers_version",
    ),
    Mutation(
        "recognition of a repeated start",
        "sql/start_sessions.sql",
        replace_sql("s.start_key = a.key", "'' = a.key"),
        "tests/operations/test_start_session.py::test_200_for_all_but_one_of_concurrent_starts_with_one_idempotency_key",
    ),
    Mutation(
        "one start for a key",
        "sql/start_sessions.sql",
        replace_sql("when s.start_digest <> a.digest", "when false"),
        "tests/operations/test_start_session.py::test_422_for_another_start_with_the_same_idempotency_key",
    ),
    Mutation(
        "expiry check of a resumed session",
        "sql/start_sessions.sql",
        remove_sql("and (s.closes_at is null or s.closes_at > now)"),
        "tests/operations/test_start_session.py::test_201_instead_of_resuming_an_expired_session",
    ),
    Mutation(
        "lock of racing resumes",
        "sql/lock_starts.sql",
        remove_sql(
            "where pg_try_advisory_xact_lock(hashtextextended(user_id, hashtextextended(quiz_id, 0)))"
        ),
        "tests/traffic/test_row_locks.py::test_a_resume_times_out_on_the_lock_of_another",
    ),
    Mutation(
        "no wait for a lock in the sweeper",
        "sql/expire_sessions.sql",
        remove_sql("skip locked"),
        "tests/sessions/test_sweeper.py::test_the_sweeper_skips_locked_rows",
    ),
    Mutation(
        "expiry check of the sweeper",
        "sql/expire_sessions.sql",
        remove_sql("and closes_at <= (select now from clock)"),
        "tests/sessions/test_sweeper.py::test_only_running_sessions_are_expired_and_only_once",
    ),
    Mutation(
        "digests deleted at expiry",
        "sql/expire_sessions.sql",
        replace_sql(
            "array(select split_part(recent, ' ', 1) from unnest(s.recent_writes) as recent)",
            "s.recent_writes",
        ),
        "tests/sessions/test_digests.py::test_an_expired_session_keeps_no_digest",
    ),
    Mutation(
        "expiry check of a read",
        "sql/get_sessions.sql",
        remove_sql("when (s).status = 'in_progress' and (s).closes_at <= checked_at then 'overdue'"),
        "tests/operations/test_ends.py::test_after_its_end_a_session_is_expired",
    ),
    Mutation(
        "owner check of a read",
        "sql/get_sessions.sql",
        replace_sql("s.user_id = a.owner or s.quiz_id = any (a.quizzes)", "true"),
        "tests/api/auth/test_ownership.py::test_a_foreign_session_is_like_a_missing_one",
    ),
    Mutation(
        "owner check before a wait for a lock",
        "sql/lock_session.sql",
        replace_sql("or user_id = %(owner)s::text", "or %(owner)s::text is not null"),
        "tests/api/auth/test_concurrent_access.py::test_a_foreign_row_is_not_locked",
    ),
]

DATABASE = [
    Mutation(
        "date format of a connection",
        "sql/configure.sql",
        remove_sql("('datestyle', 'ISO, MDY'),"),
        "tests/verify/settings/test_role_settings.py::test_no_setting_of_the_role_changes_a_response",
    ),
    Mutation(
        "tables searched before temporary ones",
        "sql/configure.sql",
        remove_sql("|| ', pg_temp'"),
        "tests/verify/settings/test_database_settings.py::test_a_temporary_table_does_not_shadow_the_sessions",
    ),
    Mutation(
        "error instead of rows hidden by a policy",
        "sql/configure.sql",
        replace_sql("('row_security', 'off')", "('row_security', 'on')"),
        "tests/verify/settings/test_startup_checks.py::test_row_level_security_is_rejected",
    ),
    Mutation(
        "durable commit",
        "sql/configure.sql",
        replace_sql("else 'on'", "else pg_catalog.current_setting('synchronous_commit')"),
        "tests/setup/test_start.py::test_durability_does_not_depend_on_the_database",
    ),
    Mutation(
        "encoding of the database",
        "sql/list_unfit_settings.sql",
        remove_sql("('server_encoding', 'UTF8'),"),
        "tests/verify/settings/test_startup_checks.py::test_a_database_in_another_encoding_is_rejected",
    ),
    Mutation(
        "least privilege of the role",
        "sql/admit_role.sql",
        replace_sql(
            "'grant select, insert, update on quiz_sessions, quiz_orders to %%I'",
            "'grant all on quiz_sessions, quiz_orders to %%I'",
        ),
        "tests/storage/test_roles.py::test_unneeded_statements_are_denied",
    ),
    Mutation(
        "lock of concurrent migrations",
        "sql/lock_migrations.sql",
        remove_sql("where pg_try_advisory_lock($KEY)"),
        "tests/storage/test_migrations.py::test_concurrent_runs_apply_each_migration_once",
    ),
    Mutation(
        "incomplete index dropped by the next migration",
        "sql/schema/0009_running_by_quiz.sql",
        remove_sql("drop index concurrently if exists quiz_sessions_running_by_quiz;"),
        "tests/storage/test_concurrent_indexes.py::test_an_interrupted_build_is_finished_by_the_next_run",
    ),
    Mutation(
        "index of the running sessions of a quiz",
        "sql/list_sessions.sql",
        replace_sql("or s.status = %(status)s::text", "or true"),
        "tests/storage/test_plans.py::test_no_ended_session_of_a_quiz_is_read",
    ),
    Mutation(
        "declared type of a column",
        "sql/schema/0001_quiz_sessions.sql",
        replace_sql("version integer", "version bigint"),
        "tests/storage/test_statements.py::test_each_header_matches_postgresql",
    ),
]

MUTATIONS = [*WRITES, *OTHER_STATEMENTS, *DATABASE]
