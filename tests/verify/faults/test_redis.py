"""Redis may do what it likes: no request fails or shows what is old, and it is used again when it is well."""

import asyncio
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
from tests.support.waiting import eventually

BROKEN = 1.2  # seconds: longer than between two attempts to reach Redis again
# Looks at it, each after a pause of 20 ms, until it has to be believed again: they take five times the two
# seconds that it promises.
BACK = 500


class Place:
    """Where a Redis is, may end and come back."""

    def __init__(self, base: Path) -> None:
        self.url = f"unix://{base}/redis.sock"
        self._base = base
        self._running = ExitStack()

    def start(self) -> None:
        """Start it, empty."""
        self.process = self._running.enter_context(servers.redis(self._base, self._base)).process

    def stop(self) -> None:
        """End it, if it runs."""
        self._running.close()

    def tell(self, *command: str) -> None:
        """Give it an operator's command."""
        with Redis.from_url(self.url) as operator:
            operator.execute_command(*command)


@contextmanager
def killed(place: Place) -> Iterator[None]:
    """Redis is killed, and comes back empty."""
    place.process.kill()
    place.stop()
    yield
    place.start()


@contextmanager
def frozen(place: Place) -> Iterator[None]:
    """Redis stands still, and goes on with what it was told before."""
    place.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        place.process.send_signal(signal.SIGCONT)


@contextmanager
def full(place: Place) -> Iterator[None]:
    """Redis takes nothing new."""
    place.tell("config", "set", "maxmemory", "1")
    yield
    place.tell("config", "set", "maxmemory", "0")


@contextmanager
def read_only(place: Place) -> Iterator[None]:
    """Redis becomes a replica, which answers reads and takes no writes."""
    place.tell("replicaof", "127.0.0.1", "1")
    yield
    place.tell("replicaof", "no", "one")


@contextmanager
def flushed(place: Place) -> Iterator[None]:
    """Redis forgets what it holds."""
    place.tell("flushall")
    yield


@contextmanager
def without_scripts(place: Place) -> Iterator[None]:
    """Redis forgets the scripts that it was given."""
    place.tell("script", "flush")
    yield


@contextmanager
def refused_at_start(place: Place) -> Iterator[None]:
    """Redis is not there yet when the service starts."""
    yield
    place.start()


FAULTS = [killed, frozen, full, read_only, flushed, without_scripts, refused_at_start]
Fault = Callable[[Place], AbstractContextManager[None]]


@define
class Outcome:
    """What clients and operator saw: `wrong` are the replies that a Redis in order would not have let be."""

    requests: int = 0
    wrong: list[str] = field(factory=list)
    doubted: bool = False
    looks: int = 0  # after the fault, until it was over for the service
    entry: bytes = b""
    version: int = 0


