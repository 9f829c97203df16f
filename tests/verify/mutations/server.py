"""Mutations of session_service/server/: connections on both servers, logging, graceful shutdown."""

from tests.verify.mutations.mutation import Mutation, force, remove, replace

HYPERCORN = "session_service/server/hypercorn/connection.py"
STRICT_H11 = "session_service/server/hypercorn/strict_h11.py"
UVICORN = "session_service/server/uvicorn/protocol.py"

MUTATIONS = [
    Mutation(
        "rejection of bare line feeds",
        STRICT_H11,
        force("_Buffer.maybe_extract_lines", "$PATTERN.search($$$)", value=False),
        "tests/verify/faults/test_hostile_clients.py::test_request_smuggling_ambiguous_requests_are_rejected",
    ),
    Mutation(
        "one length of a request",
        STRICT_H11,
        force("_is_unambiguous", "len($LENGTHS) < 2", value=True),
        "tests/verify/faults/test_hostile_clients.py::test_request_smuggling_ambiguous_requests_are_rejected",
    ),
    Mutation(
        "limit of the number of header lines",
        STRICT_H11,
        force("_Buffer.maybe_extract_lines", "len($LINES) > MAX_HEADERS + 1", value=False),
        "tests/operations/test_every_operation.py::test_431_over_100_header_lines",
    ),
    Mutation(
        "header timeout and early error responses on Hypercorn",
        HYPERCORN,
        replace(
            "_Protocol",
            "async def _handle_events(self) -> None: $$$",
            "async def _handle_events(self): await super()._handle_events()",
        ),
        "tests/server/test_connections.py::test_slowloris_headers_time_out",
    ),
    Mutation(
        "no request after a CONNECT",
        HYPERCORN,
        force("_Protocol._create_stream", '$REQUEST.method == b"CONNECT"', value=False),
        "tests/verify/faults/test_hostile_clients.py::test_request_smuggling_no_request_after_the_last",
    ),
    Mutation(
        "keep-alive timeout on Hypercorn",
        HYPERCORN,
        replace("Connection.send", "self._task_group.settings.keep_alive_timeout", "READ_HEADER_TIMEOUT"),
        "tests/verify/faults/test_keep_alive.py::test_keep_alive_outlasts_the_header_timeout",
    ),
    Mutation(
        "address of a client on Hypercorn",
        HYPERCORN,
        replace("Connection.__init__", '$WRITER.get_extra_info("peername")', "None"),
        "tests/traffic/test_rate_limiter.py::test_without_tokens_the_rate_limit_is_per_address",
    ),
    Mutation(
        "no wait for room for a disconnect",
        "session_service/server/hypercorn/task_group.py",
        force("ReceiveQueue.put", "not self._is_disconnected", value=True),
        "tests/server/test_connections.py::test_a_disconnect_is_delivered_to_a_full_queue",
    ),
    Mutation(
        "last requests during graceful shutdown on Hypercorn",
        "session_service/server/hypercorn/server.py",
        remove("_Server.shut_down", "await self.task_group.wait(DRAIN_TICK)"),
        "tests/server/test_graceful_shutdown.py::test_graceful_shutdown_serves_one_last_request",
    ),
    Mutation(
        "timeout of graceful shutdown on Hypercorn",
        "session_service/server/hypercorn/server.py",
        replace("_Server.shut_down", "self.task_group.wait(graceful_timeout)", "self.task_group.wait(None)"),
        "tests/server/test_graceful_shutdown.py::test_graceful_shutdown_ends_after_its_timeout",
    ),
    Mutation(
        "timeout of graceful shutdown on uvicorn",
        "session_service/server/uvicorn/server.py",
        remove("_Server.shutdown", "$LOOP.call_later($$$)"),
        "tests/server/test_graceful_shutdown.py::test_graceful_shutdown_ends_after_its_timeout",
    ),
    Mutation(
        "body after the headers of an upgrade",
        UVICORN,
        remove("StrictHttpToolsProtocol._parse", "self._ignore_upgrade()"),
        "tests/verify/faults/test_request_smuggling.py::test_bodies_with_an_upgrade_are_read",
    ),
    Mutation(
        "no end of a request at an upgrade",
        UVICORN,
        force(
            "StrictHttpToolsProtocol.on_message_complete", "$UPGRADE and self._accepts_requests", value=False
        ),
        "tests/verify/faults/test_request_smuggling.py::test_bodies_with_an_upgrade_are_read",
    ),
    Mutation(
        "trailers apart from headers",
        UVICORN,
        remove("StrictHttpToolsProtocol.on_headers_complete", "self.headers = []", times=2),
        "tests/verify/faults/test_request_smuggling.py::test_trailers_are_not_headers",
    ),
    Mutation(
        "end of the connection after a Connection trailer",
        UVICORN,
        remove("StrictHttpToolsProtocol.on_message_complete", "self._end_after_response()"),
        "tests/verify/faults/test_request_smuggling.py::test_trailers_do_not_swallow_the_next_request",
    ),
    Mutation(
        "one line of Transfer-Encoding",
        UVICORN,
        replace(
            "StrictHttpToolsProtocol._status_of_fault", '$CODINGS == [b"chunked"]', 'b"chunked" in $CODINGS'
        ),
        "tests/verify/faults/test_hostile_clients.py::test_request_smuggling_ambiguous_requests_are_rejected",
    ),
    Mutation(
        "size limit of trailers",
        UVICORN,
        force("StrictHttpToolsProtocol.data_received", "len(cycle.body) == $BEFORE", value=False),
        "tests/verify/faults/test_request_smuggling.py::test_trailers_are_limited",
    ),
    Mutation(
        "header timeout in place of the keep-alive timeout on uvicorn",
        UVICORN,
        force(
            "StrictHttpToolsProtocol.on_response_complete",
            "self._in_headers or not self._accepts_requests",
            value=False,
        ),
        "tests/verify/faults/test_keep_alive.py::test_headers_outlast_the_keep_alive_timeout",
    ),
    Mutation(
        "authority of a target in place of Host",
        "session_service/server/connections.py",
        force("origin_form", '$HEADER[0] != b"host"', value=True),
        "tests/server/test_request_targets.py::test_the_authority_replaces_host",
    ),
    Mutation(
        "size limit of the log's buffer",
        "session_service/server/logging.py",
        force("NonBlockingStdout.write", "$SIZE > _MAX_BUFFERED", value=False),
        "tests/server/test_logging.py::test_dropped_log_lines_are_counted",
    ),
    Mutation(
        "no messages of libraries in the log",
        "session_service/server/logging.py",
        force("_outline", '$CLASS.__module__.startswith("session_service.")', value=True),
        "tests/server/test_secrets.py::test_redaction_of_secrets_and_personal_data",
    ),
    Mutation(
        "counts of ended workers",
        "session_service/server/worker_metrics.py",
        remove("WorkerMetrics.attach", "self._ended = merge($$$)"),
        "tests/verify/workers/test_worker_metrics.py::test_counts_of_a_killed_worker_do_not_fall",
    ),
    Mutation(
        "last counts of a worker that ends gracefully",
        "session_service/server/worker_metrics.py",
        remove("WorkerReporter.__aexit__", "async with $$$: $$$"),
        "tests/verify/workers/test_worker_metrics.py::test_counts_survive_the_renewal_of_all_workers[uvicorn]",
    ),
    Mutation(
        "reason of a rejected request",
        "session_service/api/responses.py",
        replace("error_response", "error.reason", "None"),
        "tests/server/test_metrics.py::test_a_rejected_request_is_counted_with_its_reason",
    ),
    Mutation(
        "no name of a user in the log",
        "session_service/api/access_log.py",
        replace("AccessLog._json", "blake2b($$$).hexdigest()", "caller"),
        "tests/server/test_json_log.py::test_the_caller_is_a_hash",
    ),
]
