"""Deliveries: signed, at least once, in the order of each session, until the endpoint has received them."""

import re
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import uuid4

import psycopg
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from tests.conftest import Urls
from tests.support.feed import follow
from tests.support.receiver import Request, Response, receiving
from tests.support.service import running
from tests.support.waiting import LIMIT, eventually
from tests.support.webhooks import (
    SECRET,
    Events,
    deliveries,
    local,
    make_due,
    new_secret,
    sending,
)


def test_an_event_is_posted_as_it_is_in_the_feed(urls: Urls) -> None:
    """The body has the event as listEvents shows it, with its type and time; both secrets sign it."""
    old, new = new_secret(), new_secret()
    with receiving() as receiver, running(urls) as service:
        with sending(urls, {"grading": local(receiver.url(path="/h?a=b"), secrets=[new, old])}):
            session_id = service.start(quiz_id=9, metadata={"course": "é"})["id"]
            first, second = (service.start(quiz_id="q1")["id"] for _ in range(2))
            receiver.await_requests(3)
        by_id = {request.id: request for request in receiver.requests}
        assert by_id.keys() == {f"{one}_1" for one in (session_id, first, second)}
        for event in follow(service, None)[0]:
            request = by_id[f"{event['session_id']}_{event['version']}"]
            assert request.message == {"type": event["type"], "timestamp": event["at"], "data": event}
            assert request.verify(old) == request.verify(new) == request.message
            with pytest.raises(WebhookVerificationError):
                request.verify(SECRET)
            assert (request.path, request.headers["host"]) == ("/h?a=b", f"127.0.0.1:{receiver.port}")
            assert request.headers["content-type"] == "application/json"
            assert len(request.headers["webhook-signature"].split()) == 2


def test_a_post_is_in_the_trace_of_its_event(urls: Urls) -> None:
    """A post has the trace id of the request that caused its event, each time with another parent id."""
    trace = uuid4().hex
    parent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    body = {"user_id": "u", "quiz_id": 7}
    with receiving() as receiver, running(urls) as service:
        with sending(urls, {"grading": local(receiver.url())}):
            traced = service.client.post("/api/sessions/start", json=body, headers=parent).json()
            other = service.start()
            receiver.await_requests(2)
        by_session = {request.message["data"]["session_id"]: request for request in receiver.requests}
        assert re.fullmatch(
            f"00-{trace}-(?!0{{16}})[0-9a-f]{{16}}-01", by_session[traced["id"]].headers["traceparent"]
        )
        assert "00f067aa0ba902b7" not in by_session[traced["id"]].headers["traceparent"]
        assert "traceparent" not in by_session[other["id"]].headers
        events = {event["session_id"]: event["trace_id"] for event in follow(service, None)[0]}
        assert events == {traced["id"]: trace, other["id"]: None}


def test_an_endpoint_gets_the_events_of_its_filters(urls: Urls) -> None:
    """An endpoint gets the types and the quizzes that it names, from its first start on."""
    with receiving() as receiver, receiving() as every, running(urls) as service:
        service.start(quiz_id=5)
        eventually(lambda: follow(service, None)[0])
        url = receiver.url()
        endpoints = {
            "ends": local(url, types=["session.completed"], quiz_ids=[5, "x"]),
            "all": local(every.url()),
        }
        with sending(urls, endpoints):
            ids = [service.start(quiz_id=quiz)["id"] for quiz in (5, 6, "x")]
            for session_id in ids:
                service.complete(session_id)
            every.await_requests(6)
            assert sorted(every.ids) == sorted(f"{one}_{version}" for one in ids for version in (1, 2))
            receiver.await_requests(2)
    assert sorted(receiver.ids) == sorted([f"{ids[0]}_2", f"{ids[2]}_2"])
    assert {request.message["type"] for request in receiver.requests} == {"session.completed"}


