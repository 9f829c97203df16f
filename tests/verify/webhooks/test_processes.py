"""Processes that send webhooks: killed, two at once, their commands, a PostgreSQL that restarts."""

import random
import threading
from datetime import datetime
from uuid import UUID

import psycopg

from tests.conftest import Urls
from tests.support.receiver import Request, Response, receiving
from tests.support.service import folder
from tests.support.waiting import LIMIT, eventually
from tests.support.webhooks import (
    Events,
    command,
    deliveries,
    let_time_pass,
    local,
    make_due,
    sending,
    started,
)
from tests.verify.faults.deployment import migrated_postgres


def test_an_event_is_given_up_after_a_day(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """An attempt that fails a day after the first one is the last; the next event follows."""
    with receiving() as receiver:
        receiver.respond = lambda request: Response(400 if request.id == first else 204)
        first = events.start()
        second = events.add(first)
        with sending(urls, {"grading": local(receiver.url())}) as process:
            owner.execute("update webhook_endpoints set position = 0")
            eventually(lambda: deliveries(owner)[:1] == [(first, 1)])
            let_time_pass(owner, hours=23)
            eventually(lambda: deliveries(owner)[:1] == [(first, 2)])
            let_time_pass(owner, hours=2)
            eventually(lambda: deliveries(owner) == [])
            line = process.await_line("gave up")
    assert receiver.ids == [first, first, first, second]
    session_id = first.split("_")[0]
    assert line.endswith(f"gave up the event of version 1 of session {session_id}: status 400")


def test_410_disables_an_endpoint(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """After 410 nothing is sent, also after a restart, until the URL changes or a command enables it."""
    with receiving() as receiver:
        endpoint = {"grading": local(receiver.url())}
        receiver.respond = lambda _: Response(410)
        with sending(urls, endpoint) as process:
            ids = [events.start()]
            process.await_line("webhook grading: disabled, it has answered 410")
            ids.append(events.start())
        assert command(urls, "--status").stdout.startswith("grading: disabled, 2 undelivered")
        with sending(urls, endpoint) as process:
            process.await_line("webhook grading: disabled, it has answered 410")
            assert receiver.ids == ids[:1]
            assert command(urls, "--enable", "grading").returncode == 0
            process.await_line("webhook grading: disabled, it has answered 410; change its URL")
            assert set(receiver.ids) <= set(ids)
            assert receiver.ids.count(ids[0]) == 2
            assert command(urls, "--enable", "other").returncode == 1
        receiver.respond = lambda _: Response()
        with sending(urls, {"grading": local(receiver.url(path="/new"))}) as process:
            eventually(lambda: deliveries(owner) == [])
            assert process.logged("webhook grading: enabled, it has another URL")
    assert sorted(request.id for request in receiver.requests if request.path == "/new") == sorted(ids)


def test_sigterm_waits_for_a_post_in_flight(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """After SIGTERM an event in flight is recorded as received, and no other one is sent."""
    arrived, release = threading.Event(), threading.Event()

    def respond(_: Request) -> Response:
        arrived.set()
        release.wait(LIMIT)
        return Response()

    with receiving() as receiver:
        receiver.respond = respond
        with sending(urls, {"grading": local(receiver.url())}) as process:
            first = events.start()
            assert arrived.wait(LIMIT)
            process.process.terminate()
            second = events.add(first)
            release.set()
            assert process.process.wait(LIMIT) == 0
    assert receiver.ids == [first]
    assert [message for message, _ in deliveries(owner)] in ([], [second])


def test_of_two_processes_one_sends(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """A second process waits, and takes over when the first one is killed: each event is sent once."""
    with receiving() as receiver:
        endpoint = {"grading": local(receiver.url())}
        with sending(urls, endpoint) as first, started(urls, endpoint) as second:
            ids = [events.start()]
            receiver.await_requests(1)
            eventually(lambda: deliveries(owner) == [])
            assert not second.logged("this process sends webhooks")
            assert command(urls, "--status").returncode == 0
            first.kill()
            second.await_line("this process sends webhooks")
            ids.append(events.start())
            eventually(lambda: receiver.ids == ids)
    ended = command(urls, "--status")
    assert (ended.returncode, ended.stderr) == (1, "session-service: no process sends webhooks\n")
    assert ended.stdout == "grading: 0 undelivered, the oldest for 0 s, 0 to be tried again\n"


def test_events_that_are_gone_are_reported(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """An endpoint that was away until its events were trimmed goes on from the oldest; a log line says so."""
    with receiving() as receiver:
        endpoint = {"grading": local(receiver.url())}
        with sending(urls, endpoint):
            pass
        ids = [events.start() for _ in range(3)]
        owner.execute("delete from event_positions where position <= 2")
        owner.execute("update event_feeds set trimmed = 2")
        ids.append(events.start())
        with sending(urls, endpoint) as process:
            receiver.await_requests(2)
            process.await_line("webhook grading: up to 2 events are gone from the feed (EVENTS_DAYS)")
    assert sorted(receiver.ids) == sorted(ids[2:])


def test_a_restored_database_goes_on_where_it_was(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """The state of an endpoint is restored with the feed: after a new era its events go on, none twice."""
    with receiving() as receiver, sending(urls, {"grading": local(receiver.url())}):
        ids = [events.start()]
        receiver.await_requests(1)
        owner.execute("update event_feeds set era = gen_random_uuid()")
        ids.append(events.start())
        eventually(lambda: receiver.ids == ids)


def test_no_personal_data_is_kept(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """A delivery that waits has the session's id and version, positions, times and counts only."""
    with receiving() as receiver:
        receiver.respond = lambda _: Response(500)
        with sending(urls, {"grading": local(receiver.url())}):
            message = events.start()
            eventually(lambda: deliveries(owner) == [(message, 1)])
    row = owner.execute("select * from webhook_deliveries").fetchone()
    assert row is not None
    assert [type(value) for value in row] == [str, int, UUID, int, datetime, int, datetime, datetime]
    assert row[0] == "grading"


def test_a_removed_endpoint_is_forgotten_by_a_command(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """The state of an endpoint that is not in the settings stays until a command deletes it."""
    with receiving() as receiver:
        receiver.respond = lambda _: Response(500)
        endpoints = {"grading": local(receiver.url()), "other": local(receiver.url(path="/other"))}
        with sending(urls, endpoints):
            events.start()
            eventually(lambda: len(deliveries(owner)) == 2)
        with sending(urls, {"other": endpoints["other"]}) as process:
            process.await_line("webhook grading: it is not in the settings any more")
            file = str(process.log.parent / "webhooks.json")
            assert command(urls, "--forget", "other", WEBHOOKS_FILE=file).returncode == 1
            assert command(urls, "--forget", "grading", WEBHOOKS_FILE=file).returncode == 0
            assert command(urls, "--forget", "grading", WEBHOOKS_FILE=file).returncode == 1
    assert owner.execute("select name from webhook_endpoints").fetchall() == [("other",)]
    assert len(deliveries(owner)) == 1


class Flaky:
    """Responds badly to some requests, and keeps the first arrival of each message that it has accepted."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self._random = random.Random(7)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        """Refuse three requests of ten."""
        with self._lock:
            if self._random.random() < 0.3:
                return Response(self._random.choice([302, 404, 429, 500]))
            self.accepted.append(request.id)
        return Response(200, body=b"ok")

    def first(self) -> list[str]:
        """Return the messages in the order of their first acceptance."""
        return list(dict.fromkeys(self.accepted))


def test_killed_again_and_again_it_misses_nothing(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """With kills and a receiver that refuses, each event arrives, those of a session in their order."""
    flaky = Flaky()
    with receiving() as receiver:
        receiver.respond = flaky
        endpoint = {"grading": local(receiver.url())}
        with sending(urls, endpoint):
            pass
        last: list[str] = []
        ids: list[str] = []
        for number in range(6):
            last = [events.add(one) for one in last] + [events.start() for _ in range(6)]
            ids += last
            with sending(urls, endpoint) as victim:
                before = len(receiver.requests)
                receiver.await_requests(before + 3 + number)
                victim.kill()
            make_due(owner)
        with sending(urls, endpoint):

            def all_are_accepted() -> bool:
                make_due(owner)
                return set(flaky.accepted) == set(ids) and deliveries(owner) == []

            eventually(all_are_accepted, lambda: set(ids) - set(flaky.accepted))
    for session_id in {message.split("_")[0] for message in ids}:
        versions = [message.split("_")[1] for message in flaky.first() if message.startswith(session_id)]
        assert versions == sorted(versions)


def test_postgresql_is_restarted() -> None:
    """After a restart of PostgreSQL the process sends on, without a restart of its own."""
    with folder() as base, migrated_postgres(base) as postgres, receiving() as receiver:
        urls = {"DATABASE_URL": postgres.url}
        with sending(urls, {"grading": local(receiver.url())}) as process:
            with psycopg.connect(postgres.owner_url, autocommit=True) as owner:
                ids = [Events(owner).start()]
            receiver.await_requests(1)
            postgres.stop()
            process.await_line("this process sends no webhooks")
            assert len(process.logged("this process has lost its lock of the webhooks")) == 1
            postgres.start()
            with psycopg.connect(postgres.owner_url, autocommit=True) as owner:
                ids.append(Events(owner).start())
                eventually(lambda: set(receiver.ids) == set(ids))
                eventually(lambda: deliveries(owner) == [])
            assert len(process.logged("this process sends webhooks")) == 2


def test_postgresql_is_away_when_an_event_was_received(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """An event that is received while its delivery cannot be deleted is not sent again for that."""
    arrived, release = threading.Event(), threading.Event()

    def respond(_: Request) -> Response:
        arrived.set()
        release.wait(LIMIT)
        return Response()

    with receiving() as receiver, sending(urls, {"grading": local(receiver.url())}) as process:
        receiver.respond = respond
        message = events.start()
        assert arrived.wait(LIMIT)
        owner.execute("alter role session_service connection limit 0")
        try:
            owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'session_service'"
            )
            release.set()
            process.await_line("this process has lost its lock of the webhooks")
        finally:
            owner.execute("alter role session_service connection limit -1")
        eventually(lambda: deliveries(owner) == [])
    assert receiver.ids == [message]


def test_an_eraser_and_the_process_do_not_deadlock(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """A transaction that deletes rows in the order of (webhook, position) waits at most, and none fails."""
    with receiving() as receiver:
        receiver.respond = lambda _: Response(500)
        with sending(urls, {name: local(receiver.url()) for name in ("a", "b")}) as process:
            for _ in range(8):
                first = events.start()
                events.add(first)
                eventually(lambda: deliveries(owner)[-1:] != [])
                with owner.transaction():
                    owner.execute(
                        "with locked as materialized (select webhook, position from webhook_deliveries "
                        "order by webhook, position for update) delete from webhook_deliveries as d "
                        "using locked where d.webhook = locked.webhook and d.position = locked.position"
                    )
                make_due(owner)
            assert not process.logged("deadlock")
