"""Mutations of orders: their judgement, their effects, their keys, and their steps for a quiz."""

from tests.verify.mutations.mutation import (
    Mutation,
    force,
    remove,
    remove_sql,
    replace,
    replace_sql,
    set_argument,
)

ORDERS = "sql/order_sessions.sql"
WRITES = "sql/write_sessions.sql"
QUIZZES = "session_service/storage/quiz_orders.py"
TESTS = "tests/operations"
TABLE = f"{TESTS}/test_order_table.py::test_an_order_has_the_effect_of_the_table"
EVERY_QUIZ = f"{TESTS}/test_every_quiz_order.py"

MUTATIONS = [
    Mutation(
        "end of a paused session moves with the clock",
        ORDERS,
        replace_sql("then checked_at - (s).paused_at", "then interval '0'"),
        f"{TESTS}/test_resume_session.py::test_200_moves_the_end_by_the_pause",
    ),
    Mutation(
        "time left that a deadline order gives a paused session",
        ORDERS,
        replace_sql("then ends_at - pause", "then ends_at"),
        f"{TESTS}/test_resume_session.py::test_200_with_the_time_left_of_a_deadline_order",
    ),
    Mutation(
        "factor of extra seconds",
        ORDERS,
        replace_sql("(a).extra_seconds * (s).time_factor", "(a).extra_seconds"),
        f"{TESTS}/test_change_deadline.py::test_200_adds_seconds_to_the_end",
    ),
    Mutation(
        "factor of a new limit",
        ORDERS,
        replace_sql(
            "(s).started_at + nullif((a).time_limit_seconds, 0) * (s).time_factor",
            "(s).started_at + nullif((a).time_limit_seconds, 0)",
        ),
        f"{TESTS}/test_change_deadline.py::test_200_sets_the_limit",
    ),
    Mutation(
        "grace of a moved end",
        ORDERS,
        replace_sql("then ends_at + t.grace_seconds * interval '1 second'", "then ends_at"),
        f"{TESTS}/test_change_deadline.py::test_200_adds_seconds_to_the_end",
    ),
    Mutation(
        "no close of a paused session",
        ORDERS,
        replace_sql("when next = 'paused' then null", "when next = 'paused' then t.closes_at"),
        f"{TESTS}/test_pause_session.py::test_200_stops_the_time",
    ),
    Mutation(
        "order that finds the wanted state",
        ORDERS,
        replace_sql("then 'unchanged'", "then 'ok'"),
        TABLE,
    ),
    Mutation(
        "key of an order that has changed nothing",
        ORDERS,
        remove_sql("or (verdict = 'unchanged' and (a).key is not null)"),
        f"{TESTS}/test_pause_session.py::test_200_for_a_repeat_after_the_resumption",
    ),
    Mutation(
        "repeat of an order",
        ORDERS,
        replace_sql("(a).key || ' ' || (a).digest = any ((s).recent_orders)", "false"),
        TABLE,
    ),
    Mutation(
        "key of another order",
        ORDERS,
        replace_sql("then 'key_reused' else 'repeated'", "then 'repeated' else 'repeated'"),
        f"{TESTS}/test_every_order.py::test_422_for_a_key_of_another_order",
    ),
    Mutation(
        "digests of orders go when an order ends the session",
        ORDERS,
        replace_sql(
            "case when next in ('completed', 'expired') then split_part(recent, ' ', 1) else recent end",
            "recent",
        ),
        f"{TESTS}/test_paused_writes.py::test_the_keys_of_orders_stay_when_an_order_ends_the_session",
    ),
    Mutation(
        "keys of orders without digests after a completion",
        WRITES,
        replace_sql(
            "array(select split_part(recent, ' ', 1) from unnest(t.recent_orders) as recent)",
            "t.recent_orders",
        ),
        f"{TESTS}/test_paused_writes.py::test_the_keys_of_orders_stay_when_a_session_ends",
    ),
    Mutation(
        "completion by the learner stays after a deadline order",
        ORDERS,
        replace_sql("(a).kind = 'deadline' and (s).ended_by = 'learner'", "false"),
        f"{TESTS}/test_change_deadline.py::test_410_for_a_completed_session",
    ),
    Mutation(
        "completion by the deadline or an order ends with a later end",
        ORDERS,
        replace_sql("and (s).ended_by = 'learner'", "and (s).ended_by is not null"),
        f"{TESTS}/test_change_deadline.py::test_200_takes_the_end_by_an_order_back",
    ),
    Mutation(
        "completion by the deadline that is not stored ends with a later end",
        ORDERS,
        replace_sql("and (s).ended_by = 'learner'", "and (overdue or (s).ended_by = 'learner')"),
        TABLE,
    ),
    Mutation(
        "completion that a pause or a resumption leaves as it is",
        ORDERS,
        remove_sql("(a).kind in ('pause', 'resume') or"),
        TABLE,
    ),
    Mutation(
        "completed session that a deadline order leaves as it is",
        ORDERS,
        replace_sql(
            "when status in ('completed', 'expired') then not ahead", "when status = 'expired' then not ahead"
        ),
        f"{TESTS}/test_change_deadline.py::test_200_revives_a_session_after_its_deadline",
    ),
    Mutation(
        "end of an overdue session by any order",
        ORDERS,
        replace_sql("and (verdict = 'ok' or overdue or", "and (verdict = 'ok' or"),
        TABLE,
    ),
    Mutation(
        "line of each order",
        ORDERS,
        replace_sql(
            "from written where verdict = 'ok' or overdue returning", "from written where false returning"
        ),
        "tests/sessions/test_replay.py::test_the_journal_gives_the_session",
    ),
    Mutation(
        "refusal of a write to a paused session",
        WRITES,
        replace_sql("then 'paused' when (a).key", "then 'ok' when (a).key"),
        f"{TESTS}/test_paused_writes.py::test_423_without_a_grace",
    ),
    Mutation(
        "grace of a pause",
        WRITES,
        replace_sql("(s).paused_at + (s).grace_seconds * interval '1 second' <=", "(s).paused_at <="),
        f"{TESTS}/test_paused_writes.py::test_423_after_the_grace",
    ),
    Mutation(
        "late saves by the time that stands still",
        WRITES,
        replace_sql("coalesce(t.paused_at, checked_at)", "checked_at"),
        f"{TESTS}/test_paused_writes.py::test_a_write_in_the_pause_is_late_by_the_time_that_stands_still",
    ),
    Mutation(
        "paused session is live",
        "sql/start_sessions.sql",
        replace_sql("(s.status = 'paused' or (s.status", "(false or (s.status"),
        f"{TESTS}/test_pause_session.py::test_no_list_and_no_sweeper_ends_a_paused_session",
    ),
    Mutation(
        "no end in the headers of a paused session",
        "session_service/sessions/codec.py",
        force("encode_session", 'session.status != "paused"', value=True),
        f"{TESTS}/test_pause_session.py::test_200_stops_the_time",
    ),
    Mutation(
        "proctor gives no order for another quiz",
        "session_service/sessions/orders.py",
        force("OrderService.order_quiz", "order.quiz_id not in reach.quizzes", value=False),
        f"{EVERY_QUIZ}::test_404_for_a_quiz_of_another_proctor",
    ),
    Mutation(
        "proctor's order for a quiz leaves its own session out",
        "sql/find_running_sessions.sql",
        replace_sql("or user_id <> %(except_user)s::text", "or true"),
        "tests/api/auth/test_proctor_orders.py::test_a_proctors_order_for_a_quiz_leaves_its_own_session_out",
    ),
    Mutation(
        "an event for each order",
        ORDERS,
        replace_sql(
            "insert into unplaced_events (session_id, version) select session_id, version from logged",
            "select",
        ),
        f"{TESTS}/test_list_events_of_orders.py::test_200_with_each_order",
    ),
    Mutation(
        "key that extra seconds need",
        "session_service/api/endpoint.py",
        force("Endpoint._body", "name in given and snake(header) not in parameters", value=False),
        f"{TESTS}/test_change_deadline.py::test_400_for_extra_seconds_without_a_key",
    ),
    Mutation(
        "order that waits for a locked row",
        "session_service/storage/order_store.py",
        force("OrderStore.order", 'result and result.verdict == "busy"', value=False),
        "tests/traffic/test_row_locks.py::test_an_order_for_a_locked_row_waits_alone",
    ),
    Mutation(
        "sessions from before the first call of an order for a quiz",
        "sql/find_running_sessions.sql",
        replace_sql("and created_at <= %(began_at)s", "and now() >= %(began_at)s"),
        f"{EVERY_QUIZ}::test_200_leaves_locked_sessions_to_the_next_call",
    ),
    Mutation(
        "sessions that end before an order for a quiz reaches them",
        "sql/find_running_sessions.sql",
        replace_sql(
            "closes_at, 'infinity') > %(began_at)s::timestamptz", "closes_at, 'infinity') > clock_timestamp()"
        ),
        f"{TESTS}/test_change_deadlines.py::test_200_with_sessions_that_end_before_the_order_reaches_them",
    ),
    Mutation(
        "order for a quiz that has reached every session",
        QUIZZES,
        force("QuizOrders.give", "not progress.finished", value=True),
        f"{EVERY_QUIZ}::test_200_changes_nothing_after_the_last_call",
    ),
    Mutation(
        "locked session in an order for a quiz",
        QUIZZES,
        remove("Progress.count", "self.skipped = True"),
        f"{EVERY_QUIZ}::test_200_leaves_locked_sessions_to_the_next_call",
    ),
    Mutation(
        "cache after an order for a quiz",
        QUIZZES,
        remove("QuizOrders._step", "await self._sessions.raise_versions($$$)"),
        f"{TESTS}/test_pause_sessions.py::test_200_pauses_and_resumes_a_whole_quiz",
    ),
    Mutation(
        "cache after a repeated order for a quiz",
        QUIZZES,
        remove("QuizOrders.give", "await self._raise_others($$$)"),
        f"{TESTS}/test_pause_sessions.py::test_200_for_a_repeat_after_an_instance_was_killed",
    ),
    Mutation(
        "number of sessions that an order for a quiz has changed",
        QUIZZES,
        set_argument("QuizOrders._apply", "changed", "0"),
        f"{EVERY_QUIZ}::test_200_leaves_locked_sessions_to_the_next_call",
    ),
    Mutation(
        "key of an order for a quiz",
        QUIZZES,
        replace("QuizOrders._begin", "begun.digest != digest", "False"),
        f"{EVERY_QUIZ}::test_422_for_a_key_of_another_order",
    ),
    Mutation(
        "calls of one order for a quiz take turns",
        QUIZZES,
        replace("QuizOrders._begin", "_turn(order)", "None"),
        "tests/traffic/test_row_locks.py::test_of_the_calls_of_one_order_for_a_quiz_one_waits",
    ),
    Mutation(
        "cache after a list",
        "session_service/storage/session_store.py",
        remove("SessionStore.find", "await self.raise_versions($$$)"),
        f"{TESTS}/test_list_sessions_items.py::test_no_read_is_older_than_the_list_before",
    ),
    Mutation(
        "page of a list with answers that ends before 4 MiB",
        "sql/list_sessions.sql",
        replace_sql("number = 1 or total_bytes < 4194304 as fits", "true as fits"),
        f"{TESTS}/test_list_sessions_items.py::test_200_with_pages_below_4_mib",
    ),
    Mutation(
        "no version of an overdue session in a list",
        "sql/list_sessions.sql",
        replace_sql("case when not overdue then version end as version", "version"),
        f"{TESTS}/test_list_sessions_items.py"
        "::test_an_overdue_session_has_no_version_until_its_end_is_stored",
    ),
]
