"""The header Client-Id: each write accepts it, the journal shows it."""

import json
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from tests.support.conformance import PATHS, resolved
from tests.support.journal import Line, lines
from tests.support.orders import AGAIN, given, order, order_quiz
from tests.support.service import Headers, Service

Write = Callable[[Service, Headers], httpx.Response]


def _start(service: Service, headers: Headers) -> httpx.Response:
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7}
    return service.client.post("/api/sessions/start", json=body, headers=headers)


WRITES: dict[str, Write] = {
    "startSession": _start,
    "updateProgress": lambda service, headers: service.save(service.start()["id"], 1, "x", headers),
    "saveAnswers": lambda service, headers: service.save_many(service.start()["id"], {"1": "x"}, headers),
    "completeSession": lambda service, headers: service.complete(service.start()["id"], headers),
    "changeDeadline": lambda service, headers: order(
        service, "deadline", service.start()["id"], {"extra_seconds": 60}, **headers
    ),
    "pauseSession": lambda service, headers: order(service, "pause", service.start()["id"], {}, **headers),
    "resumeSession": lambda service, headers: order(service, "resume", _paused(service)["id"], {}, **headers),
    "reopenSession": lambda service, headers: order(service, "reopen", _completed(service), AGAIN, **headers),
    "changeDeadlines": lambda service, headers: _to_quiz(
        service, "deadline", service.start(quiz_id=_quiz()), headers, extra_seconds=60
    ),
    "pauseSessions": lambda service, headers: _to_quiz(
        service, "pause", service.start(quiz_id=_quiz()), headers
    ),
    "resumeSessions": lambda service, headers: _to_quiz(
        service, "resume", _paused(service, quiz_id=_quiz()), headers
    ),
}


def _quiz() -> str:
    return f"quiz-{uuid4()}"


def _to_quiz(
    service: Service, kind: str, session: dict[str, object], headers: Headers, **fields: object
) -> httpx.Response:
    return order_quiz(service, kind, {"quiz_id": session["quiz_id"], **fields}, **headers)


def _paused(service: Service, **fields: object) -> dict[str, object]:
    session = service.start(**fields)
    given(service, "pause", session["id"])
    return session


def _completed(service: Service) -> object:
    session_id = service.start()["id"]
    service.complete(session_id)
    return session_id


def _line(service: Service, response: httpx.Response) -> Line:
    """Return the last line of the session in the reply or, for an order for a quiz, of the quiz's session."""
    session = response.json()
    if "id" not in session:
        quiz = json.loads(response.request.content)["quiz_id"]
        (session,) = service.client.get("/api/sessions", params={"quiz_id": quiz}).json()["items"]
    return lines(service, session["id"])[-1]


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("client_id", ["a", "tab-7c1e2f90", "A.b_c-9", "x" * 64])
def test_the_journal_shows_the_client(service: Service, name: str, client_id: str) -> None:
    """The line of each write has its Client-Id as it was sent, and the id of its request."""
    response = WRITES[name](service, {"client-id": client_id})
    assert response.status_code in (200, 201)
    line = _line(service, response)
    assert line["client_id"] == client_id
    assert line["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("name", WRITES)
def test_a_write_needs_no_client(service: Service, name: str) -> None:
    """Without Client-Id the line of a write has none, and the request id that the client has chosen."""
    response = WRITES[name](service, {"x-request-id": f"chosen-{name}"})
    line = _line(service, response)
    assert (line["client_id"], line["request_id"]) == (None, f"chosen-{name}")


@pytest.mark.parametrize("name", WRITES)
def test_the_journal_shows_the_trace(service: Service, name: str) -> None:
    """The line of each write has the trace id of its `traceparent`, in the history and in the feed."""
    trace = uuid4().hex
    response = WRITES[name](service, {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert _line(service, response)["trace_id"] == trace


@pytest.mark.parametrize("name", WRITES)
def test_an_invalid_trace_is_left_out(service: Service, name: str) -> None:
    """A `traceparent` that W3C Trace Context calls invalid changes nothing: the line has no trace id."""
    response = WRITES[name](service, {"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"})
    assert response.is_success
    assert _line(service, response)["trace_id"] is None


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("client_id", ["", "x" * 65, "a b", "a,b", "\u00e4", "a/b", "tab\t1"])
def test_an_invalid_client_is_refused(service: Service, name: str, client_id: str) -> None:
    """Any other Client-Id is 400, which names the header and does not repeat its value."""
    response = WRITES[name](service, {"client-id": client_id.encode("latin-1")})  # type: ignore[dict-item]
    assert response.status_code == 400
    (detail,) = response.json()["details"]
    assert detail == {
        "path": "header.Client-Id",
        "message": "must be 1 to 64 letters, digits, `.`, `_` or `-`",
    }


def test_a_repeated_client_is_refused(service: Service) -> None:
    """Two Client-Id headers are 400: neither of them is the client's name."""
    headers = [("client-id", "a"), ("client-id", "b")]
    response = _start(service, headers)  # type: ignore[arg-type]
    assert response.status_code == 400


def test_every_write_declares_the_client() -> None:
    """Each operation that changes a session has the header; erasing leaves no line with a client."""
    declaring = {
        operation["operationId"]
        for item in PATHS.values()
        for operation in item.values()
        if "Client-Id" in [resolved(one)["name"] for one in operation.get("parameters", [])]
    }
    writes = {
        operation["operationId"]
        for item in PATHS.values()
        for method, operation in item.items()
        if method not in ("GET", "DELETE")
    }
    assert declaring == writes == WRITES.keys()
