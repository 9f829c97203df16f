"""Tests of Redis failures: no request fails or is stale, and the cache is used again after the failure."""

import asyncio
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
from attrs import define, field
from redis import Redis

from dev import servers
from tests.conftest import Urls
from tests.support.caches import encoded_session, session_cache
from tests.support.service import Service, folder, free_port, running
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import LIMIT, eventually

FAULT_SECONDS = 1.2  # longer than the interval of attempts to reach Redis again
MAX_POLLS = 500  # polls, each after 20 ms, until Redis must be used again: five times the promised 2 s


class RedisServer:
    """A Redis that can be stopped and restarted."""

    def __init__(self, base: Path) -> None:
        self.url = f"unix://{base}/redis.sock"
        self._base = base
        self._stack = ExitStack()

    def start(self) -> None:
        """Start it empty."""
        self.process = self._stack.enter_context(servers.redis(self._base, self._base)).process

    def stop(self) -> None:
        """Stop it if it runs."""
        self._stack.close()

    def execute(self, *command: str) -> None:
        """Execute an operator's command."""
        with Redis.from_url(self.url) as operator:
            operator.execute_command(*command)


@contextmanager
def killed(redis: RedisServer) -> Iterator[None]:
    """Kill Redis and restart it empty."""
    redis.process.kill()
    redis.stop()
    yield
    redis.start()


@contextmanager
def frozen(redis: RedisServer) -> Iterator[None]:
    """Freeze Redis."""
    redis.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        redis.process.send_signal(signal.SIGCONT)


@contextmanager
def full(redis: RedisServer) -> Iterator[None]:
    """Let Redis reject new entries."""
    redis.execute("config", "set", "maxmemory", "1")
    yield
    redis.execute("config", "set", "maxmemory", "0")


@contextmanager
def read_only(redis: RedisServer) -> Iterator[None]:
    """Make Redis a replica, which rejects writes."""
    redis.execute("replicaof", "127.0.0.1", "1")
    yield
    redis.execute("replicaof", "no", "one")


@contextmanager
def flushed(redis: RedisServer) -> Iterator[None]:
    """Flush Redis."""
    redis.execute("flushall")
    yield


@contextmanager
def without_scripts(redis: RedisServer) -> Iterator[None]:
    """Remove the loaded scripts."""
    redis.execute("script", "flush")
    yield


@contextmanager
def started_late(redis: RedisServer) -> Iterator[None]:
    """Start Redis after the service."""
    yield
    redis.start()


FAULTS = [killed, frozen, full, read_only, flushed, without_scripts, started_late]
Fault = Callable[[RedisServer], AbstractContextManager[None]]


@define
class Outcome:
    """Observations during a fault; `wrong` lists failed and stale responses."""

    requests: int = 0
    wrong: list[str] = field(factory=list)
    opened: bool = False
    polls: int = 0  # after the fault, until the service is healthy
    entry: bytes = b""
    version: int = 0


