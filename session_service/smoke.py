"""Live checks against a running service; needs nothing but its URL and Python's own library.

Where the service asks for tokens, `TOKEN` is one of a service: a learner may not choose a time limit.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from uuid import uuid4

Check = Callable[[str], None]


def main() -> None:
    """Run every check against the URL given, or the default one; exit with 1 if any fails."""
    url = (sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3005").rstrip("/")
    failed = sum(not _passes(url, check) for check in CHECKS)
    print(
        f"{url}: {failed} of {len(CHECKS)} checks failed"
        if failed
        else f"{url}: all {len(CHECKS)} checks passed"
    )
    sys.exit(1 if failed else 0)


def health(url: str) -> None:
    """The service is healthy, or degraded without its cache."""
    body = _expect(200, url, "GET", "/health")
    assert body["status"] in ("healthy", "degraded"), body


def life(url: str) -> None:
    """A session is started, saved to, read, completed, completed again, and read as completed."""
    session = _start(url)
    path = f"/api/sessions/{session['id']}"
    saved = _expect(200, url, "PUT", f"{path}/progress", {"question_id": 3, "answer": "Paris"})
    assert saved["answers"] == {"3": "Paris"}, saved
    assert _expect(200, url, "GET", path) == saved
    completed = _expect(200, url, "POST", f"{path}/complete")
    assert completed["status"] == "completed", completed
    assert _expect(200, url, "POST", f"{path}/complete") == completed
    assert _expect(200, url, "GET", path) == completed


def invalid(url: str) -> None:
    """A request that does not fit the contract is 400 and says where."""
    body = _expect(400, url, "POST", "/api/sessions/start", {"user_id": "", "quiz_id": 1.5})
    assert body["errorCode"] == "VALIDATION_ERROR", body
    assert {detail["path"] for detail in body["details"]} == {"body.user_id", "body.quiz_id"}, body


def missing(url: str) -> None:
    """A session that does not exist is 404."""
    body = _expect(404, url, "GET", f"/api/sessions/{uuid4()}")
    assert body["errorCode"] == "SESSION_NOT_FOUND", body


def conflict(url: str) -> None:
    """A save onto a version that is no longer the current one is 409 and carries the current session."""
    path = f"/api/sessions/{_start(url)['id']}/progress"
    saved = _expect(200, url, "PUT", path, {"question_id": 1, "answer": "a", "version": 1})
    body = _expect(409, url, "PUT", path, {"question_id": 1, "answer": "b", "version": 1})
    assert body["errorCode"] == "SESSION_CONFLICT", body
    assert body["retryable"] is True, body
    assert body["session"] == saved, body


def completed(url: str) -> None:
    """A save after completion is 410."""
    path = f"/api/sessions/{_start(url)['id']}"
    _expect(200, url, "POST", f"{path}/complete")
    body = _expect(410, url, "PUT", f"{path}/progress", {"question_id": 1, "answer": "late"})
    assert body["errorCode"] == "SESSION_COMPLETED", body


def expired(url: str) -> None:
    """A session whose time is over is 410, also where it was cached, and carries what was saved."""
    path = f"/api/sessions/{_start(url, time_limit_seconds=1)['id']}"
    _expect(200, url, "PUT", f"{path}/progress", {"question_id": 1, "answer": "in time"})
    _expect(200, url, "GET", path)
    time.sleep(1.1)
    for method, target, sent in (
        ("GET", path, None),
        ("PUT", f"{path}/progress", {"question_id": 1, "answer": "late"}),
        ("POST", f"{path}/complete", None),
    ):
        body = _expect(410, url, method, target, sent)
        assert body["errorCode"] == "SESSION_EXPIRED", body
        assert body["session"]["answers"] == {"1": "in time"}, body


CHECKS: tuple[Check, ...] = (health, life, invalid, missing, conflict, completed, expired)


def _passes(url: str, check: Check) -> bool:
    try:
        check(url)
    except (AssertionError, OSError, ValueError, KeyError) as error:
        print(f"FAILED  {check.__name__}: {check.__doc__}\n        {error!r}")
        return False
    print(f"ok      {check.__name__}: {check.__doc__}")
    return True


def _start(url: str, **more: int) -> dict[str, Any]:
    return _expect(201, url, "POST", "/api/sessions/start", {"user_id": "smoke", "quiz_id": 1, **more})


def _expect(
    status: int, url: str, method: str, path: str, sent: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Send a request; return the reply's body, or fail if its status or its request id is not as promised."""
    data = None if sent is None else json.dumps(sent).encode()
    headers = {"content-type": "application/json", "x-request-id": f"smoke-{uuid4()}"}
    if token := os.environ.get("TOKEN"):
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url + path, data, headers, method=method)  # noqa: S310 - the operator's URL
    try:
        reply = urllib.request.urlopen(request, timeout=10)  # noqa: S310 - the same
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        body: dict[str, Any] = json.load(reply)
        assert reply.status == status, f"{method} {path}: {reply.status} instead of {status}: {body}"
        assert reply.headers["x-request-id"] == headers["x-request-id"], "another x-request-id"
    return body


if __name__ == "__main__":
    main()