def test_a_failed_delivery_holds_up_only_its_session(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """While an event is refused, later ones of its session wait, and those of other sessions are sent."""
    refused = threading.Event()

    def respond(request: Request) -> Response:
        return Response(204 if refused.is_set() or request.id != first else 500)

    with receiving() as receiver:
        first = events.start()
        receiver.respond = respond
        with sending(urls, {"grading": local(receiver.url())}) as process:
            owner.execute("update webhook_endpoints set position = 0")
            eventually(lambda: deliveries(owner) == [(first, 1)])
            second = events.add(first)
            third = events.add(second)
            others = [events.start() for _ in range(3)]
            eventually(lambda: set(others) <= set(receiver.ids))
            eventually(lambda: deliveries(owner) == [(first, 1), (second, 0), (third, 0)])
            refused.set()
            make_due(owner)
            eventually(lambda: deliveries(owner) == [])
            assert process.logged("webhook grading: status 500")
    assert [one for one in receiver.ids if one not in others] == [first, first, second, third]


def test_an_erased_session_waits_for_no_refused_event(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """The event of an erased session is sent at once; events whose lines are gone are not sent."""
    with receiving() as receiver:
        first = events.start()
        receiver.respond = lambda request: Response(500 if request.id == first else 204)
        with sending(urls, {"grading": local(receiver.url())}):
            owner.execute("update webhook_endpoints set position = 0")
            eventually(lambda: deliveries(owner) == [(first, 1)])
            second = events.add(first)
            erased = events.add(second, "session.erased")
            eventually(lambda: erased in receiver.ids)
            eventually(lambda: deliveries(owner) == [(first, 1), (second, 0)])
            owner.execute("delete from session_events where type <> 'session.erased'")
            eventually(lambda: deliveries(owner) == [])
    assert receiver.ids == [first, erased]


def test_an_erased_session_waits_for_its_event_that_is_on_its_way(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """The event of an erased session is the last one that arrives, also if an earlier one is slow."""
    release = threading.Event()

    def respond(request: Request) -> Response:
        if request.id == first:
            release.wait(LIMIT)
        return Response()

    with receiving() as receiver:
        receiver.respond = respond
        first = events.start()
        with sending(urls, {"grading": local(receiver.url())}):
            owner.execute("update webhook_endpoints set position = 0")
            receiver.await_requests(1)
            erased = events.add(first, "session.erased")
            owner.execute("delete from session_events where type <> 'session.erased'")
            # The second one is listed after the event of the erased session.
            others = [events.start()]
            receiver.await_requests(2)
            others.append(events.start())
            receiver.await_requests(3)
            assert receiver.ids == [first, *others]
            release.set()
            eventually(lambda: deliveries(owner) == [])
    assert receiver.ids == [first, *others, erased]


def test_a_receiver_that_is_down_misses_nothing(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """Events of the time without a receiver arrive once it is back, and each has one id in all attempts."""
    with receiving() as receiver:
        endpoint = {"grading": local(receiver.url())}
    with sending(urls, endpoint) as process:
        ids = [events.start() for _ in range(12)]
        eventually(lambda: sum(attempts > 0 for _, attempts in deliveries(owner)) >= 8)
        process.await_line("webhook grading: ConnectError")
        with receiving(port=receiver.port) as back:
            back.respond = lambda _: Response(503 if len(back.requests) == 1 else 200)

            def all_are_delivered() -> bool:
                make_due(owner)
                return set(back.ids) == set(ids) and deliveries(owner) == []

            eventually(all_are_delivered)
            process.await_line("webhook grading: received an event again")
    assert len(back.ids) == 13
    first, again = (request for request in back.requests if request.id == back.ids[0])
    assert first.body == again.body


def test_retry_after_is_honoured(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """The next attempt comes after the seconds of Retry-After, up to an hour, and not before the backoff."""
    dates = [format_datetime(datetime.now(UTC) + timedelta(minutes=by)) for by in (-5, 10)]
    given = {"120": (120, 120), "9" * 12: (3600, 3600), "soon": (2, 5), "-7": (2, 5), dates[0]: (2, 5)}
    bounds = given | {dates[1]: (1, 600)}
    with receiving() as receiver:
        receiver.respond = lambda request: Response(429, {"Retry-After": by_id[request.id]})
        by_id = {events.start(): retry_after for retry_after in bounds}
        with sending(urls, {"grading": local(receiver.url())}):
            owner.execute("update webhook_endpoints set position = 0")
            eventually(lambda: dict(deliveries(owner)) == dict.fromkeys(by_id, 1))
            query = (
                "select session_id || '_1', extract(epoch from next_at - failed_at)::integer "
                "from webhook_deliveries"
            )
            for message, seconds in owner.execute(query):
                least, most = bounds[by_id[message]]
                assert least <= seconds <= most, by_id[message]


def test_a_slow_endpoint_delays_no_other(urls: Urls, owner: psycopg.Connection, events: Events) -> None:
    """An endpoint that does not respond has a few requests in flight, and others get all events meanwhile."""
    release = threading.Event()

    def wait(_: Request) -> Response:
        release.wait(LIMIT)
        return Response()

    with receiving() as slow, receiving() as quick:
        slow.respond = wait
        with sending(urls, {"slow": local(slow.url()), "quick": local(quick.url())}):
            ids = [events.start() for _ in range(20)]
            quick.await_requests(20)
            slow.await_requests(8)
            assert len(slow.requests) == 8
            release.set()
            slow.await_requests(20)
            eventually(lambda: deliveries(owner) == [])
    assert sorted(slow.ids) == sorted(quick.ids) == sorted(ids)


def test_a_kill_between_post_and_record_repeats_the_event(
    urls: Urls, owner: psycopg.Connection, events: Events
) -> None:
    """A process that is killed before it could store that an event was received sends it again."""
    arrived, release = threading.Event(), threading.Event()

    def respond(_: Request) -> Response:
        arrived.set()
        release.wait(LIMIT)
        return Response()

    with receiving() as receiver:
        endpoint = {"grading": local(receiver.url())}
        receiver.respond = respond
        with sending(urls, endpoint) as victim:
            message = events.start()
            assert arrived.wait(LIMIT)
            victim.kill()
        release.set()
        with sending(urls, endpoint):
            eventually(lambda: deliveries(owner) == [])
    assert receiver.ids == [message, message]
