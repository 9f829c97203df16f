"""Whose a session is: to anybody else there is none, and nothing that is told or done says otherwise."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from attrs import frozen
from redis import Redis

from dev import reaper
from session_service.storage import queries
from session_service.storage.connection import Connection
from tests.conftest import Urls, migrate
from tests.support.inspection import INSIDE, QUEUED, running_in, waiting_for_locks
from tests.support.issuer import SERVICE_SCOPE, bearer, guarded
from tests.support.service import Headers, Service, folder, running, standstill
from tests.support.waiting import eventually

# Names that are written otherwise in JSON.
ADA = f'ada "\\ \u00fc\u0301 \U0001f600 {uuid4()}'
BOB = f"bob {uuid4()}"
KEY = "a-key-of-adas"
MISSING = "3f333df6-90a4-4fda-8dd3-9485d27cee36"
STATEMENTS = {"get_sessions", "write_sessions", "lock_session", "start_sessions", "list_sessions"}


class Visitor(Service):
    """The service as one caller meets it."""

    def __init__(self, service: Service, user: str, **claims: str) -> None:
        super().__init__(service.process, service.url, service.log)
        self.user = user
        self.client.headers.update(bearer(user, **claims))


@frozen
class House:
    """A service that asks for tokens, with its own servers; the log is PostgreSQL's, of every statement."""

    service: Service
    urls: Urls
    log: Path
    redis: Redis
    database: psycopg.Connection

    def work(self) -> list[str]:
        """Return what PostgreSQL and Redis were asked so far for requests, in order and counted."""
        statements = re.findall(r"-- name: (\w+)", self.log.read_text())
        counts = self.redis.info("commandstats")
        calls = [
            f"{name} {counts.get(f'cmdstat_{name}', {}).get('calls', 0)}" for name in ("mget", "evalsha")
        ]
        return [name for name in statements if name in STATEMENTS] + calls

    def batches(self) -> list[list[dict[str, Any]]]:
        """Return the writes that PostgreSQL was given, those of a statement together."""
        told = re.findall(r"arameters: \$1 = '(\[.*\"must_queue\".*\])'$", self.log.read_text(), re.MULTILINE)
        return [json.loads(text.replace("''", "'")) for text in told]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The service with its servers."""
    settings = guarded(tmp_path_factory.mktemp("issuer") / "keys.json")
    with folder() as base, reaper.servers(base) as urls:
        migrate(urls)
        with (
            psycopg.connect(urls["MIGRATION_DATABASE_URL"], autocommit=True) as database,
            Redis.from_url(urls["REDIS_URL"]) as redis,
        ):
            database.execute("alter database postgres set log_statement = 'all'")
            with running(urls, PYTHONPATH=INSIDE, **settings) as service:
                yield House(service, urls, base / "postgres.log", redis, database)


@pytest.fixture(scope="module")
def ada(house: House) -> Iterator[Visitor]:
    """The service as the one user meets it."""
    visitor = Visitor(house.service, ADA)
    with visitor.client:
        yield visitor


@pytest.fixture(scope="module")
def bob(house: House) -> Iterator[Visitor]:
    """The service as the other user meets it."""
    visitor = Visitor(house.service, BOB)
    with visitor.client:
        yield visitor


@pytest.fixture(scope="module")
def platform(house: House) -> Iterator[Visitor]:
    """The service as another service meets it, called as the one user is."""
    visitor = Visitor(house.service, ADA, scope=SERVICE_SCOPE)
    with visitor.client:
        yield visitor


def _runs(_: House, __: Visitor, ___: str) -> None:
    pass


def _is_not_cached(house: House, _: Visitor, session_id: str) -> None:
    house.redis.delete(f"session:{session_id}")


def _is_completed(_: House, ada: Visitor, session_id: str) -> None:
    assert ada.complete(session_id).status_code == 200


def _is_over_and_cached(house: House, _: Visitor, session_id: str) -> None:
    past = "update quiz_sessions set expires_at = started_at + interval '1 ms' where id = %s"
    house.database.execute(past, [session_id])


def _is_over(house: House, ada: Visitor, session_id: str) -> None:
    _is_over_and_cached(house, ada, session_id)
    house.redis.delete(f"session:{session_id}")
    assert ada.read(session_id).status_code == 410


STATES = [_runs, _is_not_cached, _is_completed, _is_over_and_cached, _is_over]

Request = tuple[str, str, object, Headers]
REQUESTS: list[Request] = [
    ("GET", "", None, {}),
    ("HEAD", "", None, {}),
    ("GET", "", None, {"if-none-match": '"2"'}),
    ("GET", "", None, {"if-none-match": "*"}),
    ("GET", "", None, {"cache-control": "no-cache"}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {}),
    ("PUT", "/progress", {"question_id": 1, "answer": "x"}, {"idempotency-key": KEY}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {"idempotency-key": KEY}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {"if-match": '"2"'}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's", "version": 1}, {}),
    ("PUT", "/progress", {"question_id": 1, "answer": "bob's"}, {"prefer": "return=minimal"}),
    ("PATCH", "/progress", {"answers": {"1": "bob's"}}, {}),
    ("PATCH", "/progress", {"answers": {"2": None}, "version": 9}, {}),
    ("PATCH", "/progress", {"answers": {str(n): 9_000 * "x" for n in range(8)}}, {}),
    ("POST", "/complete", None, {}),
    ("POST", "/complete", {"answers": {"1": "bob's"}}, {"if-match": '"1"', "idempotency-key": KEY}),
]


@pytest.mark.parametrize("state", STATES)
def test_a_foreign_session_is_a_missing_one(
    house: House, ada: Visitor, bob: Visitor, state: Callable[[House, Visitor, str], None]
) -> None:
    """Whatever is asked of it, and whether it is cached or over: the reply and the work are the same."""
    session_id = str(ada.start(user_id=ADA)["id"])
    assert ada.save(session_id, 1, "x", {"idempotency-key": KEY}).status_code == 200
    state(house, ada, session_id)
    before = _stored(house, session_id)
    for request in REQUESTS:
        # A Redis that is late once is asked less for a while.
        for _ in range(3):
            foreign, missing = (_asked(house, bob, request, place) for place in (session_id, MISSING))
            if foreign == missing:
                break
        assert foreign[0] == 404, foreign
        assert foreign == missing, request
    assert _stored(house, session_id) == before


def _asked(house: House, visitor: Visitor, request: Request, session_id: str) -> tuple[object, ...]:
    """Return what a request is told, but for the id, and what was asked of the stores for it."""
    method, path, body, headers = request
    before = house.work()
    reply = visitor.client.request(
        method, f"/api/sessions/{session_id}{path}", json=body, headers={"x-request-id": "same", **headers}
    )
    told = {name: value for name, value in reply.headers.items() if name != "date"}
    after = house.work()
    calls = [
        (new.split()[0], int(new.split()[1]) - int(old.split()[1]))
        for old, new in zip(before[-2:], after[-2:], strict=True)
    ]
    return reply.status_code, reply.text.replace(session_id, "id"), told, after[len(before) - 2 : -2], calls


def _stored(house: House, session_id: str) -> tuple[object, object]:
    """Return the row, but for what the sweeper may change, and the cache's entry."""
    row = """
        select
          to_jsonb(s) - 'status' - 'updated_at' - 'version'
          - case when expires_at <= clock_timestamp() then 'recent_writes' else '' end
        from quiz_sessions as s
        where id = %s
    """
    return house.database.execute(row, [session_id]).fetchone(), house.redis.get(f"session:{session_id}")


