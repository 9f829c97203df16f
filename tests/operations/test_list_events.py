"""listEvents: GET /api/events."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from session_service.sessions.feed import MAX_WAITING
from tests.support.ageing import age
from tests.support.feed import PATH, await_events, changed_cursor, follow, newest, of_sessions, page
from tests.support.issuer import SERVICE_SCOPE, bearer
from tests.support.service import Service, running
from tests.support.waiting import eventually

MEBIBYTE = 1024 * 1024
ATTEMPTS = 5  # of a test that needs a pause of the machine to be shorter than four seconds


def test_200_with_each_start_and_each_end(
    service: Service, database: psycopg.Connection, cache: Redis
) -> None:
    """The feed has every start and every end of a session once, with the line of the journal, and no save."""
    begin = newest(service)
    quiz = f"quiz-{uuid4()}"
    sessions = [service.start(quiz_id=quiz, time_limit_seconds=600, on_expiry=how) for how in 3 * ["expire"]]
    completed, swept, read = ids = [session["id"] for session in sessions]
    service.save(completed, 3, "Paris", {"client-id": "tab-1"})
    service.complete(completed, {"client-id": "tab-1"}, answers={"4": "x"})
    age(database, cache, swept, 601)
    await_events(service, begin, [swept], 2)
    age(database, cache, read, 601)
    service.read(read)
    events = await_events(service, begin, ids, 6)
    assert sorted(of_sessions(events, *ids)) == [
        (0, 1, "session.started"),
        (0, 3, "session.completed"),
        (1, 1, "session.started"),
        (1, 2, "session.expired"),
        (2, 1, "session.started"),
        (2, 2, "session.expired"),
    ]
    for number, session in enumerate(sessions):
        journal = service.client.get(f"/api/sessions/{session['id']}/events").json()["items"]
        lines = {line["version"]: line for line in journal}
        own = [event for event in events if event["session_id"] == ids[number]]
        same = {"session_id": ids[number], "user_id": session["user_id"], "quiz_id": quiz}
        assert own == [{**same, **lines[event["version"]]} for event in own]


def test_200_in_pages(service: Service) -> None:
    """Pages of any size have the same events in the same order, and a session's in the order of versions."""
    begin = newest(service)
    ids = [service.start()["id"] for _ in range(4)]
    for session_id in ids:
        service.complete(session_id)
    await_events(service, begin, ids, 8)
    whole, end = follow(service, begin)
    for limit in (1, 2, 3, 1000):
        events, _ = follow(service, begin, limit=limit)
        assert events[: len(whole)] == whole
    versions = of_sessions(whole, *ids)
    assert len(versions) == 8
    assert sorted(versions) == sorted(versions, key=lambda event: event[0])
    assert of_sessions(follow(service, end)[0], *ids) == []


def test_200_from_the_oldest_event(service: Service) -> None:
    """Without a cursor the feed begins with its oldest event; each page has the cursor of the end."""
    await_events(service, None, [service.start()["id"]], 1)
    first = page(service, limit=1)
    whole, _ = follow(service, None, limit=1000)
    after_first, _ = follow(service, first["next"], limit=1000)
    assert first["items"] == whole[:1]
    assert after_first[: len(whole) - 1] == whole[1:]
    later, _ = follow(service, first["newest"])
    assert [event for event in later if event in whole] == []


def test_200_with_filters(service: Service) -> None:
    """Filters let the events of some types, or of one quiz in any form of its id, pass."""
    begin = newest(service)
    number = uuid4().int % 10**15
    one, other = service.start(quiz_id=number)["id"], service.start(quiz_id=f"x{number}")["id"]
    for session_id in (one, other):
        service.complete(session_id)
    await_events(service, begin, [one, other], 4)

    def found(**query: Any) -> list[tuple[int, int, str]]:
        return of_sessions(follow(service, begin, **query)[0], one, other)

    assert found(types="session.completed") == [(0, 2, "session.completed"), (1, 2, "session.completed")]
    assert len(found(types=["session.completed", "session.started"])) == 4
    assert found(types="session.expired") == []
    assert [event[0] for event in found(quiz_id=number)] == [0, 0]
    assert [event[0] for event in found(quiz_id=f"x{number}")] == [1, 1]
    assert found(quiz_id=number, types="session.completed") == [(0, 2, "session.completed")]
    quizzes = {event["quiz_id"] for event in follow(service, begin, quiz_id=str(number))[0]}
    assert quizzes == {number}
    # A filter that lets nothing pass still moves the cursor.
    assert page(service, after=begin, quiz_id=f"y{number}")["next"] != begin


