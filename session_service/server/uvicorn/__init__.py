"""Connections, requests and graceful shutdown on uvicorn and httptools."""

# Overridden methods of uvicorn 0.54.0, with httptools 0.9.0, each with the promise that it keeps and a test
# of the promise. tests/server/test_overrides.py compares the list with the code. Before an upgrade,
# compare each method with the new version of the one that it overrides.
#
# StrictHttpToolsProtocol.connection_made | a limit of connections; the first request begins within 5 s
#   tests/verify/faults/test_keep_alive.py::test_idle_connections_count_towards_the_limit
# StrictHttpToolsProtocol.connection_lost | no response is written to a lost connection
#   tests/server/test_response_writes.py::test_no_response_is_written_to_a_lost_connection
# StrictHttpToolsProtocol.pause_writing | write timeout: a client that reads nothing has 10 s
#   tests/server/test_response_writes.py::test_write_timeout_while_writing_is_paused
# StrictHttpToolsProtocol.resume_writing | no write timeout for a client that reads
#   tests/server/test_response_writes.py::test_no_write_timeout_after_writing_resumes
# StrictHttpToolsProtocol.eof_received | half-closed connections get their responses
#   tests/verify/faults/test_hostile_clients.py::test_half_closed_connections_get_their_responses
# StrictHttpToolsProtocol.data_received | headers have 16 KiB; slowloris: they have 5 s
#   tests/server/test_connections.py::test_slowloris_headers_time_out
# StrictHttpToolsProtocol.on_message_begin | headers that began have no keep-alive timeout
#   tests/verify/faults/test_keep_alive.py::test_headers_outlast_the_keep_alive_timeout
# StrictHttpToolsProtocol.on_headers_complete | against request smuggling; targets in absolute-form
#   tests/server/test_request_targets.py::test_absolute_form_is_handled_as_its_path
# StrictHttpToolsProtocol.on_message_complete | no request in a body after an upgrade; a limit of trailers
#   tests/verify/faults/test_request_smuggling.py::test_trailers_are_limited
# StrictHttpToolsProtocol.on_response_complete | rejections follow the responses to earlier requests
#   tests/verify/faults/test_hostile_clients.py::test_early_errors_keep_the_pipelined_order
# StrictHttpToolsProtocol.timeout_keep_alive_handler | write timeout after the keep-alive timeout
#   tests/server/test_response_writes.py::test_write_timeout_after_the_keep_alive_timeout
# SingleWriteCycle.run_asgi | an unfinished response of unknown length resets its connection
#   tests/server/test_streamed_responses.py::test_an_error_after_the_first_byte_resets_the_connection
# SingleWriteCycle.send | one write per response; headers are not validated again
#   tests/server/test_response_writes.py::test_a_response_is_one_write
# _Server.capture_signals | signals are handled by Lifecycle, the same on both servers
#   tests/server/test_overrides.py::test_uvicorn_installs_no_signal_handlers
# _Server.startup | uvicorn's errors are logged once the application has started
#   tests/server/test_overrides.py::test_uvicorn_logs_errors_after_the_start
# _Server.main_loop | graceful shutdown: connections are open for one last request
#   tests/server/test_graceful_shutdown.py::test_graceful_shutdown_serves_one_last_request
# _Server.shutdown | graceful shutdown ends after its timeout
#   tests/server/test_graceful_shutdown.py::test_graceful_shutdown_ends_after_its_timeout
#
# `StrictHttpToolsProtocol` also calls uvicorn's `_start_asgi_task` and `_unset_keepalive_if_required`.