def test_its_owner_has_it_from_the_cache(house: House, ada: Visitor, platform: Visitor) -> None:
    """Whose a session is costs its owner, and a service, no look into the database."""
    session = ada.start(user_id=ADA)
    before = house.work()[:-2]
    assert ada.read(session["id"]).json() == platform.read(session["id"]).json() == session
    assert house.work()[:-2] == before


@pytest.mark.parametrize("other", ["eve", "Eva", "ev", "evaa", 'eva","x":"', "eva ", "e\u0301va"])
def test_a_name_that_is_nearly_the_same_is_another(house: House, other: str) -> None:
    """Users are the same only if they are called the same, in the cache as in the database."""
    eva, visitor = Visitor(house.service, "eva"), Visitor(house.service, other)
    with eva.client, visitor.client:
        session_id = eva.start(user_id="eva")["id"]
        assert visitor.read(session_id).status_code == 404
        house.redis.delete(f"session:{session_id}")
        assert visitor.read(session_id).status_code == 404
        assert visitor.save(session_id, 1, "x").status_code == 404
        assert eva.read(session_id).status_code == 200


def test_a_start_is_for_oneself(ada: Visitor, bob: Visitor) -> None:
    """Nobody starts, resumes or repeats a start for somebody else, and a key is its user's own."""
    started = ada.start(user_id=ADA, quiz_id=11)
    for body in ({"quiz_id": 11}, {"quiz_id": 11, "if_active": "resume"}):
        refusal = bob.client.post("/api/sessions/start", json={"user_id": ADA, **body})
        assert (refusal.status_code, refusal.json()["errorCode"]) == (403, "FORBIDDEN")
    starts = [
        visitor.client.post(
            "/api/sessions/start",
            json={"user_id": visitor.user, "quiz_id": 12},
            headers={"idempotency-key": KEY},
        )
        for visitor in (ada, bob)
    ]
    assert [reply.status_code for reply in starts] == [201, 201]
    assert len({started["id"], *(reply.json()["id"] for reply in starts)}) == 3


