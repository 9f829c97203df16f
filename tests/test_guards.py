"""The proofs bite: with any one guard taken out of the service, a test fails."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.service import copy_house


@frozen
class Guard:
    """A guard of the service, the change that takes it out, and the test that then has to fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


GUARDS = [
    Guard(
        "key test",
        "sql/write_sessions.sql",
        "then 'repeated'\n      -- Digests",
        "and false then 'ok'\n      -- Digests",
        "tests/operations/test_update_progress.py::test_200_for_a_repeat_has_one_effect",
    ),
    Guard(
        "one write for a key",
        "sql/write_sessions.sql",
        "split_part(recent, ' ', 1) = ",
        "'' = ",
        "tests/operations/test_update_progress.py::test_422_for_anything_else_under_the_key",
    ),
    Guard(
        "sixteen keys",
        "sql/write_sessions.sql",
        "[:15]",
        "[:3]",
        "tests/operations/test_update_progress.py::test_200_for_any_of_the_last_sixteen_keys",
    ),
    Guard(
        "key before version",
        "sql/write_sessions.sql",
        "when (a).key || ' '",
        "when (s).version <> all ((a).expected_versions) then 'conflict' when (a).key || ' '",
        "tests/operations/test_update_progress.py::test_200_for_a_repeat_of_a_save_onto_a_version",
    ),
    Guard(
        "operation in the digest",
        "session_service/sessions/codec.py",
        "_converter.unstructure(write), option",
        "{**_converter.unstructure(write), 'operation': ''}, option",
        "tests/operations/test_update_progress.py::test_422_for_anything_else_under_the_key",
    ),
    Guard(
        "start's key",
        "sql/start_sessions.sql",
        "and s.start_key = ",
        "and '' = ",
        "tests/operations/test_start_session.py::test_200_for_all_but_one_of_the_repeats_that_race",
    ),
    Guard(
        "one start for a key",
        "sql/start_sessions.sql",
        "when s.start_digest <> a.digest and",
        "when false and",
        "tests/operations/test_start_session.py::test_422_for_anything_else_under_the_key",
    ),
    Guard(
        "lock of racing resumes",
        "sql/lock_starts.sql",
        "quiz_id));",
        "quiz_id + (random() * 1e9)::integer));",
        "tests/test_together.py::test_two_instances_resume_one_session",
    ),
    Guard(
        "end of what is resumed",
        "sql/start_sessions.sql",
        "    and s.expires_at > now\n",
        "",
        "tests/operations/test_start_session.py::test_201_where_what_there_is_is_over",
    ),
    Guard(
        "skipped locks of the sweeper",
        "sql/expire_sessions.sql",
        " skip locked",
        "",
        "tests/test_sweeper.py::test_a_row_that_is_held_is_left_to_the_next_round",
    ),
    Guard(
        "sweeper's own test of the end",
        "sql/expire_sessions.sql",
        "    and expires_at <= clock_timestamp()\n",
        "",
        "tests/test_sweeper.py::test_only_what_is_over_is_expired_and_once",
    ),
    Guard(
        "versions seen",
        "session_service/storage/session_cache.py",
        "entry.version >= seen_version and ",
        "",
        "tests/operations/test_get_session.py::test_200_never_older_than_what_the_client_has_seen",
    ),
    Guard(
        "time that an entry is good",
        "session_service/storage/session_cache.py",
        " and reading.latest(monotonic()) < entry.good_until",
        "",
        "tests/test_cache.py::test_an_entry_past_its_time_is_a_miss_but_still_a_guard",
    ),
    Guard(
        "time that a version is guarded",
        "session_service/storage/session_cache.py",
        "'px', ARGV[1])",
        "'px', 1)",
        "tests/test_cache.py::test_a_hit_does_not_touch_postgresql",
    ),
    Guard(
        "one fault told of a large body",
        "session_service/api/contract.py",
        "if size <= FULL_REPORT_LIMIT:",
        "if True:",
        "tests/operations/test_save_answers.py::test_400_tells_one_fault_of_many_at_once",
    ),
    Guard(
        "words of the contract in a fault's place",
        "session_service/api/contract.py",
        "step in self.names or ",
        "True or ",
        "tests/operations/test_save_answers.py::test_400_tells_one_fault_of_many_at_once",
    ),
    Guard(
        "disbelief",
        "session_service/storage/redis.py",
        "            self._trip(error)\n",
        "",
        "tests/test_cache.py::test_redis_killed_and_back",
    ),
    Guard(
        "repair before belief",
        "session_service/storage/session_cache.py",
        "while self._dirty:",
        "while False:",
        "tests/test_cache.py::test_what_could_not_be_written_is_not_doubted_and_made_good",
    ),
    Guard(
        "debts beyond memory",
        "session_service/storage/session_cache.py",
        "return monotonic() >= self._blind_until",
        "return True",
        "tests/test_cache.py::test_more_debts_than_are_remembered_are_waited_out",
    ),
    Guard(
        "old entry goes when Redis is full",
        "session_service/storage/session_cache.py",
        "await self.client.call(lambda: self.client.commands.delete(*keys))",
        "pass",
        "tests/test_cache.py::test_redis_full",
    ),
    Guard(
        "version test",
        "sql/write_sessions.sql",
        "(s).version <> all ((a).expected_versions)",
        "0 = any ((a).expected_versions)",
        "tests/operations/test_update_progress.py::test_409_on_a_stale_version",
    ),
    Guard(
        "status test",
        "sql/write_sessions.sql",
        "(s).status = 'completed' then",
        "false then",
        "tests/operations/test_update_progress.py::test_410_after_completion",
    ),
    Guard(
        "expiry test",
        "sql/write_sessions.sql",
        " or (s).expires_at <= checked_at",
        "",
        "tests/operations/test_update_progress.py::test_410_after_the_time_is_over",
    ),
    Guard(
        "row lock",
        "sql/write_sessions.sql",
        "    for update skip locked\n",
        "",
        "tests/test_together.py::test_a_row_that_is_held_delays_no_other",
    ),
    Guard(
        "nobody waits for a lock in a batch",
        "sql/write_sessions.sql",
        " skip locked",
        "",
        "tests/test_together.py::test_a_row_that_is_held_delays_no_other",
    ),
    Guard(
        "what is held goes again alone",
        "session_service/storage/session_store.py",
        'if result is None or result.verdict != "busy":',
        "if True:",
        "tests/test_together.py::test_a_row_that_is_held_delays_no_other",
    ),
    Guard(
        "one call of a key at a time",
        "session_service/traffic/batching.py",
        "if not self._free or key in self._queues:",
        "key = object()\n        if not self._free or key in self._queues:",
        "tests/test_together.py::test_calls_with_one_key_keep_their_order",
    ),
    Guard(
        "a batch that is refused goes one by one",
        "session_service/storage/session_store.py",
        "            retry_singly_on=(RejectedError,),\n",
        "",
        "tests/test_together.py::test_one_row_that_the_database_refuses_fails_alone",
    ),
    Guard(
        "a batch that may have landed is not repeated",
        "session_service/storage/session_store.py",
        "retry_singly_on=(RejectedError,)",
        "retry_singly_on=(RejectedError, ServiceUnavailableError)",
        "tests/test_together.py::test_an_unknown_outcome_is_told_to_each",
    ),
    Guard(
        "a lane's room",
        "session_service/traffic/batching.py",
        ">= self._queue_size",
        ">= 10 * self._queue_size",
        "tests/test_together.py::test_a_full_lane_refuses_at_once",
    ),
    Guard(
        "resumes that lost the race for the lock",
        "sql/lock_starts.sql",
        "where pg_try_advisory_xact_lock(hashtextextended(user_id, quiz_id))",
        "",
        "tests/test_together.py::test_two_instances_resume_one_session",
    ),
    Guard(
        "bound on all bodies",
        "session_service/traffic/load_shedding.py",
        "self._body_memory + size > MAX_BODY_MEMORY",
        "self._body_memory + size > 100 * MAX_BODY_MEMORY",
        "tests/test_together.py::test_bodies_past_their_bound_are_refused_at_once",
    ),
    Guard(
        "order behind a lock",
        "sql/write_sessions.sql",
        "  where not a.must_queue\n",
        "",
        "tests/test_together.py::test_the_order_of_writes_is_kept_behind_a_row_that_is_held",
    ),
    Guard(
        "lock before clock",
        "sql/write_sessions.sql",
        "clock_timestamp()",
        "now()",
        "tests/operations/test_update_progress.py::test_410_for_a_save_that_waited_for_the_row_until_the_end",
    ),
    Guard(
        "bound on the number of answers",
        "sql/write_sessions.sql",
        "> 10000",
        "> 100000",
        "tests/operations/test_update_progress.py::test_413_for_the_ten_thousand_and_first_answer",
    ),
    Guard(
        "bound on the size of the answers",
        "sql/write_sessions.sql",
        "> 1048576",
        "> 10485760",
        "tests/operations/test_update_progress.py::test_413_over_one_mebibyte_of_answers",
    ),
    Guard(
        "expiry test of a read",
        "sql/get_sessions.sql",
        " or (s).expires_at <= checked_at",
        "",
        "tests/operations/test_get_session.py::test_410_once_the_time_is_over_also_from_the_cache",
    ),
    Guard(
        "expiry cap of the cache",
        "session_service/storage/session_store.py",
        "seconds = min(seconds, (row.expires_at - row.checked_at).total_seconds())",
        "pass",
        "tests/operations/test_get_session.py::test_410_once_the_time_is_over_also_from_the_cache",
    ),
    Guard(
        "cache's version guard",
        "session_service/storage/session_cache.py",
        "if not held or held <= tonumber(version) then",
        "if true then",
        "tests/test_cache.py::test_an_older_version_never_replaces_a_newer",
    ),
    Guard(
        "cache's bound by CACHE_SECONDS",
        "session_service/storage/session_store.py",
        "seconds = float(self._settings.cache_seconds)",
        "seconds = 3600.0",
        "tests/test_cache.py::test_an_entry_is_good_no_longer_than_cache_seconds",
    ),
    Guard(
        "raising the cache before a refusal",
        "session_service/storage/session_store.py",
        'if row.status != "expired":',
        'if row.verdict == "ok":',
        "tests/test_cache.py::test_a_refusal_raises_the_cache_too",
    ),
    Guard(
        "own id in an entry",
        "session_service/storage/session_cache.py",
        "    if named.decode() != str(session_id):\n        return None\n",
        "",
        "tests/test_cache.py::test_an_entry_that_is_none_is_a_miss",
    ),
    Guard(
        "Redis's time limit",
        "session_service/storage/redis.py",
        "TIMEOUT_TICKS = 5",
        "TIMEOUT_TICKS = 800",
        "tests/test_cache.py::test_redis_frozen",
    ),
    Guard(
        "own lateness",
        "session_service/storage/redis.py",
        "TickTimeout():",
        "asyncio.timeout(0.05):",
        "tests/test_cache.py::test_a_service_that_is_held_up_does_not_doubt_redis",
    ),
    Guard(
        "body limit",
        "session_service/api/request.py",
        "MAX_BODY_BYTES = 256 ",
        "MAX_BODY_BYTES = 2560 ",
        "tests/operations/test_get_session.py::test_413_over_256_kib",
    ),
    Guard(
        "body read whole",
        "session_service/api/request.py",
        "                    raise ClientDisconnect\n",
        "                    break\n",
        "tests/test_edge.py::test_half_a_body_is_not_executed",
    ),
    Guard(
        "request id's form",
        "session_service/api/request.py",
        "{1,128}",
        "{1,129}",
        "tests/test_edge.py::test_an_unfit_request_id_is_replaced",
    ),
    Guard(
        "log line's form",
        "session_service/api/application.py",
        "else quote(raw, safe=",
        "else str(raw, 'latin-1') or quote(raw, safe=",
        "tests/test_edge.py::test_each_request_is_one_line_in_the_log",
    ),
    Guard(
        "owner of what is cached",
        "session_service/storage/session_store.py",
        "if cached and owner in (None, cached.user_id):",
        "if cached:",
        "tests/test_ownership.py::test_a_foreign_session_is_a_missing_one",
    ),
    Guard(
        "owner of what is read",
        "sql/get_sessions.sql",
        " and (a.owner is null or s.user_id = a.owner)",
        "",
        "tests/test_ownership.py::test_a_foreign_session_is_a_missing_one",
    ),
    Guard(
        "owner of what is written",
        "sql/write_sessions.sql",
        "      and (a.owner is null or s.user_id = a.owner)\n    for",
        "    for",
        "tests/test_ownership.py::test_a_foreign_session_is_a_missing_one",
    ),
    Guard(
        "owner of what is busy",
        "sql/write_sessions.sql",
        " and (a.owner is null or s.user_id = a.owner)\n  where not",
        "\n  where not",
        "tests/test_ownership.py::test_a_foreign_session_is_a_missing_one",
    ),
    Guard(
        "owner of what is listed",
        "session_service/storage/session_store.py",
        "owner or wanted.user_id",
        "wanted.user_id",
        "tests/test_ownership.py::test_a_list_has_ones_own",
    ),
    Guard(
        "start for another user",
        "session_service/sessions/service.py",
        "        _check_owner(owner, wanted.user_id)\n        if owner is not None",
        "        if owner is not None",
        "tests/test_ownership.py::test_a_start_is_for_oneself",
    ),
    Guard(
        "pinned algorithms",
        "session_service/api/auth/jwks.py",
        "for name in algorithms if ",
        'for name in ("RS384", *algorithms) if ',
        "tests/test_keys.py::test_a_key_is_for_what_it_says",
    ),
    Guard(
        "one look for unknown keys",
        "session_service/api/auth/jwks.py",
        "running or monotonic() >= self._cooldown_ends_at",
        "True",
        "tests/test_keys.py::test_a_flood_of_unknown_keys_is_one_look",
    ),
    Guard(
        "claims of a token",
        "session_service/api/auth/bearer.py",
        'options={"require": _REQUIRED_CLAIMS}',
        "options={}",
        "tests/test_tokens.py::test_what_cannot_be_believed_is_refused",
    ),
    Guard(
        "end of what is remembered",
        "session_service/api/auth/bearer.py",
        " and time() < verified.expires_at",
        "",
        "tests/test_tokens.py::test_a_token_ends_though_it_is_remembered",
    ),
    Guard(
        "loopback without authentication",
        "session_service/settings.py",
        "if not allowed and not _is_loopback(host):",
        "if False:",
        "tests/test_start.py::test_no_service_for_everybody_by_accident",
    ),
    Guard(
        "time for a body",
        "session_service/api/request.py",
        "READ_BODY_TIMEOUT = 10.0",
        "READ_BODY_TIMEOUT = 30.0",
        "tests/operations/test_every_operation.py::test_408_for_a_body_that_does_not_come",
    ),
    Guard(
        "length of a path",
        "session_service/api/application.py",
        "MAX_TARGET_BYTES = 4 ",
        "MAX_TARGET_BYTES = 8 ",
        "tests/operations/test_every_operation.py::test_414_over_4_kib",
    ),
    Guard(
        "room for saves",
        "session_service/api/request.py",
        "is_full = size > GUARANTEED_BODY_SIZE and",
        "is_full =",
        "tests/test_edge.py::test_slow_large_bodies_crowd_out_no_save",
    ),
    Guard(
        "query out of the log",
        "session_service/api/application.py",
        'raw: bytes = scope["raw_path"]',
        'raw: bytes = scope["raw_path"] + scope["query_string"]',
        "tests/test_edge.py::test_each_request_is_one_line_in_the_log",
    ),
    Guard(
        "declared status",
        "session_service/sessions/errors.py",
        "409, ",
        "412, ",
        "tests/operations/test_update_progress.py::test_409_on_a_stale_version",
    ),
    Guard(
        "declared code",
        "session_service/sessions/errors.py",
        '"SESSION_CONFLICT"',
        '"CONFLICT"',
        "tests/test_errors.py::test_each_class_has_the_code_and_status_of_its_schema",
    ),
    Guard(
        "declared header",
        "session_service/api/responses.py",
        'b"etag"',
        'b"x-etag"',
        "tests/operations/test_get_session.py::test_200_with_all_that_was_saved",
    ),
    Guard(
        "declared body",
        "session_service/sessions/codec.py",
        "unstructure(session, Session)",
        "unstructure(session)",
        "tests/operations/test_get_session.py::test_200_with_all_that_was_saved",
    ),
    Guard(
        "refusal of data that does not fit",
        "session_service/api/endpoint.py",
        "violations = self._operation.body.violations(value, len(content))",
        "violations: list[Any] = []",
        "tests/test_requests.py::test_whatever_else_is_refused",
    ),
    Guard(
        "names that are there once",
        "session_service/sessions/codec.py",
        '.count(b":") != members:',
        '.count(b":") < 0:',
        "tests/test_requests.py::test_whatever_else_is_refused",
    ),
    Guard(
        "query's encoding",
        "session_service/api/endpoint.py",
        '"strict"',
        '"replace"',
        "tests/test_requests.py::test_a_query_is_what_the_contract_says",
    ),
    Guard(
        "one content type",
        "session_service/api/endpoint.py",
        "len(types) != 1",
        "not types",
        "tests/test_requests.py::test_a_body_is_said_to_be_json",
    ),
    Guard(
        "policy of the page",
        "session_service/api/docs.py",
        "script-src 'self'",
        "script-src *",
        "tests/test_docs.py::test_each_file_is_served",
    ),
    Guard(
        "error without a class",
        "openapi.yaml",
        "    RouteNotFoundError:\n      desc",
        "    LostError:\n      desc",
        "tests/test_errors.py::test_each_class_is_a_response_and_each_response_a_class",
    ),
    Guard(
        "migrations' lock",
        "sql/schema/0000_schema_migrations.sql",
        "select pg_advisory",
        "-- select pg_advisory",
        "tests/test_migrations.py::test_runners_at_the_same_time_share_the_work",
    ),
    Guard(
        "migrations' checksum",
        "session_service/storage/migrations.py",
        "elif checksums",
        "elif False and checksums",
        "tests/test_migrations.py::test_a_file_that_was_changed_is_refused",
    ),
    Guard(
        "column's type",
        "sql/schema/0001_quiz_sessions.sql",
        "quiz_id           integer",
        "quiz_id           bigint",
        "tests/test_sql.py::test_header_is_what_the_server_says",
    ),
    Guard(
        "column's nullability",
        "sql/schema/0000_schema_migrations.sql",
        "checksum    text        not null",
        "checksum    text",
        "tests/test_sql.py::test_header_is_what_the_server_says",
    ),
    Guard(
        "record's columns in the SQL text",
        "session_service/storage/sql_files.py",
        "if columns != declared:",
        "if False:",
        "tests/test_sql.py::test_a_misspelt_column_of_a_record_stops_the_start",
    ),
    Guard(
        "record's class",
        "session_service/storage/statements.py",
        "sql_files.check_record(file, record)",
        "pass",
        "tests/test_sql.py::test_a_class_that_contradicts_the_record_stops_the_start",
    ),
    Guard(
        "statement with records, without their class",
        "session_service/storage/statements.py",
        "elif file.record:",
        "elif False:",
        "tests/test_sql.py::test_a_statement_with_records_is_bound_with_their_class",
    ),
    Guard(
        "owner of what is waited for",
        "sql/lock_session.sql",
        "or user_id = %(owner)s::text",
        "or %(owner)s::text is not null",
        "tests/test_ownership.py::test_a_foreign_row_is_not_locked",
    ),
    Guard(
        "a stranger's own order",
        "session_service/storage/session_store.py",
        "self._writes(record, (session_id, owner))",
        "self._writes(record, session_id)",
        "tests/test_ownership.py::test_strangers_do_not_hold_up_the_owner",
    ),
    Guard(
        "one write of a row in a batch",
        "session_service/storage/session_store.py",
        " or write.ordinality in repeated",
        "",
        "tests/test_ownership.py::test_a_user_and_a_service_write_one_after_the_other",
    ),
    Guard(
        "public keys only",
        "session_service/api/auth/jwks.py",
        'or "d" in entry ',
        "",
        "tests/test_keys.py::test_a_set_without_a_fitting_key_is_none",
    ),
    Guard(
        "curve of a key",
        "session_service/api/auth/jwks.py",
        "        key.Algorithm.prepare_key(key.key)\n",
        "",
        "tests/test_keys.py::test_a_set_without_a_fitting_key_is_none",
    ),
    Guard(
        "keys that are long enough",
        "session_service/api/auth/jwks.py",
        " if key.Algorithm.check_key_length(key.key) is None else None",
        "",
        "tests/test_keys.py::test_a_set_without_a_fitting_key_is_none",
    ),
    Guard(
        "tokens forgotten with their keys",
        "session_service/api/auth/bearer.py",
        "changed=self._verified.clear",
        "changed=lambda: None",
        "tests/test_keys.py::test_a_file_that_is_replaced_counts",
    ),
    Guard(
        "last good keys",
        "session_service/api/auth/jwks.py",
        "            self._refreshed = False\n            return",
        '            self._refreshed = False\n            self._set = JwkSet(b"", {})\n            return',
        "tests/test_keys.py::test_a_file_that_is_replaced_counts",
    ),
    Guard(
        "no redirect to other keys",
        "session_service/api/auth/jwks.py",
        "(ProxyHandler(), https,",
        '(__import__("urllib.request").request.HTTPRedirectHandler(), ProxyHandler(), https,',
        "tests/test_keys.py::test_an_answer_that_is_no_key_set_changes_nothing",
    ),
    Guard(
        "bound on a key set",
        "session_service/api/auth/jwks.py",
        "if len(content) > MAX_JWKS_BYTES:",
        "if False:",
        "tests/test_keys.py::test_an_answer_that_is_no_key_set_changes_nothing",
    ),
    Guard(
        "one token",
        "session_service/api/auth/bearer.py",
        "if len(given) > 1:",
        "if len(given) > 9:",
        "tests/test_tokens.py::test_one_header_has_to_say_it",
    ),
    Guard(
        "no key of the token's own",
        "session_service/api/auth/bearer.py",
        '{"jku", "jwk", "x5u", "crit"}',
        '{"crit"}',
        "tests/test_tokens.py::test_what_cannot_be_believed_is_refused",
    ),
    Guard(
        "bound on a token",
        "session_service/api/auth/bearer.py",
        "if len(match[1]) > MAX_TOKEN_BYTES:",
        "if False:",
        "tests/test_tokens.py::test_what_cannot_be_believed_is_refused",
    ),
    Guard(
        "scope of a service",
        "session_service/api/auth/bearer.py",
        "is_service = service_scope in _scopes(claims)",
        "is_service = bool(_scopes(claims))",
        "tests/test_tokens.py::test_a_good_token_says_who_asks",
    ),
    Guard(
        "look before use",
        "session_service/storage/pool.py",
        "if connection.is_alive():",
        "if True:",
        "tests/faults/test_postgres.py::test_restarted_while_nobody_asks",
    ),
    Guard(
        "circuit breaker",
        "session_service/storage/pool.py",
        "            if self.is_down:\n",
        "            if False:\n",
        "tests/faults/test_breaker.py::test_a_refusal_takes_no_wait",
    ),
    Guard(
        "circuit breaker for those who wait",
        "session_service/storage/connection.py",
        "        self._is_refused = True\n        self.reject_waiters()\n",
        "        self._is_refused = True\n",
        "tests/faults/test_breaker.py::test_those_who_wait_are_rejected_with_the_refusal",
    ),
    Guard(
        "connections that are left while the server refuses others",
        "session_service/storage/connection.py",
        "self._is_refused and all(",
        "self._is_refused or all(",
        "tests/faults/test_breaker.py::test_a_connection_that_is_left_is_used",
    ),
    Guard(
        "probes in the background",
        "session_service/storage/pool.py",
        "        self._is_reconnecting = False\n        await self.check()\n",
        "        self._is_reconnecting = False\n",
        "tests/faults/test_breaker.py::test_it_closes_without_a_request",
    ),
    Guard(
        "silence is no refusal",
        "session_service/storage/connection.py",
        "        except psycopg.errors.ConnectionTimeout:\n            raise\n",
        "",
        "tests/faults/test_breaker.py::test_a_postgresql_that_stands_still_has_refused_nothing",
    ),
    Guard(
        "encoding of a connection",
        "session_service/storage/connection.py",
        '    "client_encoding": "UTF8",\n',
        "",
        "tests/test_database_settings.py::test_no_setting_of_the_database_changes_a_reply",
    ),
    Guard(
        "date format of a connection",
        "sql/configure.sql",
        "      ('datestyle', 'ISO, MDY'),\n",
        "",
        "tests/test_database_settings.py::test_no_setting_of_the_role_changes_a_reply",
    ),
    Guard(
        "tables before temporary ones",
        "sql/configure.sql",
        " || ', pg_temp'",
        "",
        "tests/test_database_settings.py::test_a_temporary_table_does_not_shadow_the_sessions",
    ),
    Guard(
        "encoding of the database",
        "sql/list_unfit_settings.sql",
        "    ('server_encoding', 'UTF8'),\n",
        "",
        "tests/test_database_settings.py::test_a_database_in_another_encoding_is_refused",
    ),
    Guard(
        "policies that hide rows",
        "sql/configure.sql",
        "('row_security', 'off')",
        "('row_security', 'on')",
        "tests/test_database_settings.py::test_a_policy_that_hides_sessions_is_refused",
    ),
    Guard(
        "values that come back changed",
        "session_service/storage/readiness.py",
        "if codec.encode(row) != codec.encode(PROBE):",
        "if False:",
        "tests/test_health.py::test_a_database_that_returns_other_values_is_down",
    ),
    Guard(
        "a read is asked again",
        "session_service/storage/statements.py",
        "if file.writes or not connection.broken:",
        "if True:",
        "tests/faults/test_postgres.py::test_answers_in_shreds",
    ),
    Guard(
        "a write is not repeated",
        "session_service/storage/statements.py",
        "if file.writes or not connection.broken:",
        "if not connection.broken:",
        "tests/test_together.py::test_an_unknown_outcome_is_told_to_each",
    ),
    Guard(
        "word on an open way",
        "session_service/store_urls.py",
        "if mode in _VERIFIED or",
        "if mode or",
        "tests/test_tls.py::test_a_way_that_is_open_to_others_is_told",
    ),
    Guard(
        "bucket of another clock",
        "session_service/traffic/rate_limiter.py",
        "  if not (full > now and full <= now + size) then full = now end\n",
        "",
        "tests/test_limits.py::test_a_bucket_that_is_none_locks_nobody_out",
    ),
    Guard(
        "callers' names out of Redis",
        "session_service/traffic/rate_limiter.py",
        "{sha256(principal.encode()).hexdigest()[:32]}",
        "{principal}",
        "tests/test_limits.py::test_redis_is_not_told_who_asks",
    ),
    Guard(
        "limit by process",
        "session_service/traffic/rate_limiter.py",
        "return [self._local.take(key) for key in keys]",
        "return [0 for key in keys]",
        "tests/test_limits.py::test_without_redis_each_process_counts_for_itself",
    ),
    Guard(
        "pages on the list",
        "session_service/api/cors.py",
        " and given[0] in self._origins",
        "",
        "tests/test_cors.py::test_a_page_that_is_not_on_the_list_may_read_nothing",
    ),
    Guard(
        "end that is announced",
        "session_service/api/health.py",
        "if self._draining:",
        "if False:",
        "tests/test_health.py::test_a_service_that_ends_wants_no_requests",
    ),
    Guard(
        "one question to a store",
        "session_service/api/health.py",
        "self._running and self._running.done() and ",
        "",
        "tests/test_health.py::test_a_store_that_stands_still_is_down_and_asked_no_more",
    ),
    Guard(
        "a word of the requests on Redis",
        "session_service/api/health.py",
        "self._redis_available() and ",
        "",
        "tests/test_health.py::test_what_a_request_has_found_out_of_redis_counts_at_once",
    ),
    Guard(
        "bare line feeds",
        "session_service/server/hypercorn/strict_h11.py",
        "if forbidden.search(",
        "if None and forbidden.search(",
        "tests/faults/test_edge.py::test_what_has_two_readings_has_none",
    ),
    Guard(
        "one length",
        "session_service/server/hypercorn/strict_h11.py",
        "return len(framing) < 2",
        "return True",
        "tests/faults/test_edge.py::test_what_has_two_readings_has_none",
    ),
    Guard(
        "number of header lines",
        "session_service/server/hypercorn/strict_h11.py",
        "len(lines) > MAX_HEADERS + 1",
        "len(lines) > 9 * MAX_HEADERS",
        "tests/operations/test_every_operation.py::test_431_over_100_header_lines",
    ),
    Guard(
        "nothing behind a CONNECT",
        "session_service/server/hypercorn/connection.py",
        'if request.method == b"CONNECT":',
        "if False:",
        "tests/faults/test_edge.py::test_nothing_follows_the_last_request",
    ),
    Guard(
        "body after an upgrade",
        "session_service/server/uvicorn/protocol.py",
        "                self._ignore_upgrade()\n",
        "",
        "tests/faults/test_smuggling.py::test_a_body_is_read",
    ),
    Guard(
        "no end of a body by an upgrade",
        "session_service/server/uvicorn/protocol.py",
        "if self.parser.should_upgrade() and self._accepts_requests:",
        "if False:",
        "tests/faults/test_smuggling.py::test_a_body_is_read",
    ),
    Guard(
        "trailers are no headers",
        "session_service/server/uvicorn/protocol.py",
        "6.5.1).\n        self.headers = []\n",
        "6.5.1).\n",
        "tests/faults/test_smuggling.py::test_a_trailer_is_no_header",
    ),
    Guard(
        "bound of endless trailers",
        "session_service/server/uvicorn/protocol.py",
        "cycle.more_body and len(cycle.body) == taken",
        "False",
        "tests/faults/test_smuggling.py::test_trailers_have_bounds",
    ),
    Guard(
        "host of a whole URL",
        "session_service/server/connections.py",
        'if header[0] != b"host"]',
        "]",
        "tests/test_targets.py::test_the_authority_of_a_target_replaces_host",
    ),
    Guard(
        "time of an idle connection on Hypercorn",
        "session_service/server/hypercorn/connection.py",
        "self._start_timer(self._task_group.settings.keep_alive_timeout, self.close)",
        "self._start_timer(READ_HEADER_TIMEOUT, self.close)",
        "tests/faults/test_idle.py::test_an_idle_connection_outlasts_the_time_for_a_head",
    ),
    Guard(
        "time of a head after idleness on uvicorn",
        "session_service/server/uvicorn/protocol.py",
        "        if self._in_headers or not self._accepts_requests:\n",
        "        if False:\n",
        "tests/faults/test_idle.py::test_a_head_outlasts_the_time_for_idleness",
    ),
    Guard(
        "bound on the work",
        "session_service/traffic/load_shedding.py",
        "MAX_IN_FLIGHT = 1000",
        "MAX_IN_FLIGHT = 10_000",
        "tests/test_overload.py::test_what_there_is_no_room_for_is_refused_at_once",
    ),
    Guard(
        "later returns of a crowd",
        "session_service/traffic/load_shedding.py",
        "1 + self._asked_to_wait // _RETRIES_PER_SECOND",
        "1",
        "tests/test_overload.py::test_the_more_are_refused_the_later_they_come_again",
    ),
    Guard(
        "time for a reply",
        "session_service/api/application.py",
        "REQUEST_TIMEOUT = 5.0",
        "REQUEST_TIMEOUT = 50.0",
        "tests/faults/test_postgres.py::test_what_takes_long[frozen_for_long]",
    ),
    Guard(
        "room for the log",
        "session_service/server/logging.py",
        "if self._buffered + len(data) > _MAX_BUFFERED:",
        "if False:",
        "tests/test_log.py::test_what_was_lost_is_counted",
    ),
    Guard(
        "rights of the role",
        "sql/admit_role.sql",
        "grant select, insert, update on quiz",
        "grant all on quiz",
        "tests/test_roles.py::test_a_statement_that_the_service_has_no_need_of",
    ),
    Guard(
        "secret of a setting",
        "session_service/store_urls.py",
        'f"has to be a URL that libpq can read: {_ENCODE}"',
        'f"has to be a URL that libpq can read: {url}"',
        "tests/test_secrets.py::test_no_canary_sings",
    ),
    Guard(
        "lists' places",
        "session_service/storage/session_store.py",
        "self._lists = Batcher(self._list, concurrency=max(1, left * 2 // 5)",
        "self._lists = Batcher(self._list, concurrency=64",
        "tests/test_together.py::test_lists_leave_connections_for_everything_else",
    ),
    Guard(
        "word of a client that is gone",
        "session_service/server/hypercorn/task_group.py",
        "and not self._is_disconnected:",
        ":",
        "tests/test_servers.py::test_the_end_of_a_client_finds_room",
    ),
    Guard(
        "request on its way at the end",
        "session_service/server/hypercorn/server.py",
        "await self.task_group.wait(DRAIN_TIMEOUT)",
        "pass",
        "tests/test_servers.py::test_the_end_waits_for_what_is_on_its_way",
    ),
    Guard(
        "newest of what is told at once",
        "session_service/storage/session_cache.py",
        "rising = sorted(fills, key=lambda fill: fill[0].version)",
        "rising = fills",
        "tests/test_cache.py::test_of_what_is_told_at_once_the_newest_is_held",
    ),
    Guard(
        "one question for the time",
        "session_service/storage/redis.py",
        "if self._measuring is None or self._measuring.done():",
        "if True:",
        "tests/test_cache.py::test_many_that_want_the_time_ask_once",
    ),
    Guard(
        "address of a caller",
        "session_service/server/hypercorn/connection.py",
        'writer.get_extra_info("peername")',
        "None",
        "tests/test_limits.py::test_without_tokens_an_address_is_a_caller",
    ),
    Guard(
        "rows out of the log",
        "session_service/server/logging.py",
        ' if type(error).__module__.startswith("session_service.") else ""',
        "",
        "tests/test_secrets.py::test_no_canary_sings",
    ),
    Guard(
        "commit on the disk",
        "sql/configure.sql",
        "then 'remote_apply' else 'on'",
        "then 'remote_apply' else pg_catalog.current_setting('synchronous_commit')",
        "tests/test_start.py::test_a_database_that_may_forget",
    ),
    Guard(
        "servers end with bin/serve",
        "dev/reaper.py",
        "sys.stdin.buffer.read()",
        "time.sleep(60)",
        "tests/test_setup.py::test_servers_end_with_a_serve_that_is_killed",
    ),
    Guard(
        "time limit of a learner",
        "session_service/sessions/service.py",
        "if wanted.time_limit_seconds is not None:",
        "if False:",
        "tests/test_learners.py::test_a_learner_may_not_choose_its_time_limit",
    ),
    Guard(
        "key of the digests",
        "session_service/sessions/codec.py",
        "hmac.digest(self._key, text",
        "hmac.digest(b'', text",
        "tests/test_digests.py::test_a_cleared_answer_cannot_be_found_by_trying",
    ),
    Guard(
        "digests of a completed session",
        "sql/write_sessions.sql",
        "when (a).is_completion then '{}'",
        "when false then '{}'",
        "tests/test_digests.py::test_a_completed_session_keeps_no_digest",
    ),
    Guard(
        "digests of an expired session",
        "sql/expire_sessions.sql",
        "  recent_writes = '{}',\n",
        "",
        "tests/test_digests.py::test_an_expired_session_keeps_no_digest",
    ),
    Guard(
        "digests of an older release",
        "sql/write_sessions.sql",
        "split_part((a).digest, '.', 1) || '.'",
        "''",
        "tests/test_digests.py::test_digests_of_older_releases_count_as_equal",
    ),
    Guard(
        "answers of a second completion",
        "sql/write_sessions.sql",
        "(a).is_completion and merged = (s).answers",
        "(a).is_completion",
        "tests/operations/test_complete_session.py::test_410_for_a_second_completion_with_other_answers",
    ),
    Guard(
        "rate limit of a service",
        "session_service/app.py",
        "services if principal.service else",
        "services if False else",
        "tests/test_limits.py::test_a_service_has_no_limit_by_default",
    ),
    Guard(
        "smoke's verdict",
        "bin/smoke",
        "sys.exit(1 if failed else 0)",
        "sys.exit(0)",
        "tests/test_setup.py::test_smoke_brings_its_token",
    ),
]


