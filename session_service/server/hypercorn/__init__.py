"""Connections, requests and graceful shutdown on Hypercorn and h11."""

# Overridden methods of Hypercorn 0.18.0 and h11 0.16.0, each with the promise that it keeps and a test of
# the promise. tests/server/test_overrides.py compares the list with the code. Before an upgrade, compare each
# method with the new version of the one that it overrides.
#
# H11Connection.next_event | against request smuggling: one length, no other version of HTTP
#   tests/verify/faults/test_hostile_clients.py::test_request_smuggling_ambiguous_requests_are_rejected
# _Buffer.maybe_extract_lines | no bare line feed or folded line; headers have 16 KiB and 100 lines
#   tests/server/test_connections.py::test_header_limits
# _Protocol._handle_events | slowloris: headers have 5 s; rejections follow the contract
#   tests/server/test_connections.py::test_slowloris_headers_time_out
# _Protocol._create_stream | no upgrade, no tunnel; targets in absolute-form
#   tests/verify/faults/test_hostile_clients.py::test_request_smuggling_no_request_after_the_last
# _Protocol.stream_send | headers are not validated twice; an unfinished response resets its connection
#   tests/server/test_response_writes.py::test_hypercorn_does_not_validate_response_headers
# _Protocol._send_h11_event | one write per response
#   tests/server/test_response_writes.py::test_a_response_is_one_write
# Settings.response_headers | `Connection: close` during graceful shutdown
#   tests/server/test_graceful_shutdown.py::test_graceful_shutdown_serves_one_last_request
#
# Without inheritance, these replace parts of Hypercorn: `_Server` its worker, `Connection` its TCPServer, and
# `TaskGroup` with `ReceiveQueue` its TaskGroup. `_Buffer` also uses the private attributes `_data`,
# `_extract` and `_multiple_lines_search` of h11's ReceiveBuffer; `H11Connection` sets `_receive_buffer`.