def test_200_in_pages_of_one_mebibyte(service: Service) -> None:
    """A page ends before its body has more than 1 MiB, and the next page goes on with the next event."""
    begin = newest(service)
    ids = [service.start(time_limit_seconds=0)["id"] for _ in range(4)]
    # Less than 8 KiB in the request, more than 330 KiB in a reply.
    numbers = "[" + ",".join(1100 * ["1e308"]) + "]"
    body, headers = f'{{"answers": {{"1": {numbers}}}}}', {"content-type": "application/json"}
    for session_id in ids:
        path = f"/api/sessions/{session_id}/complete"
        assert service.client.post(path, content=body, headers=headers).status_code == 200
    await_events(service, begin, ids, 8)
    query: dict[str, Any] = {"after": begin, "types": "session.completed"}
    first = service.client.get(PATH, params=query)
    second = service.client.get(PATH, params={**query, "after": first.json()["next"]})
    sizes = [[event["session_id"] in ids for event in reply.json()["items"]] for reply in (first, second)]
    assert (sum(sizes[0]), sum(sizes[1])) == (3, 1)
    assert len(first.content) <= MEBIBYTE < len(first.content) + len(second.content)
    assert of_sessions(first.json()["items"] + second.json()["items"], *ids) == [
        (number, 2, "session.completed") for number in range(4)
    ]


def test_200_when_an_event_comes(service: Service) -> None:
    """A request that waits is answered with an event that comes after the request."""

    def arrives() -> bool:
        quiz = f"quiz-{uuid4()}"
        end = newest(service)
        with ThreadPoolExecutor() as pool:
            # The end of a session of another test is no event of this quiz.
            waiting = pool.submit(page, service, after=end, quiz_id=quiz, wait=4)
            time.sleep(0.3)
            session_id = service.start(quiz_id=quiz)["id"]
        return of_sessions(waiting.result()["items"], session_id) == [(0, 1, "session.started")]

    # Without the wait, each request would be answered long before its event.
    assert any(arrives() for _ in range(ATTEMPTS))


def test_200_without_an_event(service: Service) -> None:
    """A request that waits in vain is answered with an empty page, which has the cursors."""
    end = newest(service)
    empty = page(service, after=end, quiz_id=f"quiz-{uuid4()}", wait=1)
    assert empty["items"] == []
    assert empty["next"] == empty["newest"]


def test_200_for_a_bounded_number_of_waiting_requests(service: Service) -> None:
    """32 requests wait for an event, which all of them get; others are answered at once, without one."""

    def is_bounded() -> bool:
        quiz = f"quiz-{uuid4()}"
        query: dict[str, str | int] = {"after": newest(service), "quiz_id": quiz, "wait": 4}
        with ThreadPoolExecutor(MAX_WAITING + 8) as pool:
            waiting = [pool.submit(service.client.get, PATH, params=query) for _ in range(MAX_WAITING + 8)]
            eventually(lambda: sum(one.done() for one in waiting) >= 8)
            service.start(quiz_id=quiz)
        # On a busy machine one may be 503, because it was queued for too long.
        found = [one.result().json().get("items") for one in waiting]
        return None not in found and sum(map(bool, found)) == MAX_WAITING

    assert any(is_bounded() for _ in range(ATTEMPTS))


def test_200_without_a_connection_while_waiting(service: Service, migrated: dict[str, str]) -> None:
    """Waiting requests hold no connection to the database: with one of them, other requests are served."""
    end = newest(service)
    with running(migrated, DATABASE_POOL_SIZE="1") as one, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(page, one, after=end, wait=4) for _ in range(8)]
        for _ in range(20):
            one.start()
        assert all(len(future.result()["items"]) for future in waiting)