Outcome = tuple[int, str]
Outcomes = dict[str, Future[Outcome]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What the tests say without each of the guards asked for: twice as many at once as there are processors.

    They wait for each other's servers for half of the time.
    """
    given = [_parameters(item) for item in request.session.items]
    damaged = [parameters["guard"] for parameters in given if "guard" in parameters]
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as workers:
        yield {
            guard.name: workers.submit(_test_without, guard, tmp_path_factory.mktemp("house"))
            for guard in damaged
        }


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_that_is_taken_out_is_missed(guard: Guard, outcomes: Outcomes) -> None:
    """A service without the guard does not pass the tests that are there for it."""
    status, told = outcomes[guard.name].result()
    assert status == 1, told
    assert re.search(r"^1 failed", told, re.MULTILINE), told


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec: Any = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def _test_without(guard: Guard, folder: Path) -> Outcome:
    """Take the guard out of a copy of the house and return its test's exit status and output."""
    file = copy_house(folder) / guard.file
    text = file.read_text()
    assert guard.old in text
    file.write_text(text.replace(guard.old, guard.new))
    command = [".venv/bin/python", "-m", "pytest", "-x", "-p", "no:cacheprovider", guard.test]
    # A process group of their own, so that nothing of them is left if they hang.
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            told, _ = run.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            raise
    return run.returncode, told
