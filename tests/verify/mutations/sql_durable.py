"""Mutations of the statements that make their own commits durable."""

from tests.verify.mutations.mutation import Mutation, replace_sql

MUTATIONS = [
    Mutation(
        f"durable commit of {name}",
        f"sql/{name}.sql",
        replace_sql("'remote_apply' else 'on' end, true", "'remote_apply' else 'off' end, true"),
        "tests/storage/test_durability.py::test_a_commit_is_durable_whatever_the_connection_has",
    )
    for name in (
        "start_sessions",
        "write_sessions",
        "order_sessions",
        "expire_sessions",
        "place_events",
        "erase_sessions",
    )
]
