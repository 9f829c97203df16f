"""PostgreSQL goes, stands still, fills up or fails over: what clients are told, and how soon it is over."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from attrs import frozen

from dev.reaper import ROOT
from session_service.settings import SettingError
from session_service.storage import queries, statements
from session_service.storage.pool import ConnectionPool, await_server
from tests.conftest import Urls, migrate
from tests.support.inspection import INSIDE, running_in, waiting_for_locks
from tests.support.load import CLIENTS, load
from tests.support.service import Service, await_reply, folder, free_port, running
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import LIMIT, eventually, eventually_async
from tests.verify.histories.postgres import Postgres

FRESH = {"cache-control": "no-cache"}


@frozen
class Ground:
    """A PostgreSQL that may be broken, and a service on it."""

    postgres: Postgres
    service: Service


@contextmanager
def grounds(urls: Urls) -> Iterator[Ground]:
    """A PostgreSQL of one's own and a service on it, beside the shared Redis."""
    with (
        folder() as base,
        server(base) as postgres,
        running({**urls, "DATABASE_URL": postgres.url}, PYTHONPATH=INSIDE) as service,
    ):
        yield Ground(postgres, service)


@contextmanager
def server(base: Path) -> Iterator[Postgres]:
    """A PostgreSQL in the folder, migrated."""
    postgres = Postgres(base)
    postgres.start()
    try:
        migrate({"DATABASE_URL": postgres.url, "MIGRATION_DATABASE_URL": postgres.owner_url})
        yield postgres
    finally:
        postgres.stop()


