"""Mutations of webhooks: what is sent, when, how often, and to which addresses."""

from tests.verify.mutations.mutation import (
    Mutation,
    force,
    remove,
    remove_sql,
    replace,
    replace_sql,
    set_constant,
)

_DELIVERIES = "tests/webhooks/test_deliveries.py::"
_SENDER = "tests/webhooks/test_sender.py::"
_ADDRESSES = "tests/webhooks/test_addresses.py::test_kinds_of_addresses"
_PROCESSES = "tests/verify/webhooks/test_processes.py::"
_DISPATCHER = "session_service/webhooks/dispatcher.py"
_SEND = "session_service/webhooks/sender.py"
_JUDGE = "session_service/webhooks/addresses.py"

DELIVERIES = [
    Mutation(
        "an event waits for earlier ones of its session",
        "sql/list_due_deliveries.sql",
        replace_sql("and earlier.position < d.position", "and false"),
        f"{_DELIVERIES}test_a_failed_delivery_holds_up_only_its_session",
    ),
    Mutation(
        "an event waits for no other session",
        "sql/list_due_deliveries.sql",
        remove_sql("and earlier.session_id = d.session_id"),
        f"{_DELIVERIES}test_a_failed_delivery_holds_up_only_its_session",
    ),
    Mutation(
        "the event of an erased session does not wait",
        "sql/list_due_deliveries.sql",
        remove_sql("or e.type = 'session.erased'"),
        f"{_DELIVERIES}test_an_erased_session_waits_for_no_refused_event",
    ),
    Mutation(
        "an event whose line is gone is not sent",
        _DISPATCHER,
        replace(
            "Dispatcher._deliver",
            "None if delivery.message is None else await self._send(delivery)",
            "await self._send(delivery)",
        ),
        f"{_DELIVERIES}test_an_erased_session_waits_for_no_refused_event",
    ),
    Mutation(
        "a delivery ends after it was received",
        _DISPATCHER,
        replace(
            "Dispatcher._deliver",
            "await self._send(delivery)",
            "await self._record(delivery, None) or await self._send(delivery)",
        ),
        f"{_DELIVERIES}test_a_kill_between_post_and_record_repeats_the_event",
    ),
    Mutation(
        "no event is in flight twice",
        _DISPATCHER,
        replace("Dispatcher._list", "delivery.session_id not in taken", "True"),
        f"{_DELIVERIES}test_a_slow_endpoint_delays_no_other",
    ),
    Mutation(
        "any status but 2xx is a failure",
        _DISPATCHER,
        replace("_judge", "200 <= reply.status <= 299", "reply.status <= 599"),
        f"{_DELIVERIES}test_a_failed_delivery_holds_up_only_its_session",
    ),
    Mutation(
        "Retry-After is honoured",
        _DISPATCHER,
        replace("retry_delay", "min(retry_after, MAX_RETRY_AFTER)", "0"),
        f"{_DELIVERIES}test_retry_after_is_honoured",
    ),
    Mutation(
        "Retry-After is bounded",
        _DISPATCHER,
        replace("retry_delay", "min(retry_after, MAX_RETRY_AFTER)", "retry_after"),
        f"{_DELIVERIES}test_retry_after_is_honoured",
    ),
    Mutation(
        "an endpoint begins at the end of the feed",
        "sql/register_webhook.sql",
        replace_sql("%(quiz_ids)s::text[], newest", "%(quiz_ids)s::text[], 0"),
        f"{_DELIVERIES}test_an_endpoint_gets_the_events_of_its_filters",
    ),
    Mutation(
        "an endpoint gets the quizzes of its filter",
        "sql/accept_webhook_events.sql",
        remove_sql("and (w.quiz_ids is null or p.quiz_id = any (w.quiz_ids))"),
        f"{_DELIVERIES}test_an_endpoint_gets_the_events_of_its_filters",
    ),
]

