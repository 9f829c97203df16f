"""Mutations of the feed: its events, their positions, its cursors and its waiting requests."""

from tests.verify.mutations.mutation import (
    Change,
    Mutation,
    force,
    remove,
    remove_sql,
    replace,
    replace_sql,
)

_LIST = "tests/operations/test_list_events.py::"
_FEED = "tests/storage/test_event_feed.py::"
_PROCTOR = "tests/api/auth/test_proctor_orders.py::"
_QUEUED = "insert into unplaced_events (session_id, version) select session_id, version from logged"


def _without_events() -> Change:
    return replace_sql(_QUEUED, "select")


EVENTS = [
    Mutation(
        "no save in the feed",
        "sql/write_sessions.sql",
        remove_sql("where (t).status not in ('in_progress', 'paused')"),
        f"{_LIST}test_200_with_each_start_and_each_end",
    ),
    Mutation(
        "an event for each end by a write",
        "sql/write_sessions.sql",
        replace_sql("where (t).status not in ('in_progress', 'paused')", "where false"),
        f"{_LIST}test_200_with_each_start_and_each_end",
    ),
    Mutation(
        "an event for each start",
        "sql/start_sessions.sql",
        _without_events(),
        f"{_LIST}test_200_with_each_start_and_each_end",
    ),
    Mutation(
        "an event for each end by the sweeper",
        "sql/expire_sessions.sql",
        _without_events(),
        f"{_LIST}test_200_with_each_start_and_each_end",
    ),
]

POSITIONS = [
    Mutation(
        "positions in the order of commits",
        "sql/place_events.sql",
        replace_sql("row_number() over (order by t.arrival)", "t.arrival - (select newest from feed)"),
        f"{_FEED}test_an_event_that_is_committed_late_comes_late",
    ),
    Mutation(
        "positions of a session in the order of its versions",
        "sql/place_events.sql",
        replace_sql("over (order by t.arrival)", "over (order by t.arrival desc)"),
        f"{_LIST}test_200_in_pages",
    ),
    Mutation(
        "the feed is locked before its newest position is read",
        "sql/place_events.sql",
        remove_sql("for update"),
        f"{_FEED}test_positions_that_another_instance_has_given_are_not_given_again",
    ),
    Mutation(
        "the newest position is that of the locked row",
        "sql/place_events.sql",
        replace_sql(
            "feed.newest + number, session_id",
            "(select coalesce(max(position), 0) from event_positions) + number, session_id",
        ),
        f"{_FEED}test_positions_that_another_instance_has_given_are_not_given_again",
    ),
    Mutation(
        "the cache is raised before an event is shown",
        "session_service/storage/event_store.py",
        remove("EventStore.place", "await self._cache.raise_versions($$$)"),
        f"{_FEED}test_an_event_is_shown_after_the_cache_was_raised",
    ),
    Mutation(
        "old positions are counted as deleted",
        "sql/trim_events.sql",
        replace_sql(
            "set trimmed = greatest(feed.trimmed, (select max(position) from old))", "set trimmed = f.trimmed"
        ),
        f"{_FEED}test_old_positions_are_deleted_and_not_used_again",
    ),
    Mutation(
        "old positions are deleted from the oldest on",
        "sql/trim_events.sql",
        replace_sql("bool_and(is_old) over (order by position) as are_old", "is_old as are_old"),
        f"{_FEED}test_old_positions_are_deleted_and_not_used_again",
    ),
]

READS = [
    Mutation(
        "a page that a filter leaves empty has not read the whole feed",
        "sql/list_events.sql",
        replace_sql("else least(begin + 10000, newest)", "else newest"),
        f"{_FEED}test_filters_are_bounded_in_work",
    ),
    Mutation(
        "pages of the feed end at 1 MiB",
        "sql/list_events.sql",
        replace_sql("or total_bytes < 1048576 - 1024", "or true"),
        f"{_LIST}test_200_in_pages_of_one_mebibyte",
    ),
    Mutation(
        "a cursor of another era is refused",
        "session_service/sessions/events.py",
        replace("FeedRead.has_all_after", "is_same and $REST", "$REST"),
        f"{_LIST}test_410_for_a_cursor_of_another_feed",
    ),
    Mutation(
        "a cursor ahead of the feed is refused",
        "session_service/sessions/events.py",
        replace("FeedRead.has_all_after", "$LOW <= $PLACE <= $HIGH", "$LOW <= $PLACE"),
        f"{_LIST}test_410_for_a_cursor_of_another_feed",
    ),
    Mutation(
        "a cursor whose events are gone is refused",
        "session_service/sessions/events.py",
        replace("FeedRead.has_all_after", "$LOW <= $PLACE <= $HIGH", "$PLACE <= $HIGH"),
        f"{_LIST}test_410_for_a_cursor_whose_events_are_gone",
    ),
    Mutation(
        "quizzes of a proctor's feed",
        "session_service/sessions/events.py",
        force("EventFilter.within", "reach.owner is None", value=True),
        f"{_PROCTOR}test_a_proctors_feed_has_the_events_of_its_quizzes",
    ),
    Mutation(
        "own sessions of a proctor are not in its feed",
        "sql/list_events.sql",
        replace_sql("or s.user_id is distinct from %(except_user)s::text", "or true"),
        f"{_PROCTOR}test_a_proctors_feed_has_the_events_of_its_quizzes",
    ),
    Mutation(
        "no save in a pause in the feed",
        "sql/write_sessions.sql",
        replace_sql("where (t).status not in ('in_progress', 'paused')", "where (t).status <> 'in_progress'"),
        "tests/operations/test_list_events_of_orders.py::test_200_with_each_order",
    ),
    Mutation(
        "a request waits for an event",
        "session_service/sessions/feed.py",
        force("EventFeed.read", "await self._wait(page.next, end)", value=False),
        f"{_LIST}test_200_when_an_event_comes",
    ),
    Mutation(
        "bound of waiting requests",
        "session_service/sessions/feed.py",
        force("EventFeed._wait", "len(self._waiting) >= MAX_WAITING", value=False),
        f"{_LIST}test_200_for_a_bounded_number_of_waiting_requests",
    ),
    Mutation(
        "graceful shutdown ends the waiting",
        "session_service/api/operations.py",
        remove("Services.begin_shutdown", "self.feed.begin_shutdown()"),
        f"{_LIST}test_200_at_once_on_shutdown",
    ),
]

MUTATIONS = [*EVENTS, *POSITIONS, *READS]