@asynccontextmanager
async def serving(env: Urls) -> AsyncIterator[Service]:
    """A service that starts and ends while a proxy of the test's goes on."""
    one = running(env)
    service = await asyncio.to_thread(one.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(one.__exit__, None, None, None)


@pytest.fixture(scope="module")
def ground(migrated: Urls) -> Iterator[Ground]:
    """What the tests break one after the other, and mend again."""
    with grounds(migrated) as one:
        yield one


def test_killed(ground: Ground) -> None:
    """Meanwhile everybody is told 503 in time; all are served within 2 s of its return, nothing is lost."""

    async def run() -> None:
        async with load(ground.service.url) as clients:
            await asyncio.to_thread(ground.postgres.kill)
            await clients.suffer()
            await asyncio.to_thread(ground.postgres.start)
            await clients.recover(monotonic())
        assert clients.lost(ground.postgres.owner_url) == []

    asyncio.run(run())


def test_restarted(ground: Ground) -> None:
    """A statement under way is 503 unknown, a request meanwhile 503 not_applied; nothing is lost."""

    async def run() -> None:
        async with load(ground.service.url) as clients:
            for _ in range(3):
                await asyncio.to_thread(ground.postgres.stop)
                await asyncio.to_thread(ground.postgres.start)
                await clients.recover(monotonic())
        outcomes = [told.outcome for told in clients.failures()]
        assert set(outcomes) <= {"unknown", "not_applied"}
        assert outcomes.count("unknown") <= 3 * CLIENTS
        assert clients.lost(ground.postgres.owner_url) == []

    asyncio.run(run())


def test_restarted_while_nobody_asks(ground: Ground) -> None:
    """After a restart no statement goes out on a connection of before: it is served, or not applied."""
    session_id = ground.service.start()["id"]
    for turn in range(3):
        ground.postgres.stop()
        ground.postgres.start()
        # The sweeper may have found PostgreSQL away: until the next probe requests are rejected.
        while (reply := ground.service.save(session_id, turn, "x")).status_code == 503:
            assert reply.json()["outcome"] == "not_applied"
        assert reply.status_code == 200
        assert ground.service.read(session_id, FRESH).status_code == 200


def test_backends_killed(ground: Ground) -> None:
    """A connection that PostgreSQL ends costs nobody but those who have a statement under way on it."""

    async def run() -> None:
        async with load(ground.service.url) as clients:
            for _ in range(3):
                for backend in await asyncio.to_thread(ground.postgres.backends):
                    os.kill(backend, signal.SIGTERM)
                    await asyncio.sleep(0.05)
            await clients.recover(monotonic())
        assert {told.outcome for told in clients.failures()} <= {"unknown"}
        assert clients.lost(ground.postgres.owner_url) == []

    asyncio.run(run())


def test_out_of_connections(ground: Ground) -> None:
    """A service that PostgreSQL has no connection for says so, nothing applied, until there is one again."""

    async def run() -> None:
        async with load(ground.service.url) as clients:
            tell(ground, "alter role session_service connection limit 0")
            tell(
                ground,
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'session_service'",
            )
            await clients.suffer()
            tell(ground, "alter role session_service connection limit -1")
            await clients.recover(monotonic())
        assert [told.outcome for told in clients.failures()].count("not_applied") >= CLIENTS

    asyncio.run(run())


def test_all_connections_held(ground: Ground) -> None:
    """Whoever waits for what an operator has locked is told 503, nothing applied, and no longer than that."""

    async def run() -> None:
        async with load(ground.service.url) as clients:
            with psycopg.connect(ground.postgres.owner_url) as holder:
                holder.execute("lock table quiz_sessions in access exclusive mode")
                await clients.suffer(1)
            await clients.recover(monotonic())
        assert {told.outcome for told in clients.failures()} == {"not_applied"}

    asyncio.run(run())


def test_the_one_connection_held(ground: Ground, servers: Urls) -> None:
    """Where every connection is held each operation is 503 in time, nothing applied; probes are answered.

    Of a write that is answered because its 5 s are over it would be unknown whether it was applied.
    """
    urls = servers | {"DATABASE_URL": ground.postgres.url}
    with (
        running(urls, DATABASE_POOL_SIZE="1") as service,
        psycopg.connect(ground.postgres.owner_url) as holder,
        ThreadPoolExecutor(8) as clients,
    ):
        session_id = service.start()["id"]
        holder.execute("lock table quiz_sessions in access exclusive mode")
        asked = [
            clients.submit(service.save, session_id, 1, "x"),
            clients.submit(service.read, session_id, FRESH),
            clients.submit(service.complete, session_id),
            clients.submit(service.client.get, "/api/sessions"),
            clients.submit(service.client.post, "/api/sessions/start", json={"user_id": "u", "quiz_id": 7}),
        ]
        eventually(lambda: waiting_for_locks(ground.postgres.owner_url))
        # The readiness check waits for the lock, too, once its last result is a second old.
        assert service.client.get("/health").status_code in {200, 503}
        assert service.client.get("/health/live").status_code == 200
        replies = [reply.result() for reply in asked]
    assert {reply.status_code for reply in replies} == {503}
    assert {reply.json()["outcome"] for reply in replies} == {"not_applied"}
    assert all(reply.headers["retry-after"] for reply in replies)


def test_read_only(ground: Ground) -> None:
    """Saves are told 503, nothing applied, reads are answered, and all is well once it takes writes again."""

    async def run() -> None:
        session_id = ground.service.start()["id"]
        async with load(ground.service.url) as clients:
            await asyncio.to_thread(ground.postgres.set, "default_transaction_read_only", "on")
            await clients.suffer()
            seen = await asyncio.to_thread(ground.service.read, session_id, FRESH)
            await asyncio.to_thread(ground.postgres.set, "default_transaction_read_only", "off")
            await clients.recover(monotonic())
        assert seen.status_code == 200
        assert {told.outcome for told in clients.failures()} == {"not_applied"}

    asyncio.run(run())


@pytest.mark.needs("mount")
def test_disk_full(ground: Ground) -> None:
    """What finds no room is told 503, nothing applied; once there is room it is saved, nothing is lost."""

    async def run() -> None:
        with small_disk(ground) as disk:
            async with load(ground.service.url, size=2000) as clients:
                fill(disk)
                await clients.suffer()
                (disk / "rest").unlink()
                await clients.recover(monotonic())
            assert {told.outcome for told in clients.failures()} == {"not_applied"}
            assert clients.lost(ground.postgres.owner_url) == []

    asyncio.run(run())


def test_told_to_end_while_it_stands_still(ground: Ground, servers: Urls) -> None:
    """A service that has to end while PostgreSQL stands still for good answers, and ends."""
    urls = servers | {"DATABASE_URL": ground.postgres.url}
    with running(urls, PYTHONPATH=INSIDE) as service, ThreadPoolExecutor(1) as clients:
        session_id = service.start()["id"]
        ground.postgres.freeze()
        try:
            saved = clients.submit(service.save, session_id, 1, "x")
            eventually(lambda: running_in(service, "SessionStore.write"))
            service.process.terminate()
            assert (saved.result().status_code, saved.result().json()["outcome"]) == (503, "unknown")
            assert service.process.wait(LIMIT) == 0
        finally:
            ground.postgres.thaw()


@pytest.mark.needs("mount")
def test_no_room_for_the_log_of_writes(servers: Urls) -> None:
    """A PostgreSQL that falls because it cannot write its log has lost nothing, and is served from again."""

    async def run(postgres: Postgres, disk: Path, url: str) -> None:
        async with load(url) as clients:
            fill(disk)
            await asyncio.to_thread(use_up_log, postgres)
            await clients.suffer()
            (disk / "rest").unlink()
            # PostgreSQL 18 may hang in a shutdown that meets its restart after the PANIC.
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.start)
            await clients.recover(monotonic())
        assert clients.lost(postgres.owner_url) == []

    with folder() as base, server(base) as postgres, disk_of_the_log(postgres) as disk:
        with running(servers | {"DATABASE_URL": postgres.url}) as service:
            asyncio.run(run(postgres, disk, service.url))
        assert "PANIC:  could not write" in (base / "postgres.log").read_text()