def test_a_list_has_ones_own(ada: Visitor, bob: Visitor) -> None:
    """With filters, without, and behind a cursor a list has the caller's sessions; another's is refused."""
    own = [bob.start(user_id=BOB, quiz_id=21)["id"] for _ in range(3)]
    others = [ada.start(user_id=ADA, quiz_id=21)["id"] for _ in range(3)]
    for query in ("", f"&user_id={BOB}", "&quiz_id=21", f"&quiz_id=21&user_id={BOB}"):
        page = bob.client.get(f"/api/sessions?limit=100{query}").json()
        listed = [item["id"] for item in page["items"]]
        assert {item["user_id"] for item in page["items"]} == {BOB}
        assert set(own) <= set(listed)
    first = ada.client.get("/api/sessions", params={"quiz_id": 21, "limit": 1}).json()
    assert first["items"][0]["id"] in others
    behind = bob.client.get("/api/sessions", params={"cursor": first["next_cursor"]}).json()
    assert {item["user_id"] for item in behind["items"]} == {BOB}
    refusal = bob.client.get("/api/sessions", params={"user_id": ADA})
    assert (refusal.status_code, refusal.json()["errorCode"]) == (403, "FORBIDDEN")


def test_a_service_acts_for_anyone(ada: Visitor, bob: Visitor, platform: Visitor) -> None:
    """With the scope sessions are started, read, saved, completed and listed whosever they are."""
    session_id = platform.start(user_id=BOB, quiz_id=31)["id"]
    assert bob.save(session_id, 1, "bob's").status_code == 200
    assert platform.save(session_id, 2, "x", {"if-match": '"2"'}).status_code == 200
    assert platform.save_many(session_id, {"3": "y"}).status_code == 200
    assert bob.read(session_id).json() == platform.read(session_id, {"cache-control": "no-cache"}).json()
    ada.start(user_id=ADA, quiz_id=31)
    page = platform.client.get("/api/sessions", params={"quiz_id": 31}).json()
    assert {item["user_id"] for item in page["items"]} == {ADA, BOB}
    page = platform.client.get("/api/sessions", params={"user_id": BOB, "quiz_id": 31}).json()
    assert [item["id"] for item in page["items"]] == [session_id]
    assert platform.complete(session_id).json()["answers"] == {"1": "bob's", "2": "x", "3": "y"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/sessions/start", {"user_id": BOB, "quiz_id": 7}),
        ("PUT", "/api/sessions/{id}/progress", {"question_id": 1, "answer": "x"}),
        ("PATCH", "/api/sessions/{id}/progress", {"answers": {"1": "x"}}),
        ("POST", "/api/sessions/{id}/complete", {}),
    ],
)
@pytest.mark.parametrize(
    "more",
    [
        {"owner": ADA},
        {"id": str(uuid4())},
        {"status": "completed"},
        {"expires_at": "2999-01-01T00:00:00.000Z"},
        {"time_limit_seconds": -1},
        {"started_at": None},
    ],
    ids=lambda more: next(iter(more)),
)
def test_nothing_else_can_be_set(
    bob: Visitor, method: str, path: str, body: dict[str, Any], more: dict[str, object]
) -> None:
    """What a session belongs to, is or may be is not for a body to say."""
    session = bob.start(user_id=BOB)
    others = {"user_id": ADA} if "{id}" in path else {}
    reply = bob.client.request(method, path.format(id=session["id"]), json={**body, **more, **others})
    assert (reply.status_code, reply.json()["errorCode"]) == (400, "VALIDATION_ERROR")
    assert bob.read(session["id"]).json() == session


