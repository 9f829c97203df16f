"""Mutations of exports: each session once, whole or an error, limits, harmless cells, the cache."""

from tests.verify.mutations.mutation import (
    Mutation,
    force,
    remove,
    remove_sql,
    replace,
    replace_sql,
    set_constant,
)

_EXPORT = "tests/operations/test_export_answers.py::"
_STREAM = "tests/server/test_streamed_responses.py::"
_LATE = "tests/verify/exports/test_exports.py::"
_COMMAND = "tests/setup/test_export_command.py::"
_EXPORTS = "session_service/sessions/exports.py"
_CSV = "session_service/sessions/csv_table.py"
_STORE = "session_service/storage/export_store.py"
_CLI = "session_service/export.py"

PAGES = [
    Mutation(
        "sessions of one millisecond are each in an export",
        "sql/export_sessions.sql",
        replace_sql("(created_at, id) <", "(created_at, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) <"),
        f"{_EXPORT}test_200_with_each_session_once",
    ),
    Mutation(
        "a page whose sessions do not pass the filter is not the last one",
        "sql/export_sessions.sql",
        remove_sql("or number = (select max(number) from page)"),
        f"{_EXPORT}test_200_with_few_sessions_of_the_status",
    ),
    Mutation(
        "a session that is larger than a page is exported",
        "sql/export_sessions.sql",
        remove_sql("number = 1 or"),
        f"{_EXPORT}test_200_with_large_sessions",
    ),
    Mutation(
        "an overdue session has no version in an export",
        "sql/export_sessions.sql",
        replace_sql("case when not overdue then version end", "version"),
        f"{_EXPORT}test_200_of_an_overdue_session_without_a_version",
    ),
    Mutation(
        "columns are those of sessions of the status",
        "sql/list_answered_questions.sql",
        replace_sql("when %(status)s::text is null then answers", "when true then answers"),
        f"{_EXPORT}test_200_with_few_sessions_of_the_status",
    ),
    Mutation(
        "an export raises the cache to its versions",
        _STORE,
        remove("ExportStore.sessions", "await self._cache.raise_versions($$$)"),
        f"{_EXPORT}test_no_read_is_older_than_the_export_before[csv]",
    ),
    Mutation(
        "bin/export shows no version without Redis",
        _STORE,
        force("ExportStore.sessions", "self._cache is None", value=False),
        f"{_COMMAND}test_an_export_raises_the_cache_or_shows_no_version",
    ),
]

RUNS = [
    Mutation(
        "a bounded number of exports",
        _EXPORTS,
        force("Exports.open", "self._running >= MAX_EXPORTS", value=False),
        f"{_EXPORT}test_503_beyond_the_exports_at_a_time[hypercorn]",
    ),
    Mutation(
        "an export that has ended is not counted",
        _EXPORTS,
        remove("Exports._run", "self._running -= 1"),
        f"{_EXPORT}test_503_beyond_the_exports_at_a_time[uvicorn]",
    ),
    Mutation(
        "an export has the quizzes of a proctor only",
        _EXPORTS,
        force("ExportFilter.within", "reach.owner is None", value=True),
        f"{_EXPORT}test_200_for_a_proctor",
    ),
    Mutation(
        "a page is read again after a fault",
        _EXPORTS,
        set_constant("_ATTEMPTS", "1"),
        f"{_LATE}test_an_export_survives_a_short_fault",
    ),
    Mutation(
        "a page that takes too long is read in parts",
        _EXPORTS,
        remove("Exports._read", "request = $VALUE"),
        f"{_LATE}test_a_page_that_takes_too_long_is_read_in_parts",
    ),
    Mutation(
        "running exports end at a shutdown",
        _EXPORTS,
        remove("Exports.begin_shutdown", "self._ends_at = $VALUE"),
        f"{_LATE}test_graceful_shutdown_breaks_a_running_export_off[hypercorn]",
    ),
    Mutation(
        "an export ends when its client has gone, on Hypercorn",
        "session_service/server/hypercorn/connection.py",
        remove("Connection.run", "await self._protocol.handle(Closed())"),
        f"{_EXPORT}test_503_beyond_the_exports_at_a_time[hypercorn]",
    ),
    Mutation(
        "an unfinished response resets its connection, on Hypercorn",
        "session_service/server/hypercorn/connection.py",
        remove("_Protocol.stream_send", "self._connection.abort()"),
        f"{_STREAM}test_an_error_after_the_first_byte_resets_the_connection[hypercorn-1.0]",
    ),
    Mutation(
        "an unfinished response resets its connection, on uvicorn",
        "session_service/server/uvicorn/cycle.py",
        remove("SingleWriteCycle.run_asgi", "reset(self.transport)"),
        f"{_STREAM}test_an_error_after_the_first_byte_resets_the_connection[uvicorn-1.0]",
    ),
]

CELLS = [
    Mutation(
        "no formula in a cell",
        _CSV,
        force("_text", "value.startswith(_FORMULA)", value=False),
        f"{_EXPORT}test_200_with_columns",
    ),
    Mutation(
        "a quote in a cell does not end it",
        _CSV,
        replace("_text", "value.replace($$$)", "value"),
        f"{_EXPORT}test_200_with_columns",
    ),
    Mutation(
        "a question named like a column has its own",
        _CSV,
        set_constant("_PREFIX", '""'),
        f"{_EXPORT}test_200_with_questions_named_like_columns",
    ),
    Mutation(
        "an answer that has a column is not among the other answers",
        _CSV,
        replace("CsvTable.row", "answers.pop(question, _MISSING)", "answers.get(question, _MISSING)"),
        f"{_EXPORT}test_200_with_other_answers",
    ),
]

COMMAND = [
    Mutation(
        "a failed export leaves no part of a file",
        _CLI,
        remove("_new_file", "part.unlink()"),
        f"{_COMMAND}test_a_stopped_export_leaves_no_file[2-130]",
    ),
    Mutation(
        "bin/export fails without its Redis",
        _CLI,
        force("_exports", "not redis.available", value=False),
        f"{_COMMAND}test_a_failed_export_leaves_the_file[redis]",
    ),
]

MUTATIONS = [*PAGES, *RUNS, *CELLS, *COMMAND]
