"""Mutations of the page /monitor, and of the list that it polls."""

from tests.verify.mutations.mutation import Mutation, force, replace, replace_script, replace_sql

PAGE = "session_service/api/monitor/"
TESTS = "tests/verify/browser/monitor/"
WATCHING = "tests/operations/test_watching_sessions.py::"

MUTATIONS = [
    Mutation(
        "ETag of a page is that of its content",
        "session_service/api/results.py",
        replace("_page_response", "blake2b(body, digest_size=16)", "blake2b(body[:9], digest_size=16)"),
        f"{WATCHING}test_every_change_changes_the_etag",
    ),
    Mutation(
        "304 for a page that the client has",
        "session_service/api/results.py",
        force("_page_response", "if_none_match is not None and names_tag(if_none_match, etag)", value=False),
        "tests/operations/test_list_sessions.py::test_304_for_an_unchanged_page",
    ),
    Mutation(
        "devices of the learner's own saves",
        "sql/list_sessions.sql",
        replace_sql("actor = owner_actor ) order by version desc", "true ) order by version desc"),
        f"{WATCHING}test_a_learner_sees_no_device_of_another_actor",
    ),
    Mutation(
        "polls are five seconds apart",
        f"{PAGE}watch.js",
        replace_script("INTERVAL = 5000", "INTERVAL = 2000"),
        f"{TESTS}test_watching.py::test_the_page_polls_every_five_seconds_with_its_etag",
    ),
    Mutation(
        "polls have the ETag",
        f"{PAGE}watch.js",
        replace_script("tag: known?.tag", "tag: null"),
        f"{TESTS}test_watching.py::test_the_page_polls_every_five_seconds_with_its_etag",
    ),
    Mutation(
        "rows stay under the pointer",
        f"{PAGE}table.js",
        replace_script("this.#pointed || touched", "touched"),
        f"{TESTS}test_watching.py::test_rows_stay_under_the_pointer",
    ),
    Mutation(
        "rows stay under a finger",
        f"{PAGE}table.js",
        replace_script("this.#pointed || touched", "this.#pointed"),
        f"{TESTS}test_watching.py::test_rows_stay_under_a_finger",
    ),
    Mutation(
        "a hidden tab polls less often",
        f"{PAGE}watch.js",
        replace_script("HIDDEN_INTERVAL = 60000", "HIDDEN_INTERVAL = INTERVAL"),
        f"{TESTS}test_watching.py::test_a_hidden_tab_asks_less_often",
    ),
    Mutation(
        "a poll waits as long as Retry-After says",
        f"{PAGE}watch.js",
        replace_script("this.#startedAt + interval, this.#waitUntil", "this.#startedAt + interval"),
        f"{TESTS}test_access.py::test_the_page_waits_after_a_429",
    ),
    Mutation(
        "an unfinished order is repeated",
        f"{PAGE}give.js",
        replace_script("if (!report.unfinished) return", "return"),
        f"{TESTS}test_giving_orders.py::test_an_unfinished_order_is_repeated",
    ),
    Mutation(
        "Undo for everyone leaves out later attempts",
        f"{PAGE}order_dialog.js",
        replace_script("one.live && before.has(one.id)", "one.live"),
        f"{TESTS}test_giving_orders.py::test_an_unfinished_order_is_repeated",
    ),
    Mutation(
        "Undo for everyone waits for the next list",
        f"{PAGE}page.js",
        replace_script("if (undo && !everyone) offer()", "if (undo) offer()"),
        f"{TESTS}test_giving_orders.py::test_an_unfinished_order_is_repeated",
    ),
    Mutation(
        "fields are locked after an order without a reply",
        f"{PAGE}order_dialog.js",
        replace_script("this.locked ||= failure.passing", "this.locked = false"),
        f"{TESTS}test_giving_orders.py::test_an_order_without_a_reply_is_sent_again_as_it_is",
    ),
    Mutation(
        "a name is text",
        f"{PAGE}dom.js",
        replace_script("element.textContent = text", "element.innerHTML = text"),
        f"{TESTS}test_watching.py::test_a_name_with_markup_is_text",
    ),
    Mutation(
        "messages of allowed origins only",
        f"{PAGE}access.js",
        replace_script("!this.origins.has(origin) || source", "source"),
        f"{TESTS}test_access.py::test_another_origin_hands_nothing_over",
    ),
    Mutation(
        "a later token does not switch the exam",
        f"{PAGE}access.js",
        replace_script("current !== null && quiz !== null", "false && quiz !== null"),
        f"{TESTS}test_access.py::test_a_later_token_does_not_switch_the_exam",
    ),
    Mutation(
        "a repeat has the key of its order",
        f"{PAGE}give.js",
        replace_script("key: keys.of(...name)", "key: newKey()"),
        f"{TESTS}test_giving_orders.py::test_orders_survive_a_broken_network",
    ),
    Mutation(
        "a conflict is not overwritten",
        f"{PAGE}give.js",
        replace_script("orderState(attempt) !== seen", "false"),
        f"{TESTS}test_giving_orders.py::test_a_conflict_is_explained",
    ),
    Mutation(
        "an order for the end has a time",
        f"{PAGE}order_dialog.js",
        replace_script("kind === 'endAt' && end <= now()".replace("'", '"'), "false"),
        f"{TESTS}test_giving_orders.py::test_an_end_has_a_time",
    ),
]