@pytest.fixture(scope="module")
def outcomes(migrated: Urls) -> Iterator[dict[Fault, Future[Outcome]]]:
    """What comes of each fault, a few at a time: most of it is waiting."""
    with ThreadPoolExecutor(4) as worlds:
        yield {fault: worlds.submit(_suffer, migrated, fault) for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_request_notices_the_fault(fault: Fault, outcomes: dict[Fault, Future[Outcome]]) -> None:
    """During the fault and after it each request succeeds, each read shows the save before it.."""
    outcome = outcomes[fault].result()
    assert outcome.wrong == []
    # A busy machine may make Redis look slow without any fault.
    assert outcome.doubted or fault not in (killed, frozen, read_only, refused_at_start)
    assert outcome.looks < BACK
    assert outcome.entry.startswith(b"s1 %d " % outcome.version)
    assert outcome.entry.endswith(b"}")


def test_a_replica_that_is_behind_takes_over(migrated: Urls) -> None:
    """A stale replica that is promoted shows nothing old to who saw the new, and is believed in turn."""

    async def run() -> None:
        with ExitStack() as stack:
            old, new = (Place(stack.enter_context(folder())) for _ in range(2))
            for place in (old, new):
                place.start()
                stack.callback(place.stop)
            master = [old]
            proxy = Proxy(lambda: asyncio.open_unix_connection(master[0].url.removeprefix("unix://")))
            port = await proxy.start()
            await asyncio.to_thread(_fail_over, migrated, port, master, new)
            await proxy.stop()

    asyncio.run(run())


def _fail_over(urls: Urls, port: int, master: list[Place], new: Place) -> None:
    """Let a service reach its Redis at the port, which leads to the master of the moment."""
    old = master[0]
    with (
        running(urls, REDIS_URL=f"redis://127.0.0.1:{port}", CACHE_SECONDS="2") as service,
        running(urls, REDIS_URL=new.url, CACHE_SECONDS="2") as other,
        Redis.from_url(new.url) as replica,
    ):
        _replicate(old, new)
        session_id = service.start()["id"]
        eventually(lambda: replica.get(f"session:{session_id}") is not None)
        new.tell("replicaof", "no", "one")
        assert service.save(session_id, 1, "the replica does not get it").json()["version"] == 2
        master[0] = new
        _replicate(new, old)
        # The connections of before lead to what takes no writes now.
        assert service.save(session_id, 1, "nobody gets it").json()["version"] == 3
        assert service.read(session_id).json()["version"] == 3
        assert other.read(session_id, {"if-none-match": '"3"'}).status_code == 304
        eventually(lambda: service.client.get("/health").json()["status"] == "healthy")
        assert service.read(session_id).json()["version"] == 3
        assert isinstance(held := replica.get(f"session:{session_id}"), bytes)
        assert held.startswith(b"s1 3 ")
        assert other.read(session_id).json()["version"] == 3


def _replicate(master: Place, replica: Place) -> None:
    """Make one Redis a replica of the other, and wait until it has what the other has."""
    port = str(free_port())
    for setting in (("bind", "127.0.0.1"), ("port", port), ("repl-diskless-sync-delay", "0")):
        master.tell("config", "set", *setting)
    replica.tell("replicaof", "127.0.0.1", port)
    with Redis.from_url(replica.url) as operator:
        eventually(lambda: operator.info("replication")["master_link_status"] == "up")


def test_ten_megabytes_under_a_session_s_key_are_a_miss(service: Service, cache: Redis) -> None:
    """Even a value that no service could have written costs no more than a read of the database."""
    session = service.start()
    key = f"session:{session['id']}"
    cache.set(key, b"s1 1 99999999999999 {" + b"x" * 10_000_000)

    # A slow machine takes so large an answer for none, and does not believe Redis for a while.
    def is_replaced() -> bool:
        assert service.read(session["id"]).json() == session
        return bool(cache.strlen(key) < 1000)

    eventually(is_replaced)


def test_large_sessions_do_not_make_redis_look_slow(migrated: Urls) -> None:
    """A batch of the largest sessions takes Redis no longer than another, and their versions are guarded."""
    sessions = [encoded_session(uuid4(), 2, 1_000_000) for _ in range(64)]

    async def run() -> None:
        async with session_cache(migrated["REDIS_URL"], 30, 64) as cache:
            until = await cache.now() + 30_000
            await cache.put_if_newer([(session, until) for session in sessions])
            await cache.put_if_newer([(encoded_session(session.id, 1, 10), until) for session in sessions])
            assert await asyncio.gather(*(cache.get(session.id) for session in sessions)) == [None] * 64
            assert cache.client.available

    asyncio.run(run())


def test_a_client_that_leaves_takes_no_answer_of_another_s(migrated: Urls) -> None:
    """Whoever is cancelled while Redis answers, the next one reads its own entry."""
    sessions = [encoded_session(uuid4(), number, 10) for number in range(1, 9)]

    async def run() -> None:
        async with session_cache(migrated["REDIS_URL"], 30, 64) as cache:
            until = await cache.now() + 30_000
            await cache.put_if_newer([(session, until) for session in sessions])
            for turn in range(200):
                leaving = asyncio.create_task(cache.get(sessions[turn % 8].id))
                # Before it is sent, under way, and after the answer.
                for _ in range(turn % 7):
                    await asyncio.sleep(0)
                leaving.cancel()
                staying = [cache.get(session.id) for session in sessions]
                assert await asyncio.gather(*staying) == sessions
            assert cache.client.available

    asyncio.run(run())


def _suffer(urls: Urls, fault: Fault) -> Outcome:
    """Let a client work, with its requests counted in Redis, while the fault comes and goes."""
    outcome = Outcome()
    over = Event()
    with ExitStack() as stack:
        place = Place(stack.enter_context(folder()))
        stack.callback(place.stop)
        if fault is not refused_at_start:
            place.start()
        service = stack.enter_context(running(urls, REDIS_URL=place.url, RATE_LIMIT="1000000"))
        client = stack.enter_context(ThreadPoolExecutor(1)).submit(_work, service, outcome, over)
        with fault(place):
            asked = outcome.requests
            time.sleep(BROKEN)
            eventually(lambda: outcome.requests > asked + 20)
        while service.client.get("/health").json()["status"] != "healthy" and outcome.looks < BACK:
            time.sleep(0.02)
            outcome.looks += 1
        over.set()
        session_id = client.result()
        outcome.doubted = "redis is not believed" in service.log.read_text()
        with Redis.from_url(place.url) as operator:
            outcome.entry = operator.get(f"session:{session_id}") or b""
    return outcome


def _work(service: Service, outcome: Outcome, over: Event) -> object:
    """Save and read until it is over, and return the session's id."""
    session_id = service.start()["id"]
    outcome.version = 1
    last = False
    while not last:
        last = over.is_set()
        outcome.version += 1
        for reply in (service.save(session_id, 1, "x"), service.read(session_id)):
            outcome.requests += 1
            if (reply.status_code, reply.json().get("version")) != (200, outcome.version):
                outcome.wrong.append(f"{outcome.version}: {reply.status_code} {reply.text}")
        time.sleep(0.01)
    return session_id
