"""Mutations of bin/fence: versions, the era of the feed, the cache, runs that are interrupted."""

from tests.verify.mutations.mutation import Mutation, force, replace, replace_sql

_COMMAND = "session_service/storage/fence_command.py"
_TESTS = "tests/storage/test_fence.py::"
_VERSIONS = f"{_TESTS}test_every_session_gets_a_version_that_was_never_shown"
_CONTINUED = f"{_TESTS}test_an_interrupted_run_is_continued"

MUTATIONS = [
    Mutation(
        "jump of the versions after a restore",
        "sql/fence_sessions.sql",
        replace_sql("s.version + 1000000", "s.version + 1"),
        _VERSIONS,
    ),
    Mutation(
        "jump of sessions that have ended",
        "sql/fence_sessions.sql",
        replace_sql("where s.id >", "where s.status = 'in_progress' and s.id >"),
        _VERSIONS,
    ),
    Mutation(
        "event of the jump of a session that runs",
        "sql/fence_sessions.sql",
        replace_sql("where status in ('in_progress', 'paused')", "where status = 'paused'"),
        _VERSIONS,
    ),
    Mutation(
        "another era of the feed after a restore",
        "sql/begin_fence.sql",
        replace_sql("set era = gen_random_uuid()", "set era = era"),
        _VERSIONS,
    ),
    Mutation(
        "copies from before a restore",
        _COMMAND,
        replace("_change", "await SessionCache(redis, cache_seconds(), STEP).clear()", "0"),
        f"{_TESTS}test_the_cache_is_cleared",
    ),
    Mutation(
        "one jump by a run that is continued",
        _COMMAND,
        replace("_interrupted", "return fence.era", "return None"),
        _CONTINUED,
    ),
    Mutation(
        "place that a run has reached",
        "sql/fence_sessions.sql",
        replace_sql("where s.id > (select reached from fence)", "where s.version < 1000000"),
        f"{_TESTS}test_a_run_after_a_further_restore_begins_again",
    ),
    Mutation(
        "no start before the end of bin/fence",
        "session_service/storage/migrations.py",
        force("check", "await queries.list_open_fences(source)", value=False),
        f"{_TESTS}test_the_service_does_not_start_before_the_end",
    ),
    Mutation(
        "no fence while an instance runs",
        "sql/count_service_connections.sql",
        replace_sql("and usename = %(role)s::text", "and usename = 'none' || %(role)s::text"),
        f"{_TESTS}test_it_refuses_while_an_instance_runs",
    ),
]
