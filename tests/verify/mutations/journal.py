"""Mutations of the journal: its lines, their provenance, and the history that shows them."""

from tests.verify.mutations.mutation import (
    Mutation,
    force,
    remove,
    replace,
    replace_sql,
    set_constant,
)

WRITES = "sql/write_sessions.sql"
STARTS = "sql/start_sessions.sql"
EXPIRES = "sql/expire_sessions.sql"
HISTORY = "sql/list_session_events.sql"
STORE = "session_service/storage/session_store.py"
LINES = "tests/sessions/test_journal.py"
LISTED = "tests/operations/test_list_session_events.py"

MUTATIONS = [
    Mutation(
        "line of each write",
        WRITES,
        replace_sql("from written ), unplaced", "from written where false ), unplaced"),
        "tests/sessions/test_replay.py::test_the_journal_gives_the_session",
    ),
    Mutation(
        "line of each start",
        STARTS,
        replace_sql(
            "from started as s join asked on asked.id = s.id", "from started as s join asked on false"
        ),
        f"{LINES}::test_a_start_has_a_line",
    ),
    Mutation(
        "line of each session that the sweeper ends",
        EXPIRES,
        replace_sql("from ended returning", "from ended where false returning"),
        "tests/sessions/test_replay.py::test_the_journal_gives_the_session",
    ),
    Mutation(
        "the service as the actor of an end by the deadline",
        WRITES,
        replace_sql(
            'when overdue then \'{"type": "system"}\' else (a).actor', "when false then '{}' else (a).actor"
        ),
        f"{LINES}::test_an_end_by_the_deadline_has_a_line_of_the_service",
    ),
    Mutation(
        "no client of an end by the deadline",
        WRITES,
        replace_sql("case when not overdue then (a).client_id end", "(a).client_id"),
        f"{LINES}::test_an_end_by_the_deadline_has_a_line_of_the_service",
    ),
    Mutation(
        "no changes in the line of an end by the deadline",
        WRITES,
        replace_sql("case when overdue then '{}' else coalesce", "case when false then '{}' else coalesce"),
        f"{LINES}::test_an_end_by_the_deadline_has_a_line_of_the_service",
    ),
    Mutation(
        "time of a completion in its line",
        WRITES,
        replace_sql("to_char((t).completed_at at", "to_char((t).created_at at"),
        f"{LISTED}::test_200_with_one_line_for_each_version",
    ),
    Mutation(
        "end of a start in its line",
        STARTS,
        replace_sql("to_char(s.closes_at at", "to_char(s.expires_at at"),
        f"{LINES}::test_a_start_has_a_line",
    ),
    Mutation(
        "summary of a large change in its line",
        WRITES,
        replace_sql("coalesce((a).summary, (a).change)", "(a).change"),
        f"{LINES}::test_a_change_over_8_kib_has_sizes_and_digests",
    ),
    Mutation(
        "size of a change that a line keeps",
        "session_service/sessions/journal.py",
        set_constant("MAX_KEPT", "8 * 1024 - 1"),
        f"{LINES}::test_a_change_over_8_kib_has_sizes_and_digests",
    ),
    Mutation(
        "digest of a value that is no digest of a write",
        "session_service/sessions/codec.py",
        replace("Digester.of_value", "self._digest($PREFIX + $TEXT)", "self._digest($TEXT)"),
        f"{LINES}::test_a_change_over_8_kib_has_sizes_and_digests",
    ),
    Mutation(
        "cleared values in the line of a large change",
        "session_service/sessions/journal.py",
        force("summarize", "value is None", value=False),
        f"{LINES}::test_a_change_over_8_kib_has_sizes_and_digests",
    ),
    Mutation(
        "kind of a token in its actor",
        "session_service/api/auth/principal.py",
        replace("Principal.of_token", '"staff"', '"learner"'),
        "tests/api/auth/test_actors.py::test_a_service_with_the_subject_of_a_learner_is_another_actor",
    ),
    Mutation(
        "party that acts for the subject of a token",
        "session_service/api/auth/actor.py",
        force("actor_of", "act is None", value=True),
        f"{LISTED}::test_200_for_the_owner_without_other_actors",
    ),
    Mutation(
        "other actors hidden from the owner",
        HISTORY,
        replace_sql("case when open then e.actor end", "e.actor"),
        f"{LISTED}::test_200_for_the_owner_without_other_actors",
    ),
    Mutation(
        "clients of other actors hidden from the owner",
        HISTORY,
        replace_sql("case when open then e.client_id end", "e.client_id"),
        f"{LISTED}::test_200_for_the_owner_without_other_actors",
    ),
    Mutation(
        "requests of other actors hidden from the owner",
        HISTORY,
        replace_sql("case when open then e.request_id end", "e.request_id"),
        f"{LISTED}::test_200_for_the_owner_without_other_actors",
    ),
    Mutation(
        "owner check of a history",
        HISTORY,
        replace_sql("user_id = %(owner)s::text or quiz_id", "user_id is not null or quiz_id"),
        f"{LISTED}::test_404_for_a_foreign_or_a_missing_session",
    ),
    Mutation(
        "size of a page of a history",
        HISTORY,
        replace_sql("1048576 - 256", "2 * 1048576"),
        f"{LISTED}::test_200_in_pages_of_one_mebibyte",
    ),
    Mutation(
        "successor of a page of a history",
        HISTORY,
        replace_sql("e.version > ended.version) then ended.version", "e.version > ended.version) then null"),
        f"{LISTED}::test_200_in_pages",
    ),
    Mutation(
        "end of an overdue session before its history",
        STORE,
        force("SessionStore.events", "rows and rows[0].overdue", value=False),
        f"{LISTED}::test_200_ends_an_overdue_session",
    ),
    Mutation(
        "cache raised before a history shows a version",
        STORE,
        remove("SessionStore._history", "await self._cache.raise_versions($VERSIONS)"),
        f"{LISTED}::test_200_raises_the_cache",
    ),
    Mutation(
        "journal without updates by the service",
        "sql/admit_role.sql",
        replace_sql(
            "'grant select, insert on session_events to %%I'",
            "'grant select, insert, update on session_events to %%I'",
        ),
        "tests/storage/test_roles.py::test_the_role_has_only_the_needed_privileges",
    ),
    Mutation(
        "line of a change by release 2.0",
        "sql/schema/0008_changes_of_2_0.sql",
        replace_sql("after update of version on", "after update of attempt on"),
        "tests/storage/test_release_2_0.py::test_both_releases_change_a_session",
    ),
]
