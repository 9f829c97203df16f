"""Tests of concurrent requests of several users: in one batch, and for one session."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any
from uuid import UUID

import httpx
import psycopg

from session_service.storage import queries
from session_service.storage.connection import PostgresConnection
from tests.api.auth.deployment import ADA, BOB, Deployment, User
from tests.support.inspection import QUEUED, running_in, tasks
from tests.support.service import frozen_database
from tests.support.waiting import eventually


def test_foreign_writes_do_not_delay_the_owner(deployment: Deployment, ada: User, bob: User) -> None:
    """Concurrent writes of another user do not delay the owner's write: it is in the next statement."""
    session_id = str(ada.start(user_id=ADA)["id"])
    done: list[int] = []
    with ThreadPoolExecutor(40) as clients, deployment.locked_table():
        for _ in range(30):
            foreign = clients.submit(bob.save, session_id, 1, "bob's")
            foreign.add_done_callback(lambda call: done.append(call.result().status_code))
        deployment.await_locks()
        eventually(lambda: running_in(deployment.service, QUEUED) == 29, lambda: tasks(deployment.service))
        own = clients.submit(ada.save, session_id, 1, "ada's")
        own.add_done_callback(lambda call: done.append(call.result().status_code))
        eventually(lambda: running_in(deployment.service, QUEUED) == 30, lambda: tasks(deployment.service))
    assert sorted(done) == [200] + 30 * [404]
    writers = [
        {write["owner"] for write in batch if write["id"] == session_id} for batch in deployment.batches()
    ]
    # The first foreign write was alone in its statement.
    assert [ADA in owners for owners in writers if owners][:2] == [False, True]


def test_concurrent_writes_of_a_user_and_a_service_are_serialized(
    deployment: Deployment, ada: User, platform: User
) -> None:
    """Concurrent writes of a user and a service to one session, in one batch, are all applied, one by one."""
    session_id = str(ada.start(user_id=ADA)["id"])
    other = str(ada.start(user_id=ADA)["id"])
    with ThreadPoolExecutor(12) as clients, deployment.locked_table():
        # The first is a batch of one, the others form the next batch.
        saves = [clients.submit(ada.save, other, 1, "x")]
        deployment.await_locks()
        saves += [
            clients.submit(user.save, session_id, question, "x")
            for question, user in enumerate(5 * [ada, platform], 1)
        ]
        eventually(lambda: running_in(deployment.service, QUEUED) == 10, lambda: tasks(deployment.service))
    responses = [save.result() for save in saves]
    assert [response.status_code for response in responses] == 11 * [200]
    assert sorted(response.json()["version"] for response in responses[1:]) == list(range(2, 12))
    assert len(ada.read(session_id, {"cache-control": "no-cache"}).json()["answers"]) == 10
    batches = [[write for write in batch if write["id"] == session_id] for batch in deployment.batches()]
    assert max(len(batch) for batch in batches) == 2
    assert max(sum(not write["must_queue"] for write in batch) for batch in batches) == 1


def test_a_user_reads_its_own_acknowledged_write(deployment: Deployment, ada: User, platform: User) -> None:
    """A user reads its acknowledged write while a write of a service to the same session waits."""
    session_id = str(ada.start(user_id=ADA)["id"])
    first = str(ada.start(user_id=ADA)["id"])
    held = [str(ada.start(user_id=ADA)["id"]) for _ in range(3)]
    with (
        ThreadPoolExecutor(6) as clients,
        psycopg.connect(deployment.urls["MIGRATION_DATABASE_URL"]) as holder,
    ):
        # Use up the concurrency of writes that wait for a row.
        holder.execute("select from quiz_sessions where id::text = any (%s) for update", [held])
        waiting = [clients.submit(ada.save, one, 1, "x") for one in held]
        deployment.await_locks(len(held))
        with frozen_database(deployment.urls["MIGRATION_DATABASE_URL"]):
            saves = []
            for user, one in ((ada, first), (ada, session_id), (platform, session_id)):
                saves.append(clients.submit(user.save, one, 1, "x"))
                eventually(
                    lambda: running_in(deployment.service, "SessionStore.write") == len(held) + len(saves),
                    lambda: (tasks(deployment.service), waiting, saves),
                )
        assert [save.result().json()["version"] for save in saves[:2]] == [2, 2]
        assert not saves[2].done()
        assert ada.read(session_id).json()["version"] == 2
        holder.rollback()
        assert saves[2].result().json()["version"] == 3
        assert {save.result().status_code for save in waiting} == {200}


def test_a_foreign_row_is_not_locked(deployment: Deployment, ada: User) -> None:
    """The lock statement locks a session for its owner only."""
    session_id = UUID(str(ada.start(user_id=ADA)["id"]))

    async def locked(owner: str | None) -> tuple[int, bool]:
        async with await PostgresConnection.connect(deployment.urls["DATABASE_URL"]) as connection:
            found = await queries.lock_session(connection, id=session_id, owner=owner)
            free = "select from quiz_sessions where id = %s for update skip locked"
            return found, deployment.database.execute(free, [session_id]).rowcount == 0

    assert asyncio.run(locked(BOB)) == (0, False)
    assert asyncio.run(locked(ADA)) == asyncio.run(locked(None)) == (1, True)


def test_a_batch_keeps_users_apart(deployment: Deployment, ada: User, bob: User, platform: User) -> None:
    """In a batch with requests of several users each has the same response as alone."""
    own = {user: [str(user.start(user_id=user.name)["id"]) for _ in range(8)] for user in (ada, bob)}
    deployment.redis.flushdb()
    before = deployment.work()
    pending: list[tuple[int, Any]] = []
    with ThreadPoolExecutor(80) as clients, deployment.locked_table():
        for user, owner in product((ada, bob, platform), own):
            status = 200 if user in {owner, platform} else 404
            read, saved = own[owner][:4], own[owner][4 : 6 if user is platform else 8]
            pending += [(status, clients.submit(user.read, session_id)) for session_id in read]
            pending += [(status, clients.submit(user.save, session_id, 1, "x")) for session_id in saved]
        deployment.await_locks()
        # One read and one save are in statements, the others queued.
        eventually(
            lambda: running_in(deployment.service, QUEUED) == len(pending) - 2,
            lambda: tasks(deployment.service),
        )
    responses: list[tuple[int, httpx.Response]] = [(status, call.result()) for status, call in pending]
    assert [response.status_code for _, response in responses] == [status for status, _ in responses]
    assert deployment.work()[len(before) - 2 :].count("get_sessions") <= 3
    for owner, ids in own.items():
        versions = [owner.read(session_id).json()["version"] for session_id in ids]
        assert versions == [1, 1, 1, 1, 3, 3, 2, 2]
