"""What waits at the same time travels together, and nobody feels it but by being faster."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from redis import Redis

from session_service.sessions.errors import ServiceUnavailableError
from session_service.traffic.batching import QUEUE_TIMEOUT, Batcher
from session_service.traffic.load_shedding import MAX_BODY_MEMORY
from tests.conftest import Urls, migrate
from tests.support import clock
from tests.support.inspection import INSIDE, QUEUED, running_in, suspended, unread, waiting_for_locks
from tests.support.raw_http import replies
from tests.support.service import Service, copy_house, running, standstill
from tests.support.waiting import eventually, eventually_async
from tests.verify.histories.client import Reply, Wire

Call = tuple[Any, ...]
"""A function and its arguments."""


class ManualBatcher:
    """A batcher whose batches are done when the test says so."""

    def __init__(self, **given: Any) -> None:
        self.batches: list[list[int]] = []
        self.arrivals: list[asyncio.Event] = []
        options: dict[str, Any] = {
            "concurrency": 1,
            "max_batch_size": 3,
            "retry_singly_on": (ZeroDivisionError,),
            **given,
        }
        self.batcher: Batcher[int, float] = Batcher(self._carry, **options)

    async def _carry(self, items: list[int]) -> list[float]:
        self.batches.append(items)
        self.arrivals.append(asyncio.Event())
        await self.arrivals[-1].wait()
        if 13 in items:
            raise KeyError(13)
        return [1 / item for item in items]

    async def call(self, *items: int, key: object = None) -> list["asyncio.Task[float]"]:
        """Let so many calls come in, one after the other."""
        calls = [asyncio.ensure_future(self.batcher(item, key)) for item in items]
        await _turns()
        return calls

    async def arrive(self) -> None:
        """Let the batches under way arrive."""
        for arrival in self.arrivals:
            arrival.set()
        await _turns()


class Upload:
    """A save of a session of its own, whose last byte is sent when the test says so."""

    def __init__(self, service: Service, content: bytes) -> None:
        self.session_id = str(service.start()["id"])
        self._path = f"/api/sessions/{self.session_id}/progress"
        self._port = int(service.url.rpartition(":")[2])
        self._content = content

    async def begin(self) -> None:
        """Send all but the last byte."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        line = f"PATCH {self._path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        head = f"{line}content-type: application/json\r\ncontent-length: {len(self._content)}\r\n\r\n"
        self._writer.write(head.encode() + self._content[:-1])
        await self._writer.drain()

    async def send(self) -> httpx.Response:
        """Send all of it and return the reply."""
        await self.begin()
        return await self.end()

    def is_sent(self) -> bool:
        """Tell whether all that was written has left for the service."""
        return self._writer.transport.get_write_buffer_size() == 0

    async def end(self) -> httpx.Response:
        """Send the last byte and return the reply."""
        self._writer.write(self._content[-1:])
        told = await self._reader.read()
        self._writer.close()
        (reply,) = replies(told, ("PATCH", self._path))
        return reply


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    clock.run(test())


def test_a_lone_call_goes_at_once() -> None:
    """What finds a place free is carried before the caller has waited for anything: no turn is lost."""

    async def test() -> None:
        batcher = ManualBatcher()
        call = batcher.batcher(2)
        call.send(None)
        assert batcher.batches == [[2]]
        call.close()

    _run(test)


def test_those_that_wait_go_together_the_longest_first() -> None:
    """A batch forms only because a place is busy; it is as large as it may be, and nobody is overtaken."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2, 3, 4, 5, 6)
        assert batcher.batches == [[1]]
        for _ in range(3):
            await batcher.arrive()
        assert batcher.batches == [[1], [2, 3, 4], [5, 6]]
        assert [await call for call in calls] == [1 / item for item in range(1, 7)]

    _run(test)


def test_a_place_that_is_free_is_used() -> None:
    """With two places two batches are under way at a time, and never more."""

    async def test() -> None:
        batcher = ManualBatcher(concurrency=2)
        await batcher.call(1, 2, 3, 4, 5, 6, 7, 8)
        assert batcher.batches == [[1], [2]]
        batcher.arrivals[0].set()
        await _turns()
        assert batcher.batches == [[1], [2], [3, 4, 5]]

    _run(test)


def test_calls_with_one_key_keep_their_order() -> None:
    """Of a key one call is under way at a time, in the order in which they came, whatever place is free."""

    async def test() -> None:
        batcher = ManualBatcher(concurrency=3)
        calls = await batcher.call(1, 2, 3, key="session") + await batcher.call(4, key="another")
        assert batcher.batches == [[1], [4]]
        for _ in range(4):
            await batcher.arrive()
        assert batcher.batches == [[1], [4], [2], [3]]
        assert [await call for call in calls] == [1, 1 / 2, 1 / 3, 1 / 4]

    _run(test)


def test_one_bad_item_hurts_nobody_else() -> None:
    """After an error that says that nothing was done each goes alone, and only the bad one fails."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2, 0, 4)
        for _ in range(6):
            await batcher.arrive()
        assert batcher.batches == [[1], [2, 0, 4], [2], [0], [4]]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [float, float, ZeroDivisionError, float]

    _run(test)


def test_an_error_of_another_kind_is_told_to_each() -> None:
    """Where it is not known what was done nothing is done again."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2, 13, 4, 5)
        for _ in range(3):
            await batcher.arrive()
        assert batcher.batches == [[1], [2, 13, 4], [5]]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [float, KeyError, KeyError, KeyError, float]

    _run(test)


@pytest.mark.parametrize("cancelled", [0, 1, 2, 3])
def test_a_call_that_is_cancelled_cancels_no_other(cancelled: int) -> None:
    """Alone, under way with others or waiting: who is cancelled is gone, the others have their results."""

    async def test() -> None:
        batcher = ManualBatcher(max_batch_size=2)
        calls = await batcher.call(1, 2, 3, 4)
        if cancelled in (1, 2):
            await batcher.arrive()
        calls[cancelled].cancel()
        await _turns()
        for _ in range(3):
            await batcher.arrive()
        results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        expected: list[Any] = [1, 1 / 2, 1 / 3, 1 / 4]
        results[cancelled] = expected[cancelled] = None
        assert results == expected
        assert await _after(batcher) == 1 / 5

    async def _after(batcher: ManualBatcher) -> float:
        (call,) = await batcher.call(5)
        await batcher.arrive()
        return await call

    _run(test)


def test_a_full_lane_refuses_at_once() -> None:
    """Past its room a call is refused as not applied, without waiting; those that have room are carried."""

    async def test() -> None:
        batcher = ManualBatcher(queue_size=2)
        calls = await batcher.call(1, 2, 3, 4)
        assert [call.done() for call in calls] == [False, False, False, True]
        for _ in range(2):
            await batcher.arrive()
        assert batcher.batches == [[1], [2, 3]]
        refusal = (await asyncio.gather(*calls, return_exceptions=True))[3]
        assert isinstance(refusal, ServiceUnavailableError)
        assert refusal.outcome == "not_applied"

    _run(test)


def test_a_call_waits_for_so_long_and_is_not_carried_later() -> None:
    """Behind a batch that hangs a call is refused in time, and does not come back from the dead."""

    async def test() -> None:
        batcher = ManualBatcher()
        calls = await batcher.call(1, 2)
        with pytest.raises(ServiceUnavailableError):
            await calls[1]
        assert asyncio.get_running_loop().time() == QUEUE_TIMEOUT
        await batcher.arrive()
        assert batcher.batches == [[1]]

    _run(test)


def test_nothing_is_left_of_calls_that_are_over() -> None:
    """A lane remembers no key of the past, be it carried, failed, given up or cancelled."""

    async def test() -> None:
        batcher = ManualBatcher(concurrency=2)
        calls = [*await batcher.call(1, 13, 0, 4, 5, key="session"), *await batcher.call(6, 0, 13)]
        calls[3].cancel()
        for _ in range(9):
            await batcher.arrive()
        await asyncio.gather(*calls, return_exceptions=True)
        assert not batcher.batcher._queues  # noqa: SLF001 - a leak shows nowhere else
        assert not batcher.batcher._ready  # noqa: SLF001
        assert (batcher.batcher._queued, batcher.batcher._free) == (0, 2)  # noqa: SLF001

    _run(test)


@pytest.fixture
def private(fresh_database: Urls) -> Iterator[Service]:
    """A service with a database of its own."""
    with _migrated(fresh_database) as service:
        yield service


def test_each_write_of_a_batch_has_its_own_outcome(private: Service, fresh_database: Urls) -> None:
    """Saves, a stale one, one of nothing, one of what is completed, a completion: one batch, as if alone."""
    sessions = [private.start() for _ in range(20)]
    private.complete(sessions[1]["id"])
    spare = private.start()["id"]
    missing = "00000000-0000-4000-8000-000000000000"
    calls: list[Call] = [
        (private.save, session["id"], 1, f"of {n}") for n, session in enumerate(sessions[1:])
    ]
    calls += [
        (partial(private.save, version=7), sessions[0]["id"], 1, "stale"),
        (private.save, missing, 1, "x"),
        (private.complete, spare),
    ]
    with _batches(fresh_database) as count, ThreadPoolExecutor(40) as clients:
        with standstill(fresh_database["MIGRATION_DATABASE_URL"]):
            waiting = _send(private, clients, [(private.save, spare, 1, "first")])
            eventually(lambda: running_in(private, "SessionStore._write"))
            waiting += _send(private, clients, calls)
            eventually(lambda: running_in(private, QUEUED) == len(calls))
        replies = [call.result() for call in waiting]
    assert [reply.status_code for reply in replies] == [200, 410, *[200] * 18, 409, 404, 200]
    for n, (session, reply) in enumerate(zip(sessions[1:], replies[1:-3], strict=True)):
        told = reply.json()
        assert told.get("sessionId", told.get("id")) == session["id"]
        assert told.get("answers", {"1": f"of {n}"}) == {"1": f"of {n}"}
    assert replies[-1].json()["answers"] == {"1": "first"}
    # The first one, which found the place free, and the others.
    assert count() == 2


def test_starts_and_reads_travel_together_too(private: Service, fresh_database: Urls) -> None:
    """Starts with and without a key, resumes, and reads of the database come back to whom they belong."""
    known = [private.start(user_id=f"user {n}") for n in range(12)]
    fresh = {"cache-control": "no-cache"}
    calls: list[Call] = [(private.read, session["id"], fresh) for session in known]
    calls += [(_start, private, f"new {n}", "new", f"key-{n % 6}") for n in range(12)] * 2
    calls += [(_start, private, f"user {n % 14}", "resume", None) for n in range(28)]
    with ThreadPoolExecutor(64) as clients, _batches(fresh_database) as count:
        with standstill(fresh_database["MIGRATION_DATABASE_URL"]):
            sent = _send(private, clients, calls)
            # One of each kind has found a place free.
            eventually(lambda: running_in(private, QUEUED) == len(calls) - 3)
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


def test_a_row_that_is_held_delays_no_other(private: Service, fresh_database: Urls) -> None:
    """A save of a session that somebody else has locked waits alone, and lands when it is free."""
    sessions = [private.start()["id"] for _ in range(30)]
    held, others = sessions[:3], sessions[3:]
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as holder,
        ThreadPoolExecutor(32) as clients,
    ):
        holder.execute("select from quiz_sessions where id::text = any (%s) for update", [held])
        late = [clients.submit(private.save, session_id, 1, "late") for session_id in held]
        eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == len(held))
        saves = [clients.submit(private.save, session_id, 1, "x") for session_id in others]
        assert {save.result().status_code for save in saves} == {200}
        assert not any(save.done() for save in late)
        holder.rollback()
        assert [save.result().json()["answers"] for save in late] == [{"1": "late"}] * 3


def test_a_herd_on_one_session_is_a_few_statements(private: Service, fresh_database: Urls) -> None:
    """Whoever reads a session that is in no cache goes with all the others who do."""
    session = private.start()
    path = f"/api/sessions/{session['id']}"

    async def read_all() -> list[Reply]:
        wires = [Wire() for _ in range(200)]
        port = int(private.url.rpartition(":")[2])
        with standstill(fresh_database["MIGRATION_DATABASE_URL"]):
            with suspended(private):
                reads = [
                    asyncio.ensure_future(wire.send(port, "GET", path, None, {"cache-control": "no-cache"}))
                    for wire in wires
                ]
                await eventually_async(lambda: unread(private.url) == len(reads))
            await eventually_async(lambda: running_in(private, QUEUED) == len(reads) - 1)
        replies = await asyncio.gather(*reads)
        for wire in wires:
            wire.close()
        return replies

    with _batches(fresh_database) as count:
        replies = asyncio.run(read_all())
        assert count() <= 6
    assert [reply.body for reply in replies] == [session] * 200


def test_lists_leave_connections_for_everything_else(fresh_database: Urls, tmp_path: Path) -> None:
    """However many lists are slow, a session is started, saved and completed meanwhile."""
    migrate(fresh_database)
    file = copy_house(tmp_path) / "sql" / "list_sessions.sql"
    source = "from quiz_sessions, clock\n"
    assert source in file.read_text()
    file.write_text(
        file.read_text().replace(source, "from quiz_sessions, clock, (select pg_sleep(3)) as slow\n")
    )
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        running(fresh_database, tmp_path, PYTHONPATH=INSIDE) as service,
        ThreadPoolExecutor(30) as clients,
    ):
        slow = service.start(user_id="slow")
        query = partial(service.client.get, params={"user_id": "slow"})
        lists = _send(service, clients, [(query, "/api/sessions")] * 30)
        eventually(lambda: running_in(service, "Endpoint.handle") + sum(map(Future.done, lists)) == 30)
        session_id = service.start()["id"]
        assert service.save(session_id, 1, "x").status_code == 200
        assert service.complete(session_id).status_code == 200
        asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        (sleeping,) = database.execute(asleep).fetchone() or (0,)
        assert sleeping <= 2
        replies = [reply.result() for reply in lists]
    told = {reply.json()["items"][0]["id"] for reply in replies if reply.status_code == 200}
    assert told <= {slow["id"]}
    assert {reply.status_code for reply in replies} <= {200, 503}


def test_the_order_of_writes_is_kept_behind_a_row_that_is_held(
    private: Service, fresh_database: Urls
) -> None:
    """A save that comes when the row is free again goes behind the one that has waited for it."""
    session_id = private.start()["id"]
    url = fresh_database["MIGRATION_DATABASE_URL"]
    waiting = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    with (
        psycopg.connect(url) as holder,
        psycopg.connect(url, autocommit=True) as database,
        ThreadPoolExecutor(2) as clients,
    ):
        holder.execute("select from quiz_sessions where id = %s for update", [session_id])
        first = clients.submit(private.save, session_id, 1, "first")
        eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 1)
        (pid,) = database.execute(waiting).fetchone() or (0,)
        backend = psutil.Process(pid)
        backend.send_signal(signal.SIGSTOP)
        holder.rollback()
        second = clients.submit(private.save, session_id, 1, "second")
        try:
            # It goes behind the first one, which the database does not see yet.
            eventually(lambda: second.done() or running_in(private, QUEUED))
        finally:
            backend.send_signal(signal.SIGCONT)
        assert [first.result().json()["version"], second.result().json()["version"]] == [2, 3]
    assert private.read(session_id).json()["answers"] == {"1": "second"}


def test_a_row_that_stays_held_is_given_up(private: Service, fresh_database: Urls) -> None:
    """A save waits for a lock as long as it may, and is then told that nothing was done.

    Past the 5 s that a reply may take it would be told that the outcome is unknown.
    """
    session_id = private.start()["id"]
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as holder,
        ThreadPoolExecutor(1) as client,
    ):
        holder.execute("select from quiz_sessions where id = %s for update", [session_id])
        saved = client.submit(private.save, session_id, 1, "never")
        eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 1)
        reply = saved.result()
        assert (reply.status_code, reply.json()["outcome"]) == (503, "not_applied")
    assert private.read(session_id, {"cache-control": "no-cache"}).json()["version"] == 1


def test_one_row_that_the_database_refuses_fails_alone(private: Service, fresh_database: Urls) -> None:
    """Of a batch that PostgreSQL refuses for one row the others are saved, each once."""
    sessions = [private.start()["id"] for _ in range(12)]
    refuse = "alter table quiz_sessions add constraint refused check (answers -> '1' <> '\"refused\"')"
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        database.execute(refuse)
    with ThreadPoolExecutor(12) as clients:
        with standstill(fresh_database["MIGRATION_DATABASE_URL"]):
            saves = _send(private, clients, [(private.save, sessions[0], 1, "x")])
            eventually(lambda: running_in(private, "SessionStore._write"))
            answers = ["x", "x", "x", "refused", *["x"] * 7]
            saves += _send(
                private, clients, [(private.save, *save) for save in zip(sessions[1:], cycle([1]), answers)]
            )
            eventually(lambda: running_in(private, QUEUED) == len(answers))
        statuses = [save.result().status_code for save in saves]
    assert statuses == [200, 200, 200, 200, 500, *[200] * 7]
    versions = [private.read(session_id).json()["version"] for session_id in sessions]
    assert versions == [2, 2, 2, 2, 1, *[2] * 7]


def test_an_unknown_outcome_is_told_to_each(private: Service, fresh_database: Urls) -> None:
    """When the connection of a batch is lost each of its saves is told that it may have landed."""
    sessions = [private.start()["id"] for _ in range(12)]
    with (
        psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as database,
        ThreadPoolExecutor(12) as clients,
    ):
        database.execute("create table gate ()")
        database.execute(
            "create function wait() returns trigger language plpgsql security definer as "
            "'begin lock table gate in share mode; return new; end'"
        )
        database.execute(
            "create trigger wait before update on quiz_sessions for each row execute function wait()"
        )
        with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as holder:
            holder.execute("lock table gate in exclusive mode")
            saves = _send(private, clients, [(private.save, session_id, 1, "x") for session_id in sessions])
            eventually(lambda: running_in(private, QUEUED) == len(sessions) - 1)
            end = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
            for carrying in ("Batcher.__call__", "Batcher._run"):
                # First the one that found the place free is under way, then all others in a batch.
                eventually(lambda carrying=carrying: running_in(private, carrying))  # type: ignore[misc]
                eventually(lambda: waiting_for_locks(fresh_database["MIGRATION_DATABASE_URL"]) == 1)
                database.execute(end)
            outcomes = [save.result().json().get("outcome", "saved") for save in saves]
    assert outcomes == ["unknown"] * len(sessions)
    versions = [
        private.read(session_id, {"cache-control": "no-cache"}).json()["version"] for session_id in sessions
    ]
    assert versions == [1] * len(sessions)


def test_bodies_past_their_bound_are_refused_at_once(private: Service, fresh_database: Urls) -> None:
    """Saves that wait take only so much memory; past that one is told at once that nothing was done."""
    content = json.dumps({"answers": {str(number): "x" * 10_000 for number in range(25)}}).encode()
    room = MAX_BODY_MEMORY // len(content)
    saves = [Upload(private, content) for _ in range(room + 5)]

    async def save_all() -> tuple[list[httpx.Response], list[httpx.Response]]:
        await asyncio.gather(*(save.begin() for save in saves[:room]))
        await eventually_async(
            lambda: unread(private.url) == 0 and all(save.is_sent() for save in saves[:room])
        )
        with standstill(fresh_database["MIGRATION_DATABASE_URL"]):
            held = [asyncio.ensure_future(save.end()) for save in saves[:room]]
            await eventually_async(lambda: running_in(private, QUEUED) == room - 1)
            early = await asyncio.gather(*(save.send() for save in saves[room:]))
            assert not any(save.done() for save in held)
        return early, await asyncio.gather(*held)

    early, replies = asyncio.run(save_all())
    assert {(one.status_code, one.headers["retry-after"], one.json()["outcome"]) for one in early} == {
        (503, "1", "not_applied")
    }
    # Those that have waited for too long are told so, too.
    outcomes = Counter(reply.json().get("outcome", "saved") for reply in replies)
    assert outcomes["saved"] > 0
    assert outcomes["saved"] + outcomes["not_applied"] == room
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as database:
        stored = database.execute("select count(*) from quiz_sessions where version = 2").fetchone()
    assert stored == (outcomes["saved"],)
    assert private.save(saves[0].session_id, 1, "again").status_code == 200


def test_two_instances_lose_nothing_and_never_deadlock(fresh_database: Urls) -> None:
    """Instances that save to the same sessions at the same time, in any order, neither block nor lose."""
    with _migrated(fresh_database) as one, running(fresh_database) as two:
        sessions = [one.start()["id"] for _ in range(6)]
        with ThreadPoolExecutor(32) as clients:
            saves = [
                clients.submit(instance.save, session_id, question, f"{question}")
                for question in range(40)
                for instance, order in ((one, 1), (two, -1))
                for session_id in sessions[::order]
            ]
            assert {save.result().status_code for save in saves} == {200}
        for session_id in sessions:
            session = two.read(session_id).json()
            assert session["version"] == 81
            assert session["answers"] == {str(question): str(question) for question in range(40)}
        with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"]) as database:
            query = "select deadlocks from pg_stat_database where datname = current_database()"
            assert database.execute(query).fetchone() == (0,)


def test_two_instances_resume_one_session(fresh_database: Urls) -> None:
    """Racing resumes of many users on two instances make one session each."""
    with _migrated(fresh_database) as one, running(fresh_database) as two:
        with ThreadPoolExecutor(32) as clients:
            resumes = [
                clients.submit(_start, instance, f"racing {user}", "resume", None)
                for user in range(30)
                for instance in (one, two) * 3
            ]
            ids = {(resume.result().json()["user_id"], resume.result().json()["id"]) for resume in resumes}
        assert len(ids) == 30


def _start(service: Service, user: str, if_active: str, key: str | None) -> httpx.Response:
    body = {"user_id": user, "quiz_id": 7, "if_active": if_active}
    return service.client.post(
        "/api/sessions/start", json=body, headers={"idempotency-key": key} if key else None
    )


def _send(
    service: Service, clients: ThreadPoolExecutor, calls: Sequence[Call]
) -> list[Future[httpx.Response]]:
    """Let the calls reach the service at the same moment."""
    with suspended(service):
        sent = [clients.submit(*call) for call in calls]
        eventually(lambda: unread(service.url) == len(sent))
    return sent


@contextmanager
def _migrated(urls: Urls) -> Iterator[Service]:
    """A service on a database that is empty so far."""
    migrate(urls)
    with running(urls, PYTHONPATH=INSIDE) as service:
        yield service


@contextmanager
def _batches(urls: Urls) -> Iterator[Callable[[], int]]:
    """Count the times that the cache is raised: once for each batch."""
    with Redis.from_url(urls["REDIS_URL"]) as redis:

        def raised() -> int:
            return int(redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))

        before = raised()
        yield lambda: raised() - before