def test_answers_in_shreds(ground: Ground, servers: Urls) -> None:
    """What comes byte by byte is an answer; a write whose answer is torn is unknown, a read asked again."""

    async def run() -> None:
        proxy = ground.postgres.proxy()
        urls = servers | {"DATABASE_URL": ground.postgres.url_at(await proxy.start())}
        async with serving(urls) as service:
            await asyncio.to_thread(_shred, service, proxy)
        await proxy.stop()

    asyncio.run(run())


def _shred(service: Service, proxy: Proxy) -> None:
    session_id = service.start()["id"]
    proxy.delay, proxy.slice = 0.02, 1
    assert service.save(session_id, 1, "slow").status_code == 200
    assert service.read(session_id, FRESH).json()["answers"] == {"1": "slow"}
    proxy.delay, proxy.slice = 0.0, 65536
    proxy.torn, proxy.doomed = True, b"slow"
    reply = service.save(session_id, 2, "torn")
    assert (reply.status_code, reply.json()["outcome"]) == (503, "unknown")
    proxy.doomed = b"slow"
    assert service.read(session_id, FRESH).json()["answers"] == {"1": "slow", "2": "torn"}
    assert proxy.lost == 2


def test_late_at_the_start(ground: Ground, servers: Urls) -> None:
    """A service that is started before its PostgreSQL says that it waits, and serves once that is there."""
    ground.postgres.stop()
    port = free_port()
    env = {**os.environ, **servers, "DATABASE_URL": ground.postgres.url, "PORT": str(port)}
    command = [sys.executable, "-m", "session_service"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("session-service: waiting for PostgreSQL: connection")
        ground.postgres.start()
        await_reply(f"http://127.0.0.1:{port}", process)
        process.terminate()
        process.stdout.read()
    assert process.returncode == 0


def test_a_server_that_may_forget(ground: Ground, servers: Urls) -> None:
    """A PostgreSQL without fsync, which forgets in a crash what it acknowledged, is not served from."""
    ground.postgres.set("fsync", "off")
    env = {**os.environ, **servers, "DATABASE_URL": ground.postgres.url, "PORT": str(free_port())}
    command = [sys.executable, "-m", "session_service"]
    ended = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    ground.postgres.set("fsync", "on")
    assert ended.returncode == 1
    assert "cannot start: PostgreSQL has to have fsync on" in ended.stdout


def test_refused_at_the_start() -> None:
    """A service waits for a PostgreSQL as long as it is told to, and then says in a line why it has none."""
    begun = monotonic()
    pool = statements.pool("postgresql://nobody@127.0.0.1:1/none", 1, queries.configure)
    with pytest.raises(
        SettingError, match=r"PostgreSQL of DATABASE_URL is out of reach: .* refused"
    ) as error:
        asyncio.run(await_server(pool, seconds=0.5))
    assert monotonic() - begun >= 0.5
    assert "\n" not in str(error.value)


def switched_over(urls: Urls) -> None:
    """A primary that takes no writes any more is left for the standby that was promoted."""
    _fail_over(urls, lambda primary: primary.set("default_transaction_read_only", "on"))


def failed_over(urls: Urls) -> None:
    """The standby that takes a dead primary's place is found, and has every answer if it is synchronous."""
    _fail_over(urls, Postgres.kill)


def _fail_over(urls: Urls, end: Callable[[Postgres], None]) -> None:
    async def run(primary: Postgres, standby: Postgres, url: str) -> None:
        async with load(url) as clients:
            await asyncio.to_thread(end, primary)
            await asyncio.to_thread(standby.promote)
            await clients.recover(monotonic())
        assert clients.lost(standby.owner_url) == []

    with folder() as first, folder() as second, server(first) as primary:
        standby = Postgres(second)
        primary.replicate(standby)
        hosts = f"host={first},{second}&target_session_attrs=read-write"
        with running(urls | {"DATABASE_URL": f"postgresql://session_service@/postgres?{hosts}"}) as service:
            asyncio.run(run(primary, standby, service.url))
        standby.stop()


def frozen_for_long(urls: Urls) -> None:
    """While PostgreSQL stands still each request has its reply in time; all are served soon after."""

    async def run(ground: Ground) -> None:
        async with load(ground.service.url) as clients:
            ground.postgres.freeze()
            # Each client has had replies although PostgreSQL gives none.
            await clients.suffer(2 * CLIENTS)
            ground.postgres.thaw()
            await clients.recover(monotonic())
        assert clients.lost(ground.postgres.owner_url) == []

    with grounds(urls) as ground:
        session_id = ground.service.start()["id"]
        eventually(lambda: _is_answered_in_time(ground, session_id))
        asyncio.run(run(ground))


def _is_answered_in_time(ground: Ground, session_id: object) -> bool:
    """Tell whether a save has its reply before the connection is given up, which is a second later.

    A service that has no processor for that second does not show it; it is asked again.
    """
    ground.postgres.freeze()
    try:
        reply = ground.service.save(session_id, 1, "x")
        waits = running_in(ground.service, "SessionStore.write") > 0
    finally:
        ground.postgres.thaw()
    eventually(lambda: ground.service.read(session_id, FRESH).status_code == 200)
    return waits and (reply.status_code, reply.json()["outcome"]) == (503, "unknown")


def killed_for_long(urls: Urls) -> None:
    """However long PostgreSQL was away, all are served within 2 s of its return."""

    async def run(ground: Ground) -> None:
        async with load(ground.service.url) as clients:
            await asyncio.to_thread(ground.postgres.kill)
            await asyncio.sleep(8)
            await asyncio.to_thread(ground.postgres.start)
            await clients.recover(monotonic())
        assert clients.lost(ground.postgres.owner_url) == []

    with grounds(urls) as ground:
        asyncio.run(run(ground))


def connections_half_open(urls: Urls) -> None:
    """Connections that lead nowhere are given up after 6 s, all of them, and new ones made."""

    async def run(postgres: Postgres) -> None:
        proxy = postgres.proxy()
        through = urls | {"DATABASE_URL": postgres.url_at(await proxy.start())}
        async with serving(through) as service, load(service.url) as clients:
            proxy.strand()
            stranded = monotonic()
            await clients.suffer()
            await clients.recover(stranded + 6)
        assert clients.lost(postgres.owner_url) == []
        await proxy.stop()

    with folder() as base, server(base) as postgres:
        asyncio.run(run(postgres))


def bounds_of_a_session(urls: Urls) -> None:
    """PostgreSQL itself ends what goes on for 5 s, and a transaction that nobody goes on with for as long."""

    async def sleep_long(pool: ConnectionPool) -> None:
        async with pool.connection() as connection:
            with pytest.raises(psycopg.errors.QueryCanceled):
                await connection.execute("select pg_sleep(9)")

    async def leave_open(pool: ConnectionPool) -> None:
        async with pool.connection() as connection:
            await connection.execute("begin")
            await eventually_async(lambda: not connection.is_alive())
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                await connection.execute("select from quiz_sessions")

    async def run() -> None:
        async with statements.pool(urls["DATABASE_URL"], 2, queries.configure) as pool:
            await asyncio.gather(sleep_long(pool), leave_open(pool))

    asyncio.run(run())


def refused_at_the_start_for_long(urls: Urls) -> None:
    """A service waits for PostgreSQL for 30 s, then ends with a line that says so."""
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "PORT": str(free_port())}
    begun = monotonic()
    command = [sys.executable, "-m", "session_service"]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **urls, **nowhere}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout.count("cannot start: the PostgreSQL of DATABASE_URL is out of reach: ") == 1
    assert monotonic() - begun > 30


