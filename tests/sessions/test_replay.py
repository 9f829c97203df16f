"""Replay: the lines of a session's journal give the session that the service shows."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from tests.support.journal import lines, replayed, shown
from tests.support.service import Service
from tests.support.waiting import eventually

QUESTIONS = ["0", "1", "007", "q-\u00e4"]
VALUES: list[Any] = ["a", "", None, 7, 1.5, True, [], {"x": [None]}, "\U0001f600"]
CLIENTS = [{}, {"client-id": "tab-1"}, {"client-id": "phone"}]
SESSIONS, WRITES, WORKERS = 24, 12, 8

Write = Callable[[], httpx.Response]


def _values(dice: random.Random) -> dict[str, Any] | None:
    chosen = dice.sample(QUESTIONS, dice.randrange(len(QUESTIONS)))
    return {question: dice.choice(VALUES) for question in chosen} or None


def _start(service: Service, dice: random.Random, number: int) -> object:
    """Start a session, one that ends by its deadline during the test or not."""
    limit = dice.choice([0, 1, 2, 3600])
    return service.start(
        user_id=f"replayed {dice.random()} {number}",
        quiz_id=dice.choice([7, "7", "quiz"]),
        time_limit_seconds=limit,
        grace_seconds=dice.choice([0, 1]) if limit < 3600 else 0,
        on_expiry=dice.choice(["expire", "complete"]),
        metadata=dice.choice([{}, {"course": "B12"}]),
    )["id"]


def _write(service: Service, dice: random.Random, session_id: object) -> Write:
    """Return a random write of the session, which may be refused."""
    headers = dict(dice.choice(CLIENTS))
    if dice.random() < 0.3:
        headers["idempotency-key"] = f"k{dice.randrange(4)}"
    if dice.random() < 0.2:
        headers["if-match"] = f'"{dice.randrange(1, 6)}"'
    values = {"answers": _values(dice), "annotations": _values(dice)}
    kind = dice.choice(["save", "save", "save many", "save many", "position", "complete"])
    if kind == "complete" and dice.random() < 0.7:
        kind = "save"
    body: dict[str, Any] = {"question_id": dice.choice(QUESTIONS), "answer": dice.choice(VALUES)}
    if kind == "save":
        return lambda: service.client.put(f"/api/sessions/{session_id}/progress", json=body, headers=headers)
    if kind == "complete":
        return lambda: service.complete(session_id, headers, **values)
    many = {"current_question": dice.choice(QUESTIONS)} if kind == "position" else values
    fallback = many if any(many.values()) else {"current_question": "1"}
    return lambda: service.client.patch(
        f"/api/sessions/{session_id}/progress", json=fallback, headers=headers
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_journal_gives_the_session(service: Service, seed: int) -> None:
    """Replayed lines of random, concurrent histories give each session, its end by the deadline included."""
    dice = random.Random(seed)
    ids = [_start(service, dice, number) for number in range(SESSIONS)]
    writes = [(session_id, _write(service, dice, session_id)) for session_id in ids for _ in range(WRITES)]
    dice.shuffle(writes)
    with ThreadPoolExecutor(WORKERS) as clients:
        replies = list(clients.map(lambda one: (one[0], one[1]()), writes))
    for session_id in ids:
        eventually(partial(_is_final, service, session_id))
    journals = {session_id: lines(service, session_id) for session_id in ids}
    for session_id, journal in journals.items():
        session = shown(service, session_id)
        assert [line["version"] for line in journal] == list(range(1, session["version"] + 1))
        assert replayed(session_id, journal) == session
    _check_requests(replies, journals)
    # The histories have every kind of line.
    assert {line["type"] for journal in journals.values() for line in journal} == {
        "session.started",
        "session.saved",
        "session.completed",
        "session.expired",
    }


def _is_final(service: Service, session_id: object) -> bool:
    """Return whether the session has ended, or has no end during the test."""
    limit = lines(service, session_id, limit=1)[0]["data"]["time_limit_seconds"]
    return limit in (0, 3600) or shown(service, session_id)["status"] != "in_progress"


def _check_requests(
    replies: list[tuple[object, httpx.Response]], journals: dict[object, list[dict[str, Any]]]
) -> None:
    """Check that each line of a write names a request that got that version, and its client."""
    versions = {
        reply.headers["x-request-id"]: (session_id, reply.json()["version"], reply.request)
        for session_id, reply in replies
        if reply.status_code == 200
    }
    changes = [
        (session_id, line)
        for session_id, journal in journals.items()
        for line in journal[1:]
        if line["actor"]["type"] != "system"
    ]
    assert len(changes) > SESSIONS
    for session_id, line in changes:
        owner, version, request = versions[line["request_id"]]
        assert (owner, version) == (session_id, line["version"])
        assert line["client_id"] == request.headers.get("client-id")