@pytest.fixture(scope="module")
def outcomes(migrated: Urls) -> Iterator[dict[Fault, Future[Outcome]]]:
    """The outcome of each fault; a few run at a time."""
    with ThreadPoolExecutor(4) as executor:
        yield {fault: executor.submit(_outcome_of, migrated, fault) for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_request_fails_during_a_redis_fault(fault: Fault, outcomes: dict[Fault, Future[Outcome]]) -> None:
    """During a fault of Redis and after it, each request succeeds and each read has the latest save."""
    outcome = outcomes[fault].result()
    assert outcome.wrong == []
    # On a busy machine the circuit breaker may also open without a fault.
    assert outcome.opened or fault not in (killed, frozen, read_only, started_late)
    assert outcome.polls < MAX_POLLS
    assert outcome.entry.endswith(b"}")


def test_failover_to_a_stale_replica(migrated: Urls) -> None:
    """Failover: a stale replica that is promoted causes no stale read, and the cache is used again."""

    async def run() -> None:
        with ExitStack() as stack:
            old, new = (RedisServer(stack.enter_context(folder())) for _ in range(2))
            for redis in (old, new):
                redis.start()
                stack.callback(redis.stop)
            master = [old]
            proxy = Proxy(lambda: asyncio.open_unix_connection(master[0].url.removeprefix("unix://")))
            port = await proxy.start()
            await asyncio.to_thread(_fail_over, migrated, port, master, new)
            await proxy.stop()

    asyncio.run(run())


def _fail_over(urls: Urls, port: int, master: list[RedisServer], new: RedisServer) -> None:
    """Run a service through a failover of its Redis."""
    old = master[0]
    with (
        running(urls, REDIS_URL=f"redis://127.0.0.1:{port}", CACHE_SECONDS="2") as service,
        running(urls, REDIS_URL=new.url, CACHE_SECONDS="2") as other,
        Redis.from_url(new.url) as replica,
    ):
        _replicate(old, new)
        session_id = service.start()["id"]
        eventually(lambda: replica.get(f"session:{session_id}") is not None)
        new.execute("replicaof", "no", "one")
        assert service.save(session_id, 1, "the replica does not get it").json()["version"] == 2
        master[0] = new
        _replicate(new, old)
        # The open connections lead to a replica now.
        assert service.save(session_id, 1, "nobody gets it").json()["version"] == 3
        assert service.read(session_id).json()["version"] == 3
        assert other.read(session_id, {"if-none-match": '"3"'}).status_code == 304
        eventually(lambda: service.client.get("/health").json()["status"] == "healthy")
        assert service.read(session_id).json()["version"] == 3
        assert isinstance(held := replica.get(f"session:{session_id}"), bytes)
        assert held.startswith(b"s1 3 ")
        assert other.read(session_id).json()["version"] == 3


def _replicate(master: RedisServer, replica: RedisServer) -> None:
    """Make one Redis a replica of the other, and wait until it is in sync."""
    port = str(free_port())
    for setting in (("bind", "127.0.0.1"), ("port", port), ("repl-diskless-sync-delay", "0")):
        master.execute("config", "set", *setting)
    replica.execute("replicaof", "127.0.0.1", port)
    with Redis.from_url(replica.url) as operator:
        eventually(lambda: operator.info("replication")["master_link_status"] == "up")


def test_a_huge_cache_entry_is_a_miss(service: Service, cache: Redis) -> None:
    """An entry of ten megabytes is a cache miss."""
    session = service.start()
    key = f"session:{session['id']}"
    cache.set(key, b"s1 1 99999999999999 {" + b"x" * 10_000_000)

    # On a slow machine so large a response times out, and the circuit breaker opens for a while.
    def is_replaced() -> bool:
        assert service.read(session["id"]).json() == session
        return bool(cache.strlen(key) < 1000)

    eventually(is_replaced)


def test_large_sessions_keep_the_circuit_breaker_closed(migrated: Urls) -> None:
    """A batch of the largest sessions does not open the circuit breaker, and their versions are guarded."""
    sessions = [encoded_session(uuid4(), 2, 1_000_000) for _ in range(64)]

    async def run() -> None:
        async with session_cache(migrated["REDIS_URL"], 30, 64) as cache:
            until = await cache.now() + 30_000
            await cache.put_if_newer([(session, until) for session in sessions])
            await cache.put_if_newer([(encoded_session(session.id, 1, 10), until) for session in sessions])
            assert await asyncio.gather(*(cache.get(session.id) for session in sessions)) == [None] * 64
            assert cache.client.available

    asyncio.run(run())


def test_a_cancelled_cache_read_does_not_affect_others(migrated: Urls) -> None:
    """A cancelled read of the cache does not mix up the responses of others."""
    sessions = [encoded_session(uuid4(), number, 10) for number in range(1, 9)]

    async def run() -> None:
        async with session_cache(migrated["REDIS_URL"], 30, 64) as cache:
            until = await cache.now() + 30_000
            await cache.put_if_newer([(session, until) for session in sessions])
            whole = 0
            # On a busy machine Redis may seem slow: while the circuit breaker is open, reads find nothing.
            async with asyncio.timeout(LIMIT):
                for turn in itertools.count():
                    leaving = asyncio.create_task(cache.get(sessions[turn % 8].id))
                    # Cancel before the request, in flight, and after the response.
                    for _ in range(turn % 7):
                        await asyncio.sleep(0)
                    leaving.cancel()
                    found = await asyncio.gather(*(cache.get(session.id) for session in sessions))
                    for session, one in zip(sessions, found, strict=True):
                        assert one in (session, None)
                    whole += found == sessions
                    if whole == 200:
                        break
                    await asyncio.sleep(0 if found == sessions else 0.01)

    asyncio.run(run())


def _outcome_of(urls: Urls, fault: Fault) -> Outcome:
    """Run a client during a fault and until recovery; return the outcome."""
    outcome = Outcome()
    done = Event()
    with ExitStack() as stack:
        redis = RedisServer(stack.enter_context(folder()))
        stack.callback(redis.stop)
        if fault is not started_late:
            redis.start()
        service = stack.enter_context(running(urls, REDIS_URL=redis.url, RATE_LIMIT="1000000"))
        client = stack.enter_context(ThreadPoolExecutor(1)).submit(_work, service, outcome, done)
        stack.callback(done.set)
        with fault(redis):
            before = outcome.requests
            time.sleep(FAULT_SECONDS)
            eventually(lambda: outcome.requests > before + 20)
        eventually(lambda: _is_healthy(service, outcome))
        done.set()
        session_id = client.result()
        outcome.opened = "circuit breaker open" in service.log.read_text()
        with Redis.from_url(redis.url) as operator:
            # On a busy machine Redis may have missed the last save in time: it is written again within
            # seconds, and until then no read uses Redis.
            eventually(lambda: _is_current(operator, session_id, outcome), lambda: outcome.entry)
    return outcome


def _is_current(operator: Redis, session_id: object, outcome: Outcome) -> bool:
    entry = operator.get(f"session:{session_id}") or b""
    assert isinstance(entry, bytes)
    outcome.entry = entry
    return outcome.entry.startswith(b"s1 %d " % outcome.version)


def _is_healthy(service: Service, outcome: Outcome) -> bool:
    outcome.polls += 1
    return bool(service.client.get("/health").json()["status"] == "healthy")


def _work(service: Service, outcome: Outcome, done: Event) -> object:
    """Save and read until the event is set; return the session's id."""
    session_id = service.start()["id"]
    outcome.version = 1
    last = False
    while not last:
        last = done.is_set()
        outcome.version += 1
        for response in (service.save(session_id, 1, "x"), service.read(session_id)):
            outcome.requests += 1
            if (response.status_code, response.json().get("version")) != (200, outcome.version):
                outcome.wrong.append(f"{outcome.version}: {response.status_code} {response.text}")
        time.sleep(0.01)
    return session_id