def test_a_foreign_row_is_not_waited_for(house: House, ada: Visitor, bob: Visitor) -> None:
    """While a session is locked its owner's save waits, and others are told at once that there is none."""
    session_id = str(ada.start(user_id=ADA)["id"])
    with ThreadPoolExecutor(1) as client:
        with psycopg.connect(house.urls["MIGRATION_DATABASE_URL"]) as holder:
            holder.execute("select from quiz_sessions where id = %s for update", [session_id])
            for _ in range(2):
                # The second time the owner's save waits already.
                for request in REQUESTS:
                    assert _asked(house, bob, request, session_id)[0] == 404
                waiting = client.submit(ada.save, session_id, 1, "ada's")
                _await_locks(house)
            assert not waiting.done()
        assert waiting.result().status_code == 200


def test_strangers_do_not_hold_up_the_owner(house: House, ada: Visitor, bob: Visitor) -> None:
    """However many writes to a session somebody else sends, its owner's next one is in the next statement."""
    session_id = str(ada.start(user_id=ADA)["id"])
    done: list[int] = []
    with ThreadPoolExecutor(40) as clients, _locked_table(house):
        for _ in range(30):
            strange = clients.submit(bob.save, session_id, 1, "bob's")
            strange.add_done_callback(lambda call: done.append(call.result().status_code))
        _await_locks(house)
        eventually(lambda: running_in(house.service, QUEUED) == 29)
        own = clients.submit(ada.save, session_id, 1, "ada's")
        own.add_done_callback(lambda call: done.append(call.result().status_code))
        eventually(lambda: running_in(house.service, QUEUED) == 30)
    assert sorted(done) == [200] + 30 * [404]
    assert done.index(200) < 15


def test_a_user_and_a_service_write_one_after_the_other(
    house: House, ada: Visitor, platform: Visitor
) -> None:
    """Two who may write a session, at the same time and in one batch, lose nothing: none writes it twice."""
    session_id = str(ada.start(user_id=ADA)["id"])
    other = str(ada.start(user_id=ADA)["id"])
    with ThreadPoolExecutor(12) as clients, _locked_table(house):
        # It goes alone, and the others together.
        saves = [clients.submit(ada.save, other, 1, "x")]
        _await_locks(house)
        saves += [
            clients.submit(visitor.save, session_id, question, "x")
            for question, visitor in enumerate(5 * [ada, platform], 1)
        ]
        eventually(lambda: running_in(house.service, QUEUED) == 10)
    replies = [save.result() for save in saves]
    assert [reply.status_code for reply in replies] == 11 * [200]
    assert sorted(reply.json()["version"] for reply in replies[1:]) == list(range(2, 12))
    assert len(ada.read(session_id, {"cache-control": "no-cache"}).json()["answers"]) == 10
    batches = [[write for write in batch if write["id"] == session_id] for batch in house.batches()]
    assert max(len(batch) for batch in batches) == 2
    assert max(sum(not write["must_queue"] for write in batch) for batch in batches) == 1