PROCESSES = [
    Mutation(
        "an event is given up after a day",
        _DISPATCHER,
        force("Dispatcher._record", "delivery.failing_seconds >= GIVE_UP_AFTER", value=False),
        f"{_PROCESSES}test_an_event_is_given_up_after_a_day",
    ),
    Mutation(
        "an event is tried for a day",
        _DISPATCHER,
        set_constant("GIVE_UP_AFTER", "3600"),
        f"{_PROCESSES}test_an_event_is_given_up_after_a_day",
    ),
    Mutation(
        "410 disables an endpoint",
        _DISPATCHER,
        force("Dispatcher._record", "failure.gone", value=False),
        f"{_PROCESSES}test_410_disables_an_endpoint",
    ),
    Mutation(
        "nothing is sent to a disabled endpoint",
        "sql/list_due_deliveries.sql",
        remove_sql("and w.disabled_at is null"),
        f"{_PROCESSES}test_410_disables_an_endpoint",
    ),
    Mutation(
        "another URL enables an endpoint",
        "session_service/webhooks/__main__.py",
        force("_register", "state.moved", value=False),
        f"{_PROCESSES}test_410_disables_an_endpoint",
    ),
    Mutation(
        "events that are gone are logged",
        "sql/accept_webhook_events.sql",
        replace_sql("greatest(w.position, f.trimmed) as begin", "w.position as begin"),
        f"{_PROCESSES}test_events_that_are_gone_are_reported",
    ),
    Mutation(
        "of two processes one sends",
        "sql/lock_webhooks.sql",
        replace_sql("where pg_try_advisory_lock(7765626873)", "where true"),
        f"{_PROCESSES}test_of_two_processes_one_sends",
    ),
    Mutation(
        "posts in flight are recorded before the end",
        _DISPATCHER,
        remove("Dispatcher.run", "await self._drain()"),
        f"{_PROCESSES}test_sigterm_waits_for_a_post_in_flight",
    ),
    Mutation(
        "a record is repeated while PostgreSQL is away",
        _DISPATCHER,
        replace(
            "Dispatcher._deliver", "await _until_stored($RECORD)", "await self._record(delivery, failure)"
        ),
        f"{_PROCESSES}test_postgresql_is_away_when_an_event_was_received",
    ),
]

POSTS = [
    Mutation(
        "both secrets sign",
        _SEND,
        replace("Sender._headers", '" ".join(signatures)', "signatures[0]"),
        f"{_DELIVERIES}test_an_event_is_posted_as_it_is_in_the_feed",
    ),
    Mutation(
        "private addresses need a setting",
        _SEND,
        replace(
            "Sender._is_allowed",
            "self._endpoint.private and is_private(address)",
            "is_private(address)",
        ),
        f"{_SENDER}test_private_addresses_need_a_setting",
    ),
    Mutation(
        "public addresses need TLS",
        _SEND,
        replace(
            "Sender._is_allowed",
            'self._endpoint.scheme == "https" and is_public(address)',
            "is_public(address)",
        ),
        f"{_SENDER}test_no_setting_allows_metadata_and_other_special_addresses",
    ),
    Mutation(
        "IPv4 addresses within IPv6 addresses are judged",
        _JUDGE,
        force("_embedded", "address in _NAT64", value=False),
        _ADDRESSES,
    ),
    Mutation(
        "IPv6 addresses outside of global unicast are refused",
        _JUDGE,
        force(
            "is_public", "isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST", value=False
        ),
        _ADDRESSES,
    ),
    Mutation(
        "addresses of special purposes are refused",
        _JUDGE,
        force("is_public", "any(address in network for network in _SPECIAL)", value=False),
        _ADDRESSES,
    ),
    Mutation(
        "certificates are checked",
        _SEND,
        replace("Sender.__init__", "ssl.create_default_context()", "ssl._create_unverified_context()"),
        f"{_SENDER}test_a_server_with_a_wrong_certificate_gets_no_event",
    ),
    Mutation(
        "the certificate is that of the host",
        _SEND,
        replace("Sender._request", '{"sni_hostname": endpoint.host, $$$}', '{"sni_hostname": str(address)}'),
        f"{_SENDER}test_a_trusted_endpoint_receives_over_tls",
    ),
    Mutation(
        "a body that does not end is no failure",
        _SEND,
        set_constant("BODY_TIMEOUT", "None"),
        f"{_SENDER}test_bodies_of_responses_are_bounded",
    ),
    Mutation(
        "connections are kept",
        _SEND,
        remove("Sender._request", "await _read(response)"),
        f"{_SENDER}test_connections_are_used_again",
    ),
    Mutation(
        "callers share a look-up",
        _JUDGE,
        replace("Resolver.resolve", "self._pending is None or self._pending.done()", "True"),
        f"{_SENDER}test_one_look_up_at_a_time",
    ),
]

MUTATIONS = [*DELIVERIES, *PROCESSES, *POSTS]
