"""Requests that get each example of a response in the contract, by the fixture of the service."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from tests.api.test_health import readiness_during_shutdown
from tests.support.erasing import erase_user, new_user
from tests.support.issuer import bearer
from tests.support.orders import order, order_quiz
from tests.support.raw_http import HEALTH, exchange
from tests.support.service import Service
from tests.support.waiting import eventually

START = "/api/sessions/start"
FEED = "/api/events"


def new_session(service: Service, version: int, **fields: object) -> str:
    """Return the id of a new session of ada, saved to until it has the version, as the examples show it."""
    session_id = str(service.start(user_id="ada", **fields)["id"])
    time.sleep(0.002)  # times that differ in an example must differ in the response, too
    for question, answer in ((3, "Paris"), (4, ["a", "c"]))[: version - 1]:
        assert service.save(session_id, question, answer).status_code == 200
    return session_id


def _expired(service: Service) -> str:
    """Return the id of a session with one answer that the sweeper has marked as expired."""
    session_id = new_session(service, 2, time_limit_seconds=3)
    expired = _response_when(
        lambda: service.read(session_id), lambda body: body.get("session", {}).get("version") == 3
    )
    session = expired.json()["session"]
    # The example shows different times; rarely the sweeper runs within a millisecond of the expiry.
    return session_id if session["updated_at"] > session["expires_at"] else _expired(service)


def _completed(service: Service) -> str:
    session_id = new_session(service, 2)
    service.complete(session_id)
    return session_id


def _history(service: Service) -> httpx.Response:
    session_id, tab = new_session(service, 1), {"client-id": "tab-7c1e2f90"}
    traced = tab | {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    service.save(session_id, 3, "Paris", traced)
    time.sleep(0.002)
    service.complete(session_id, tab, answers={"4": ["a", "c"]})
    return service.client.get(f"/api/sessions/{session_id}/events")


def _paused(service: Service) -> str:
    session_id = new_session(service, 2)
    time.sleep(0.002)  # as in _session
    order(service, "pause", session_id)
    return session_id


def _pause_a_quiz(service: Service) -> httpx.Response:
    quiz = f"quiz-{uuid4()}"
    paused, _ = (service.start(quiz_id=quiz)["id"] for _ in range(2))
    order(service, "pause", paused)
    return order_quiz(service, "pause", {"quiz_id": quiz})


def _erase_a_user(service: Service) -> httpx.Response:
    user = new_user()
    for _ in range(2):
        service.start(user_id=user)
    return erase_user(service, user)


def _handed_in(service: Service) -> httpx.Response:
    """Complete the only session of the service; return the page of the feed with it."""
    (session,) = service.client.get("/api/sessions").json()["items"]
    service.complete(session["id"], {"client-id": "tab-7c1e2f90"})
    query = {"types": "session.completed"}
    return _response_when(lambda: service.client.get(FEED, params=query), lambda page: page["items"])


def _reuse_a_key(service: Service) -> httpx.Response:
    session_id, key = new_session(service, 1), {"idempotency-key": "k"}
    service.save(session_id, 3, "Paris", key)
    return service.save(session_id, 3, "Rome", key)


def _exhaust_attempts(service: Service) -> httpx.Response:
    body = {"user_id": f"user-{uuid4()}", "quiz_id": 7, "max_attempts": 1}
    return [service.client.post(START, json=body) for _ in range(2)][1]


def _ask_health(service: Service) -> httpx.Response:
    # On a busy machine the circuit breaker of Redis may be open for a second.
    return _response_when(
        lambda: service.client.get("/health"), lambda health: health["checks"]["redis"] == "up"
    )


def _ask_too_often(service: Service) -> httpx.Response:
    return next(reply for _ in range(1000) if (reply := service.read(uuid4())).status_code == 429)


def _response_when(ask: Callable[[], httpx.Response], ready: Callable[[Any], bool]) -> httpx.Response:
    responses: list[httpx.Response] = []

    def is_ready() -> bool:
        responses.append(ask())
        return ready(responses[-1].json())

    eventually(is_ready, lambda: responses[-1].text)
    return responses[-1]


# Requests that get each response example, by the fixture of the service.
SCENARIOS: dict[str, dict[str, Callable[[Service], httpx.Response]]] = {
    "service": {
        "Session.inProgress": lambda at: at.read(new_session(at, 3)),
        "Session.completed": lambda at: at.complete(new_session(at, 3)),
        "SessionEventPage.history": _history,
        "StartedSession.started": lambda at: at.client.post(START, json={"user_id": "ada", "quiz_id": 7}),
        "Health.healthy": _ask_health,
        "ValidationError.validationError": lambda at: at.save(uuid4(), -1, "Paris"),
        "SessionNotFoundError.sessionNotFoundError": lambda at: at.read(uuid4()),
        "RouteNotFoundError.routeNotFoundError": lambda at: at.client.get("/api"),
        "MethodNotAllowedError.methodNotAllowedError": lambda at: at.client.delete("/health"),
        "SessionConflictError.sessionConflictError": lambda at: at.save(
            new_session(at, 2), 4, "a", version=1
        ),
        "SessionExpiredError.sessionExpiredError": lambda at: at.read(_expired(at)),
        "SessionEndedError.sessionExpiredError": lambda at: at.save(_expired(at), 4, "a"),
        "SessionCompletedError.sessionCompletedError": lambda at: order(
            at, "deadline", _completed(at), {"extra_seconds": 60}
        ),
        "OrderReport.finished": _pause_a_quiz,
        "ErasureReport.finished": _erase_a_user,
        "SessionPausedError.sessionPausedError": lambda at: at.save(_paused(at), 4, "a"),
        "SessionEndedError.sessionCompletedError": lambda at: at.save_many(_completed(at), {"4": "a"}),
        "StartForbiddenError.attemptsExhaustedError": _exhaust_attempts,
        "EventsGoneError.eventsGoneError": lambda at: at.client.get(FEED, params={"after": "AAAA"}),
        "PayloadTooLargeError.payloadTooLargeError": lambda at: at.client.post(START, content=b" " * 262_145),
        "UnsupportedMediaTypeError.unsupportedMediaTypeError": lambda at: at.client.post(START, content="x"),
        "IdempotencyKeyReusedError.idempotencyKeyReusedError": _reuse_a_key,
        "Liveness.alive": lambda at: at.client.get("/health/live"),
        "ServiceVersion.released": lambda at: at.client.get("/version"),
        "Readiness.ready": lambda at: at.client.get("/health/ready"),
        "RequestTimeoutError.requestTimeoutError": lambda at: exchange(
            at.url, b"GET /health HTTP/1.1\r\n", targets=(HEALTH,)
        )[0],
        "UriTooLongError.uriTooLongError": lambda at: at.client.get("/api/sessions?user_id=" + 4096 * "x"),
        "HeadersTooLargeError.headersTooLargeError": lambda at: at.client.get(
            "/health", headers=[(f"x-{number}", "1") for number in range(101)]
        ),
    },
    "service_with_tokens": {
        "UnauthenticatedError.unauthenticatedError": lambda at: at.read(uuid4()),
        "ForbiddenError.forbiddenError": lambda at: at.client.get(
            "/api/sessions", params={"user_id": "grace"}, headers=bearer("ada")
        ),
        "QuizNotFoundError.quizNotFoundError": lambda at: order_quiz(
            at, "pause", {"quiz_id": 7}, **bearer("teacher", scope="sessions:proctor", quiz_ids=[8])
        ),
        "StartForbiddenError.forbiddenError": lambda at: at.client.post(
            START, json={"user_id": "grace", "quiz_id": 7}, headers=bearer("ada")
        ),
    },
    "service_with_rate_limit": {"RateLimitedError.rateLimitedError": _ask_too_often},
    "service_with_one_session": {
        "SessionPage.last": lambda at: at.client.get("/api/sessions"),
        "Export.csv": lambda at: at.client.get("/api/sessions/export"),
        "Export.ndjson": lambda at: at.client.get("/api/sessions/export", params={"format": "ndjson"}),
        "FeedPage.handedIn": _handed_in,
    },
    "service_without_table": {"InternalServerError.internalServerError": lambda at: at.read(uuid4())},
    "service_without_postgresql": {
        "ServiceUnavailableError.serviceUnavailableError": lambda at: at.read(uuid4()),
        # Health checks are cached for a second.
        "ServiceUnhealthyError.unhealthy": lambda at: _response_when(
            lambda: at.client.get("/health"),
            lambda body: body["checks"] == {"postgres": "down", "redis": "up"},
        ),
        "ServiceNotReadyError.unavailable": lambda at: _response_when(
            lambda: at.client.get("/health/ready"), lambda body: body["status"] != "ready"
        ),
    },
    "service_to_shut_down": {"ServiceNotReadyError.draining": readiness_during_shutdown},
}
FIXTURES = {name: fixture for fixture, scenarios in SCENARIOS.items() for name in scenarios}