def test_200_at_once_on_shutdown(migrated: dict[str, str]) -> None:
    """Graceful shutdown ends the waiting with an empty page, before the time that was asked for."""

    def ends_early() -> bool:
        with running(migrated) as service, ThreadPoolExecutor() as pool:
            quiz = f"quiz-{uuid4()}"
            waiting = pool.submit(page, service, after=newest(service), quiz_id=quiz, wait=4)
            time.sleep(0.3)
            service.process.terminate()
            assert waiting.result()["items"] == []
            service.process.wait()
            (line,) = [line for line in service.log.read_text().splitlines() if " 200 " in line][-1:]
            return PATH in line and 300 < float(line.rsplit(" ", 1)[1].removesuffix("ms")) < 3900

    assert any(ends_early() for _ in range(ATTEMPTS))


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"wait": "-1"},
        {"wait": "5"},
        {"wait": "1.5"},
        {"after": ""},
        {"after": "AAAAA"},
        {"after": "a+b/"},
        {"quiz_id": "0"},
        {"types.0": "session.saved"},
        {"types.0": ""},
        {"query": "after"},
    ],
    ids=json.dumps,
)
def test_400_names_the_parameter(service: Service, query: dict[str, str]) -> None:
    """An invalid parameter, or one that is no list and repeated, is rejected by name."""
    ((name, value),) = query.items()
    sent = {name.split(".")[0]: value} if name != "query" else {value: ["AAAA", "AAAA"]}
    response = service.client.get(PATH, params=sent)
    assert response.status_code == 400
    shown = name if name == "query" else f"query.{name}"
    assert [detail["path"] for detail in response.json()["details"]] == [shown]


def test_403_for_a_learner(service_with_tokens: Service) -> None:
    """A learner's token may not read the feed, whatever it asks for; a service's token may."""
    for query in ({}, {"after": "AAAA"}, {"quiz_id": "7"}):
        response = service_with_tokens.client.get(PATH, params=query, headers=bearer("ada"))
        assert response.status_code == 403
    page(service_with_tokens, bearer("back-end", scope=SERVICE_SCOPE))


def test_410_for_a_cursor_of_another_feed(service: Service) -> None:
    """A cursor of another era, or ahead of the feed, is refused, with the cursor of the oldest event."""
    end = newest(service)
    wrong = [
        changed_cursor(end, era=uuid4()),
        changed_cursor(end, shard=1),
        changed_cursor(end, position=2**62),
        changed_cursor(end, position=2**64 - 1),
        "AAAA",
        64 * "____",
    ]
    for cursor in wrong:
        response = service.client.get(PATH, params={"after": cursor, "wait": 4})
        assert response.status_code == 410
        first = page(service, after=response.json()["oldest"], limit=1)
        assert first["items"] == page(service, limit=1)["items"]


def test_410_for_a_cursor_whose_events_are_gone(service: Service, database: psycopg.Connection) -> None:
    """A cursor is valid as long as all events after it are kept, and refused when the first one is gone."""
    begin = newest(service)
    ids = [service.start()["id"] for _ in range(3)]
    await_events(service, begin, ids, 3)
    cursors = [begin]
    while cursors[-1] != (part := page(service, after=cursors[-1], limit=1))["next"]:
        cursors.append(part["next"])
    (trimmed,) = database.execute("select trimmed from event_feeds").fetchone() or ()
    database.execute("update event_feeds set trimmed = (select max(position) - 1 from event_positions)")
    try:
        replies = [service.client.get(PATH, params={"after": cursor}) for cursor in cursors]
        assert [reply.status_code for reply in replies[-3:]] == [410, 200, 200]
        assert replies[0].json()["oldest"] == cursors[-2]
        assert len(page(service)["items"]) == 1
    finally:
        database.execute("update event_feeds set trimmed = %s", [trimmed])


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413


def test_500_reveals_only_the_request_id(service_without_table: Service) -> None:
    """An unexpected error has the contract's shape and no detail."""
    assert service_without_table.client.get(PATH).status_code == 500


def test_503_without_postgresql(service_without_postgresql: Service) -> None:
    """The feed needs the database."""
    response = service_without_postgresql.client.get(PATH)
    assert (response.status_code, response.json()["outcome"]) == (503, "not_applied")
