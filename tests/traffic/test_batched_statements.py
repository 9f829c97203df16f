"""Batches of starts, reads and writes: each call gets its own result."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import cycle
from pathlib import Path

import psycopg

from tests.conftest import Urls, migrate
from tests.support.batching import Call, count_batches, send_together, start
from tests.support.inspection import INSIDE, QUEUED, running_in, suspended, unread, waiting_for_locks
from tests.support.journal import lines
from tests.support.keep_alive import KeepAliveClient, Reply
from tests.support.service import Service, copy_repository, frozen_database, running
from tests.support.waiting import eventually, eventually_async


def test_each_write_of_a_batch_has_its_own_outcome(patient_service: Service, fresh_database: Urls) -> None:
    """Saves, a conflict, an unknown session, a completed one and a completion share a batch."""
    sessions = [patient_service.start() for _ in range(20)]
    patient_service.complete(sessions[1]["id"])
    spare = patient_service.start()["id"]
    missing = "00000000-0000-4000-8000-000000000000"
    calls: list[Call] = [
        (patient_service.save, session["id"], 1, f"of {n}") for n, session in enumerate(sessions[1:])
    ]
    calls += [
        (partial(patient_service.save, version=7), sessions[0]["id"], 1, "stale"),
        (patient_service.save, missing, 1, "x"),
        (patient_service.complete, spare),
    ]
    with count_batches(fresh_database) as count, ThreadPoolExecutor(40) as clients:
        with frozen_database(fresh_database["MIGRATION_DATABASE_URL"]):
            waiting = send_together(patient_service, clients, [(patient_service.save, spare, 1, "first")])
            eventually(lambda: running_in(patient_service, "SessionStore._write_batch"))
            waiting += send_together(patient_service, clients, calls)
            eventually(lambda: running_in(patient_service, QUEUED) == len(calls))
        responses = [call.result() for call in waiting]
    assert [response.status_code for response in responses] == [200, 410, *[200] * 18, 409, 404, 200]
    for n, (session, response) in enumerate(zip(sessions[1:], responses[1:-3], strict=True)):
        body = response.json()
        assert body.get("sessionId", body.get("id")) == session["id"]
        assert body.get("answers", {"1": f"of {n}"}) == {"1": f"of {n}"}
    assert responses[-1].json()["answers"] == {"1": "first"}
    # One for the first save, one for all others.
    assert count() == 2
    for response in (one for one in responses if one.status_code == 200):
        line = lines(patient_service, response.json()["id"])[response.json()["version"] - 1]
        assert line["request_id"] == response.headers["x-request-id"]
        saved = line["type"] == "session.saved"
        assert line["data"].get("answers") == (response.json()["answers"] if saved else None)


def test_starts_and_reads_are_batched(patient_service: Service, fresh_database: Urls) -> None:
    """Batches of starts, resumes and reads return the right session to each caller."""
    known = [patient_service.start(user_id=f"user {n}") for n in range(12)]
    no_cache = {"cache-control": "no-cache"}
    calls: list[Call] = [(patient_service.read, session["id"], no_cache) for session in known]
    calls += [(start, patient_service, f"new {n}", "new", f"key-{n % 6}") for n in range(12)] * 2
    calls += [(start, patient_service, f"user {n % 14}", "resume", None) for n in range(28)]
    with ThreadPoolExecutor(64) as clients, count_batches(fresh_database) as count:
        with frozen_database(fresh_database["MIGRATION_DATABASE_URL"]):
            sent = send_together(patient_service, clients, calls)
            # The first call of each kind is not queued.
            eventually(lambda: running_in(patient_service, QUEUED) == len(calls) - 3)
        reads, starts, again, resumes = sent[:12], sent[12:24], sent[24:36], sent[36:]
        assert [call.result().json() for call in reads] == known
        users = [call.result().json()["user_id"] for call in [*starts, *resumes]]
        assert users == [f"new {n}" for n in range(12)] + [f"user {n % 14}" for n in range(28)]
        ids = [call.result().json()["id"] for call in starts]
        assert [call.result().json()["id"] for call in again] == ids
        statuses = sorted(call.result().status_code for call in [*starts, *again])
        assert statuses == [200] * 12 + [201] * 12
        assert [call.result().status_code for call in resumes].count(201) == 2
        assert count() <= 20
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as database:
        assert database.execute("select count(*) from quiz_sessions").fetchone() == (26,)


def test_a_row_that_violates_a_constraint_fails_alone(patient_service: Service, fresh_database: Urls) -> None:
    """If PostgreSQL rejects a batch because of one row, the others are saved, each once."""
    sessions = [patient_service.start()["id"] for _ in range(12)]
    constraint = (
        "alter table quiz_sessions add constraint forbidden check (answers -> '1' <> '\"forbidden\"')"
    )
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        database.execute(constraint)
    with ThreadPoolExecutor(12) as clients:
        with frozen_database(fresh_database["MIGRATION_DATABASE_URL"]):
            saves = send_together(patient_service, clients, [(patient_service.save, sessions[0], 1, "x")])
            eventually(lambda: running_in(patient_service, "SessionStore._write_batch"))
            answers = ["x", "x", "x", "forbidden", *["x"] * 7]
            saves += send_together(
                patient_service,
                clients,
                [(patient_service.save, *save) for save in zip(sessions[1:], cycle([1]), answers)],
            )
            eventually(lambda: running_in(patient_service, QUEUED) == len(answers))
        statuses = [save.result().status_code for save in saves]
    assert statuses == [200, 200, 200, 200, 500, *[200] * 7]
    versions = [patient_service.read(session_id).json()["version"] for session_id in sessions]
    assert versions == [2, 2, 2, 2, 1, *[2] * 7]


def test_a_lost_connection_makes_each_outcome_of_the_batch_unknown(
    patient_service: Service, fresh_database: Urls
) -> None:
    """If the connection of a batch is lost, the outcome of each of its saves is unknown."""
    sessions = [patient_service.start()["id"] for _ in range(12)]
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        ThreadPoolExecutor(12) as clients,
    ):
        _create_gate(database)
        with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as holder:
            holder.execute("lock table gate in exclusive mode")
            saves = send_together(
                patient_service,
                clients,
                [(patient_service.save, session_id, 1, "x") for session_id in sessions],
            )
            eventually(lambda: running_in(patient_service, QUEUED) == len(sessions) - 1)
            end = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
            for processing in ("Batcher.__call__", "Batcher._run"):
                # First the one that was not queued is in flight, then a batch of all others.
                eventually(lambda processing=processing: running_in(patient_service, processing))  # type: ignore[misc]
                eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 1)
                database.execute(end)
            outcomes = [save.result().json().get("outcome", "saved") for save in saves]
    assert outcomes == ["unknown"] * len(sessions)
    versions = [
        patient_service.read(session_id, {"cache-control": "no-cache"}).json()["version"]
        for session_id in sessions
    ]
    assert versions == [1] * len(sessions)


def test_large_saves_delay_no_other_session(patient_service: Service, fresh_database: Urls) -> None:
    """Large saves are in no batch: other sessions are saved meanwhile, and each session's order is kept."""
    large, others = ([patient_service.start()["id"] for _ in range(count)] for count in (3, 20))
    url = fresh_database["MIGRATION_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as database, ThreadPoolExecutor(32) as clients:
        _create_gate(database, "when (new.answers ? 'large' or new.annotations ? 'large')")
        with psycopg.connect(url) as holder:
            holder.execute("lock table gate in exclusive mode")
            numbers = 15_000 * [1]
            first = [
                clients.submit(patient_service.save_many, large[0], {"large": numbers}),
                clients.submit(patient_service.save_many, large[1], {"a": 1}, annotations={"large": numbers}),
                clients.submit(patient_service.save_many, large[2], {"large": numbers}),
            ]
            eventually(lambda: waiting_for_locks(url) == len(large))
            behind = [clients.submit(patient_service.save, session_id, 1, "x") for session_id in large]
            saves = [clients.submit(patient_service.save, session_id, 1, "x") for session_id in others]
            assert {save.result().status_code for save in saves} == {200}
            assert not any(save.done() for save in [*first, *behind])
        assert [save.result().json()["version"] for save in [*first, *behind]] == [2, 2, 2, 3, 3, 3]
        assert first[0].result().json()["answers"] == {"large": numbers}


def _create_gate(database: psycopg.Connection, condition: str = "") -> None:
    """Create a table whose lock blocks the updates of sessions that meet the condition, or all."""
    database.execute("create table gate ()")
    database.execute(
        "create function wait() returns trigger language plpgsql security definer as "
        "'begin lock table gate in share mode; return new; end'"
    )
    database.execute(
        f"create trigger wait before update on quiz_sessions for each row {condition} execute function wait()"
    )


def test_concurrent_reads_of_one_session_share_statements(
    patient_service: Service, fresh_database: Urls
) -> None:
    """Two hundred concurrent reads of an uncached session need a few statements (thundering herd)."""
    session = patient_service.start()
    path = f"/api/sessions/{session['id']}"

    async def read_all() -> list[Reply]:
        clients = [KeepAliveClient() for _ in range(200)]
        port = int(patient_service.url.rpartition(":")[2])
        with frozen_database(fresh_database["MIGRATION_DATABASE_URL"]):
            with suspended(patient_service):
                reads = [
                    asyncio.ensure_future(client.send(port, "GET", path, None, {"cache-control": "no-cache"}))
                    for client in clients
                ]
                await eventually_async(lambda: unread(patient_service.url) == len(reads))
            await eventually_async(lambda: running_in(patient_service, QUEUED) == len(reads) - 1)
        responses = await asyncio.gather(*reads)
        for client in clients:
            client.close()
        return responses

    with count_batches(fresh_database) as count:
        responses = asyncio.run(read_all())
        assert count() <= 6
    assert [response.body for response in responses] == [session] * 200


def test_slow_lists_leave_connections_for_other_operations(fresh_database: Urls, tmp_path: Path) -> None:
    """Slow lists do not use up the connection pool: starts, saves and completions succeed."""
    migrate(fresh_database)
    file = copy_repository(tmp_path) / "sql" / "list_sessions.sql"
    source = "cross join clock\n"
    assert source in file.read_text()
    file.write_text(
        file.read_text().replace(source, "cross join clock\ncross join (select pg_sleep(3)) as slow\n")
    )
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        running(fresh_database, tmp_path, PYTHONPATH=INSIDE) as service,
        ThreadPoolExecutor(30) as clients,
    ):
        slow = service.start(user_id="slow")
        query = partial(service.client.get, params={"user_id": "slow"})
        lists = send_together(service, clients, [(query, "/api/sessions")] * 30)
        eventually(lambda: running_in(service, "Endpoint.handle") + sum(map(Future.done, lists)) == 30)
        session_id = service.start()["id"]
        assert service.save(session_id, 1, "x").status_code == 200
        assert service.complete(session_id).status_code == 200
        asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        (sleeping,) = database.execute(asleep).fetchone() or (0,)
        assert sleeping <= 2
        responses = [response.result() for response in lists]
    listed = {response.json()["items"][0]["id"] for response in responses if response.status_code == 200}
    assert listed <= {slow["id"]}
    assert {response.status_code for response in responses} <= {200, 503}