LONG = [
    refused_at_the_start_for_long,
    switched_over,
    failed_over,
    frozen_for_long,
    killed_for_long,
    connections_half_open,
    bounds_of_a_session,
]
Scenario = Callable[[Urls], None]


@pytest.fixture(scope="module", autouse=True)
def outcomes(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[dict[Scenario, Future[None]]]:
    """What comes of the long scenarios that were asked for, which go on beside the short ones."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    asked = {param.params["scenario"] for param in params if param and "scenario" in param.params}
    with ThreadPoolExecutor(len(LONG)) as grounds:
        yield {scenario: grounds.submit(scenario, migrated) for scenario in LONG if scenario in asked}


@pytest.mark.parametrize("scenario", LONG, ids=lambda scenario: scenario.__name__)
def test_what_takes_long(scenario: Scenario, outcomes: dict[Scenario, Future[None]]) -> None:
    """Each of the long scenarios ends as it says."""
    outcomes[scenario].result()


def tell(ground: Ground, statement: str) -> None:
    """Give PostgreSQL an operator's command."""
    with psycopg.connect(ground.postgres.owner_url, autocommit=True) as operator:
        operator.execute(statement)


@contextmanager
def small_disk(ground: Ground) -> Iterator[Path]:
    """A disk of 16 MB that has the service's table, and nothing else."""
    disk = ground.postgres.base / "disk"
    disk.mkdir()
    with mounted(disk, "16m"):
        tell(ground, f"create tablespace small location '{disk}'")
        tell(ground, "alter table quiz_sessions set tablespace small")
        yield disk
        tell(ground, "alter table quiz_sessions set tablespace pg_default")
        tell(ground, "drop tablespace small")


@contextmanager
def disk_of_the_log(postgres: Postgres) -> Iterator[Path]:
    """A disk of 64 MB that has the log of PostgreSQL's writes, and nothing else."""
    postgres.stop()
    (data,) = postgres.base.glob("data-*")
    disk = postgres.base / "disk"
    disk.mkdir()
    with mounted(disk, "64m"):
        shutil.copytree(data / "pg_wal", disk / "pg_wal")
        for path in (disk / "pg_wal", *(disk / "pg_wal").rglob("*")):
            shutil.chown(path, "nobody")
        shutil.rmtree(data / "pg_wal")
        (data / "pg_wal").symlink_to(disk / "pg_wal")
        postgres.start()
        yield disk
        postgres.stop()


def use_up_log(postgres: Postgres) -> None:
    """Begin one file of the log after the other, until there is room for none."""
    with suppress(psycopg.Error), psycopg.connect(postgres.owner_url, autocommit=True) as operator:
        for _ in range(20):
            operator.execute("select pg_logical_emit_message(false, 'x', 'x')")
            operator.execute("select pg_switch_wal()")


@contextmanager
def mounted(disk: Path, size: str) -> Iterator[None]:
    """A disk in memory at the folder, for the user that PostgreSQL runs as."""
    options = f"size={size},uid=nobody,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> None:
    """Leave no room on the disk."""
    with (disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while True:
            rest.write(bytes(4096))
