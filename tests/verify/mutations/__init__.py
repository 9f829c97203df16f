"""Mutation tests: for each guarantee in the list, a test fails once the guarantee is removed."""

from tests.verify.mutations import (
    access,
    api,
    auth,
    cache,
    erasing,
    exports,
    feed,
    fence,
    journal,
    monitor,
    orders,
    server,
    sessions,
    settings,
    sql,
    sql_durable,
    sql_ends,
    storage,
    traffic,
    webhooks,
)
from tests.verify.mutations.mutation import Mutation

MUTATIONS: list[Mutation] = [
    mutation
    for module in (
        access,
        api,
        auth,
        cache,
        erasing,
        exports,
        feed,
        fence,
        journal,
        monitor,
        orders,
        server,
        sessions,
        settings,
        sql,
        sql_durable,
        sql_ends,
        storage,
        traffic,
        webhooks,
    )
    for mutation in module.MUTATIONS
]