def test_who_was_told_reads_what_was_told(house: House, ada: Visitor, platform: Visitor) -> None:
    """While another caller's write still waits, who was told of an own one reads what was told."""
    session_id = str(ada.start(user_id=ADA)["id"])
    first = str(ada.start(user_id=ADA)["id"])
    held = [str(ada.start(user_id=ADA)["id"]) for _ in range(3)]
    with (
        ThreadPoolExecutor(6) as clients,
        psycopg.connect(house.urls["MIGRATION_DATABASE_URL"]) as holder,
    ):
        # All places where a write may wait for a row are taken.
        holder.execute("select from quiz_sessions where id::text = any (%s) for update", [held])
        waiting = [clients.submit(ada.save, one, 1, "x") for one in held]
        _await_locks(house, len(held))
        with standstill(house.urls["MIGRATION_DATABASE_URL"]):
            saves = []
            for visitor, one in ((ada, first), (ada, session_id), (platform, session_id)):
                saves.append(clients.submit(visitor.save, one, 1, "x"))
                eventually(lambda: running_in(house.service, "SessionStore.write") == len(held) + len(saves))
        assert [save.result().json()["version"] for save in saves[:2]] == [2, 2]
        assert not saves[2].done()
        assert ada.read(session_id).json()["version"] == 2
        holder.rollback()
        assert saves[2].result().json()["version"] == 3
        assert {save.result().status_code for save in waiting} == {200}


@contextmanager
def _locked_table(house: House) -> Iterator[None]:
    """Let no statement of the service come back before the end of the block."""
    with psycopg.connect(house.urls["MIGRATION_DATABASE_URL"]) as holder:
        holder.execute("lock table quiz_sessions in access exclusive mode")
        yield


def _await_locks(house: House, count: int = 1) -> None:
    """Wait until so many statements wait for a lock."""
    eventually(lambda: waiting_for_locks(house.urls["MIGRATION_DATABASE_URL"]) >= count)


def test_a_foreign_row_is_not_locked(house: House, ada: Visitor) -> None:
    """A lock is for the owner's session; where there is none of the owner's nothing is locked."""
    session_id = UUID(str(ada.start(user_id=ADA)["id"]))

    async def locked(owner: str | None) -> tuple[int, bool]:
        async with await Connection.connect(house.urls["DATABASE_URL"]) as connection:
            found = await queries.lock_session(connection, id=session_id, owner=owner)
            free = "select from quiz_sessions where id = %s for update skip locked"
            return found, house.database.execute(free, [session_id]).rowcount == 0

    assert asyncio.run(locked(BOB)) == (0, False)
    assert asyncio.run(locked(ADA)) == asyncio.run(locked(None)) == (1, True)


def test_in_a_batch_each_is_asked_for_its_own(
    house: House, ada: Visitor, bob: Visitor, platform: Visitor
) -> None:
    """Requests of several callers that travel together are answered as if each had come alone."""
    own = {
        visitor: [str(visitor.start(user_id=visitor.user)["id"]) for _ in range(8)] for visitor in (ada, bob)
    }
    house.redis.flushdb()
    before = house.work()
    asked: list[tuple[int, Any]] = []
    with ThreadPoolExecutor(80) as clients, _locked_table(house):
        for visitor, owner in product((ada, bob, platform), own):
            status = 200 if visitor in {owner, platform} else 404
            read, saved = own[owner][:4], own[owner][4 : 6 if visitor is platform else 8]
            asked += [(status, clients.submit(visitor.read, session_id)) for session_id in read]
            asked += [(status, clients.submit(visitor.save, session_id, 1, "x")) for session_id in saved]
        _await_locks(house)
        # One read and one save have found a place free.
        eventually(lambda: running_in(house.service, QUEUED) == len(asked) - 2)
    replies: list[tuple[int, httpx.Response]] = [(status, call.result()) for status, call in asked]
    assert [reply.status_code for _, reply in replies] == [status for status, _ in replies]
    assert house.work()[len(before) - 2 :].count("get_sessions") <= 3
    for owner, ids in own.items():
        versions = [owner.read(session_id).json()["version"] for session_id in ids]
        assert versions == [1, 1, 1, 1, 3, 3, 2, 2]
