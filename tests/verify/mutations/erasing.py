"""Mutations of erasing: what is deleted, by whom, and the tombstones."""

from tests.verify.mutations.mutation import (
    Mutation,
    force,
    remove,
    remove_sql,
    replace,
    replace_lua,
    replace_sql,
)

_STORE = "session_service/storage/erasure_store.py"
_ERASE = "sql/erase_sessions.sql"
_ENDED = "sql/lock_ended_sessions.sql"
_ONE = "tests/operations/test_erase_session.py::"
_MANY = "tests/operations/test_erase_sessions.py::"
_RACES = "tests/erasing/test_races.py::"
_TRACES = "tests/erasing/test_traces.py::"
_RETENTION = "tests/erasing/test_retention.py::"

DELETED = [
    Mutation(
        "lines of an erased session",
        _ERASE,
        replace_sql("delete from session_events as e using gone where e.session_id = gone.id", "select"),
        f"{_TRACES}test_no_word_of_an_erased_user_is_left",
    ),
    Mutation(
        "positions of an erased session",
        _ERASE,
        replace_sql("delete from event_positions as p using gone where p.session_id = gone.id", "select"),
        f"{_TRACES}test_nothing_but_one_line_refers_to_an_erased_session",
    ),
    Mutation(
        "actor of the line that stays without a name",
        "session_service/sessions/erasure.py",
        replace("ErasureService.erase", 'actor["type"]', "str(dict(actor))"),
        f"{_ONE}test_204_with_one_event_in_the_feed",
    ),
    Mutation(
        "event of an erased session",
        "sql/place_events.sql",
        replace_sql("left join quiz_sessions", "join quiz_sessions"),
        f"{_ONE}test_204_with_one_event_in_the_feed",
    ),
    Mutation(
        "name of an erased user who gave orders",
        "sql/redact_actor.sql",
        replace_sql("actor ->> 'type' = 'staff'", "actor ->> 'type' = 'system'"),
        f"{_TRACES}test_no_word_of_an_erased_user_is_left",
    ),
    Mutation(
        "name of an erased user who acted for a learner",
        "sql/redact_actor.sql",
        replace_sql("or (actor ? 'acting' and", "or (false and"),
        f"{_TRACES}test_no_word_of_an_erased_user_is_left",
    ),
    Mutation(
        "client of an erased user's order",
        "sql/redact_actor.sql",
        remove_sql("client_id = null ,"),
        f"{_TRACES}test_no_word_of_an_erased_user_is_left",
    ),
]

RACES = [
    Mutation(
        "a statement of its own for the lock of a session",
        _STORE,
        replace("ErasureStore.erase", "await queries.lock_session($$$)", "1"),
        f"{_RACES}test_what_was_committed_while_erasing_waited_is_erased",
    ),
    Mutation(
        "lock of the feed before the positions are deleted",
        _STORE,
        remove("ErasureStore._step", "await queries.lock_feed($$$)"),
        f"{_RACES}test_what_was_committed_while_erasing_waited_is_erased",
    ),
    Mutation(
        "tombstone before the commit",
        _STORE,
        force("ErasureStore._step", "not await self._bury(ids)", value=False),
        f"{_RACES}test_the_tombstone_is_there_before_and_after_the_commit",
    ),
    Mutation(
        "no erasing without the tombstone",
        _STORE,
        remove("ErasureStore._step", 'raise ServiceUnavailableError("not_applied")'),
        f"{_ONE}test_503_without_redis_and_nothing_is_erased",
    ),
    Mutation(
        "tombstone after the commit",
        _STORE,
        remove("ErasureStore._step", "if ids:\n    await self._bury(ids)\n    self.on_event()"),
        f"{_RACES}test_the_tombstone_is_there_before_and_after_the_commit",
    ),
    Mutation(
        "tombstone of a repeat",
        _STORE,
        remove("ErasureStore.erase", "await self._bury([session_id])"),
        f"{_ONE}test_404_for_a_repeat",
    ),
    Mutation(
        "guard from the last tombstone",
        "session_service/storage/session_cache.py",
        replace_lua("_PUT_IF_NEWER", "and version < 9999999999 and", "and"),
        f"{_RACES}test_a_tombstone_outlives_every_entry_of_its_session",
    ),
    Mutation(
        "tombstone above every version",
        "session_service/storage/session_cache.py",
        replace("", "ERASED = $VALUE", "ERASED = 1"),
        f"{_RACES}test_a_tombstone_outlives_every_entry_of_its_session",
    ),
    Mutation(
        "locked sessions of an erased user are left out",
        "sql/lock_user_sessions.sql",
        remove_sql("skip locked"),
        f"{_MANY}test_200_leaves_locked_sessions_to_the_next_call",
    ),
    Mutation(
        "sessions that a call has left out",
        _STORE,
        replace("ErasureStore.erase_user", "is_full or is_named or await self._has_left($USER)", "False"),
        f"{_MANY}test_200_leaves_locked_sessions_to_the_next_call",
    ),
]

RETENTION = [
    Mutation(
        "no running session by its age",
        _ENDED,
        replace_sql(
            "where status in ('completed', 'expired') and coalesce(completed_at, closes_at, 'infinity')",
            "where coalesce(completed_at, closes_at, started_at)",
        ),
        f"{_RETENTION}test_old_ended_sessions_are_erased",
    ),
    Mutation(
        "no later session",
        _ENDED,
        replace_sql("< %(before)s::timestamptz", "is distinct from %(before)s::timestamptz"),
        f"{_RETENTION}test_old_ended_sessions_are_erased",
    ),
    Mutation(
        "lock of an ended session",
        _ENDED,
        remove_sql("for update skip locked"),
        f"{_RETENTION}test_a_session_that_is_reopened_meanwhile_is_kept",
    ),
    Mutation(
        "one instance that erases old sessions",
        _STORE,
        force("ErasureStore.erase_old", "turn.is_taken", value=True),
        f"{_RETENTION}test_one_instance_works_at_a_time",
    ),
    Mutation(
        "fewer sessions after a step that took too long",
        _STORE,
        force(
            "ErasureStore._erase_some",
            "limit == 1 or not isinstance(error.__cause__, QueryCanceled)",
            value=True,
        ),
        f"{_RETENTION}test_sessions_that_take_too_long_together_are_erased_one_by_one",
    ),
]

ACCESS = [
    Mutation(
        "erasing without tokens on loopback only",
        "session_service/settings.py",
        force("Settings.erases_without_tokens", "is_loopback(self.host)", value=True),
        f"{_ONE}test_403_where_erasing_is_off",
    ),
    Mutation(
        "rights of the role that erases",
        _STORE,
        replace("ErasureStore.check", "[right.name for right in $ROWS]", "[]"),
        "tests/storage/test_erasing_role.py::test_a_missing_right_stops_the_start",
    ),
    Mutation(
        "one database for the service and for erasing",
        _STORE,
        replace("ErasureStore.check", "$ERA != era", "False"),
        "tests/storage/test_erasing_role.py::test_another_database_stops_the_start",
    ),
    Mutation(
        "bin/erase without Redis",
        "session_service/storage/erase_command.py",
        force("_run", "not await redis.ping()", value=False),
        "tests/erasing/test_command.py::test_it_refuses_without_redis",
    ),
    Mutation(
        "bin/erase asks",
        "session_service/storage/erase_command.py",
        force("_run", "sys.stdin.isatty()", value=False),
        "tests/erasing/test_command.py::test_it_asks_on_a_terminal",
    ),
]

MUTATIONS = [*DELETED, *RACES, *RETENTION, *ACCESS]
