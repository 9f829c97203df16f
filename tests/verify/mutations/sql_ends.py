"""Mutations of the rules of sql/write_sessions.sql for ends, annotations and values."""

from tests.verify.mutations.mutation import Mutation, remove_sql, replace_sql

WRITES = "sql/write_sessions.sql"

MUTATIONS = [
    Mutation(
        "grace of a write",
        WRITES,
        replace_sql("(s).closes_at <= checked_at, false)", "(s).expires_at <= checked_at, false)"),
        "tests/operations/test_ends.py::test_writes_land_in_the_grace",
    ),
    Mutation(
        "count of late saves",
        WRITES,
        replace_sql("t.expires_at <= coalesce(t.paused_at, checked_at) then 1", "false then 1"),
        "tests/operations/test_ends.py::test_writes_land_in_the_grace",
    ),
    Mutation(
        "no late save by a position alone",
        WRITES,
        replace_sql("and saves and t.expires_at", "and t.expires_at"),
        "tests/operations/test_ends.py::test_writes_land_in_the_grace",
    ),
    Mutation(
        "completion by the deadline",
        WRITES,
        remove_sql("when (s).on_expiry = 'complete' then 'completed'"),
        "tests/operations/test_ends.py::test_after_its_end_a_session_is_completed",
    ),
    Mutation(
        "time of a completion by the deadline",
        WRITES,
        replace_sql("then t.closes_at", "then checked_at"),
        "tests/operations/test_ends.py::test_after_its_end_a_session_is_completed",
    ),
    Mutation(
        "keys of a session that its deadline ends",
        WRITES,
        replace_sql(
            "array(select split_part(recent, ' ', 1) from unnest(t.recent_writes) as recent)", "'{}'"
        ),
        "tests/operations/test_idempotency_key_forms.py::test_an_ended_session_keeps_its_keys",
    ),
    Mutation(
        "key of a completion",
        WRITES,
        replace_sql("else array[(a).key]", "else '{}'"),
        "tests/operations/test_idempotency_key_forms.py::test_a_completion_keeps_its_own_key",
    ),
    Mutation(
        "key without a digest as a repeat",
        WRITES,
        replace_sql("then 'key_reused' else 'repeated'", "then 'key_reused' else 'key_reused'"),
        "tests/operations/test_idempotency_key_forms.py::test_a_key_without_a_comparable_digest_is_a_repeat",
    ),
    Mutation(
        "size of a session as text",
        WRITES,
        replace_sql("octet_length(answers::text)", "pg_column_size(answers)"),
        "tests/operations/test_bounds.py::test_numbers_count_as_they_are_returned",
    ),
    Mutation(
        "nulls within answers",
        WRITES,
        replace_sql("((s).answers || (a).answers)", "jsonb_strip_nulls((s).answers || (a).answers)"),
        "tests/operations/test_exactness.py::test_every_reply_has_equal_values",
    ),
    Mutation(
        "cleared answers",
        WRITES,
        remove_sql("- (a).cleared_answers"),
        "tests/operations/test_update_progress.py::test_200_replaces_and_clears",
    ),
    Mutation(
        "cleared annotations",
        WRITES,
        remove_sql("- (a).cleared_annotations"),
        "tests/operations/test_annotations.py::test_annotations_are_merged_and_cleared",
    ),
    Mutation(
        "annotations of a second completion",
        WRITES,
        remove_sql("and annotations = (s).annotations"),
        "tests/operations/test_annotations.py::test_a_completion_saves_annotations",
    ),
    Mutation(
        "last_saved_at not moved by a position",
        WRITES,
        replace_sql(
            "last_saved_at = case when verdict = 'ok' and saves then",
            "last_saved_at = case when verdict = 'ok' then",
        ),
        "tests/operations/test_annotations.py::test_last_saved_at_moves_for_what_was_saved",
    ),
]
