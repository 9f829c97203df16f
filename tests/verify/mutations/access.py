"""Mutations of the access of a token: its scopes, the sessions that it reaches, and their statements."""

from tests.verify.mutations.mutation import Mutation, force, remove_sql, replace, replace_sql

SCOPES = "session_service/api/auth/scopes.py"
PRINCIPAL = "session_service/api/auth/principal.py"
AUTHORIZATION = "session_service/api/auth/authorization.py"
GET, LIST = "sql/get_sessions.sql", "sql/list_sessions.sql"

MUTATIONS = [
    Mutation(
        "scopes with a meaning",
        SCOPES,
        replace("read_scopes", "$FOUND & {READ, PROCTOR, ERASE}", "$FOUND"),
        "tests/api/auth/test_bearer.py::test_the_scope_identifies_a_service",
    ),
    Mutation(
        "check of the claim quiz_ids",
        SCOPES,
        force("read_quizzes", "declared.violations($CLAIM)", value=False),
        "tests/api/auth/test_scopes.py::test_a_malformed_claim_has_no_quiz",
    ),
    Mutation(
        "no subject of a reader",
        PRINCIPAL,
        replace("Principal.of_token", "subject if $PROCTOR else None", "subject"),
        "tests/api/auth/test_proctors.py::test_a_reader_changes_nothing",
    ),
    Mutation(
        "scopes of an operation",
        PRINCIPAL,
        replace("Principal.acting", "self.scopes & access", "self.scopes"),
        "tests/api/auth/test_authorization.py::test_no_other_scope_includes_erasing",
    ),
    Mutation(
        "quizzes of a proctor in its writes as a learner",
        AUTHORIZATION,
        force("_reaches_more", "bool(principal.quizzes) and PROCTOR not in access", value=False),
        "tests/api/auth/test_proctors.py::test_a_proctor_changes_no_session_of_a_learner",
    ),
    Mutation(
        "no order of a proctor on its own session",
        AUTHORIZATION,
        replace("authorize", "LEARNER if own else PROCTOR", "PROCTOR"),
        "tests/api/auth/test_authorization.py::test_an_order_needs_a_proctor_of_the_quiz",
    ),
    Mutation(
        "foreign sessions hidden from orders of learners",
        AUTHORIZATION,
        force("_reaches_more", "LEARNER not in access", value=False),
        "tests/api/auth/test_authorization.py::test_an_order_needs_a_proctor_of_the_quiz",
    ),
    Mutation(
        "access of every operation",
        "session_service/api/contract.py",
        force("_access", "bool(access) != secured or not access <= ACCESS", value=False),
        "tests/api/auth/test_authorization.py::test_a_contract_with_unclear_access_is_an_error",
    ),
    Mutation(
        "read of a session by the proctor of its quiz",
        GET,
        remove_sql("or s.quiz_id = any (a.quizzes)"),
        "tests/api/auth/test_proctors.py::test_a_proctor_reads_the_sessions_of_its_quizzes",
    ),
    Mutation(
        "owner check of a list",
        LIST,
        replace_sql("or user_id = %(owner)s::text", "or %(owner)s::text is not null"),
        "tests/api/auth/test_ownership.py::test_a_user_lists_only_its_own_sessions",
    ),
    Mutation(
        "owner check of counts",
        "sql/count_sessions.sql",
        replace_sql("or user_id = %(owner)s::text", "or true"),
        "tests/api/auth/test_proctor_orders.py::test_counts_have_the_sessions_of_the_list",
    ),
    Mutation(
        "quizzes of a proctor's counts",
        "session_service/storage/records.py",
        force("count_parameters", "wanted.quiz_id in reach.quizzes", value=False),
        "tests/api/auth/test_proctor_orders.py::test_counts_have_the_sessions_of_the_list",
    ),
    Mutation(
        "quizzes of a proctor's list",
        LIST,
        remove_sql("where wanted.quiz_id = quiz.id"),
        "tests/api/auth/test_proctors.py::test_a_proctors_list_has_the_sessions_of_its_quizzes",
    ),
    Mutation(
        "proctor's own session listed once",
        LIST,
        replace_sql("or quiz_id <> all (%(quizzes)s::text[])", "or true"),
        "tests/api/auth/test_proctors.py::test_a_proctors_own_sessions_are_those_of_a_learner",
    ),
    Mutation(
        "end of an overdue session that a proctor reads",
        "session_service/storage/session_store.py",
        replace("SessionStore.read", "$RESULT.session.user_id", "reach.owner"),
        "tests/api/auth/test_proctors.py::test_a_proctor_reads_an_overdue_session",
    ),
]
