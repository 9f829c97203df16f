"""Tests of request targets (RFC 9112, 3.2): each form has one meaning, the same on both servers."""

import re
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from session_service.server.connections import origin_form
from tests.conftest import Urls
from tests.support.raw_http import exchange
from tests.support.service import Service, running
from tests.support.waiting import eventually

LIVE = "/health/live"
LIST = "/api/sessions"
NOWHERE = "/nowhere"
# Target, method, path that is requested, status of the response, path in the log.
TARGETS = [
    ("http://quiz.example/health/live", "GET", LIVE, 200, LIVE),
    ("https://quiz.example/health/live", "GET", LIVE, 200, LIVE),
    ("HTTP://QUIZ.example:3005/health/live", "GET", LIVE, 200, LIVE),
    ("hTtPs://127.0.0.1/health/live", "GET", LIVE, 200, LIVE),
    ("http://[2001:db8::1]:80/health/live", "GET", LIVE, 200, LIVE),
    ("http://quiz.example:/health/live", "GET", LIVE, 200, LIVE),
    ("http://quiz.example/health/%6Cive", "GET", LIVE, 200, "/health/%6Cive"),
    ("http://quiz.example/health/live?verbose=1", "GET", LIVE, 400, LIVE),
    ("http://quiz.example/health/live", "POST", LIVE, 405, LIVE),
    ("http://quiz.example/api/sessions?user_id=ada&limit=1", "GET", LIST, 200, LIST),
    ("http://quiz.example/api/sessions?user_id=ada&limit=0", "GET", LIST, 400, LIST),
    ("http://quiz.example/api/sessions?user_id=http://x/?y", "GET", LIST, 200, LIST),
    ("http://quiz.example/api/sessions/start", "POST", "/api/sessions/start", 400, "/api/sessions/start"),
    ("http://quiz.example", "GET", NOWHERE, 404, "/"),
    ("http://quiz.example?user_id=ada", "GET", NOWHERE, 404, "/"),
    ("http://quiz.example/", "GET", NOWHERE, 404, "/"),
    ("http://quiz.example//health/live", "GET", NOWHERE, 404, "//health/live"),
    ("http://quiz.example/http://quiz.example/health", "GET", NOWHERE, 404, "/http://quiz.example/health"),
    ("/http://quiz.example/health/live", "GET", NOWHERE, 404, "/http://quiz.example/health/live"),
    ("http:///health/live", "GET", NOWHERE, 404, "http:///health/live"),
    ("http://ada@quiz.example/health/live", "GET", NOWHERE, 404, "http://quiz.example/health/live"),
    ("http://ada:secret@quiz.example/x@y", "GET", NOWHERE, 404, "http://quiz.example/x@y"),
    ("ftp://ada:sec@ret@quiz.example", "GET", NOWHERE, 404, "ftp://quiz.example"),
    ("ftp://quiz.example/health/live", "GET", NOWHERE, 404, "ftp://quiz.example/health/live"),
    ("*", "OPTIONS", NOWHERE, 404, "*"),
    ("http://quiz.example", "OPTIONS", NOWHERE, 404, "/"),
    ("quiz.example:80", "CONNECT", NOWHERE, 404, "quiz.example:80"),
    ("/nowhere?\"'<>", "GET", NOWHERE, 404, "/nowhere"),
    ("/%00%ff", "GET", NOWHERE, 404, "/%00%ff"),
    ("/health/live", "GET", LIVE, 200, LIVE),
]


@pytest.fixture(scope="module", params=["hypercorn", "uvicorn"])
def service(request: pytest.FixtureRequest, migrated: Urls) -> Iterator[Service]:
    """A service on Hypercorn, then on uvicorn."""
    with running(migrated, SERVER=request.param) as service:
        yield service


@pytest.mark.parametrize("case", TARGETS, ids=lambda case: f"{case[1]} {case[0]}")
def test_absolute_form_is_handled_as_its_path(service: Service, case: tuple[str, str, str, int, str]) -> None:
    """A target in absolute-form is handled and logged as its path (RFC 9112, 3.2.2)."""
    target, method, path, status, logged = case
    response, line = _ask(service, method, target, path)
    assert response.status_code == status
    assert line == f"{method} {logged} {status}"


def test_a_target_has_at_most_4_kib(service: Service) -> None:
    """Path and query have at most 4 KiB; scheme and host of a target in absolute-form do not count."""
    longest = "x" * (4096 - len("/api/sessions") - len("user_id="))
    for host in ("", "http://quiz.example", f"http://{'quiz.' * 50}example"):
        for query, status in ((f"user_id={longest}", 400), (f"user_id={longest}x", 414)):
            response, line = _ask(service, "GET", f"{host}/api/sessions?{query}", LIST)
            assert response.status_code == status
            assert line == f"GET /api/sessions {status}"


def test_the_authority_replaces_host() -> None:
    """The authority of a target in absolute-form replaces Host (RFC 9112, 3.2.2); other forms keep it."""
    headers = [(b"accept", b"*/*"), (b"host", b"x")]
    assert origin_form(b"HTTPS://Quiz.example:80/a?b", headers) == (
        b"/a?b",
        [(b"host", b"Quiz.example:80"), (b"accept", b"*/*")],
    )
    assert origin_form(b"http://[::1]?b", []) == (b"/?b", [(b"host", b"[::1]")])
    for target in (b"/a?http://y", b"*", b"y:80", b"ftp://y/a", b"http://", b"http://y z/a", b"http://y:z/a"):
        assert origin_form(target, headers) == (target, headers)


def _ask(service: Service, method: str, target: str, path: str) -> tuple[httpx.Response, str]:
    """Return the response, and method, path and status in its log line."""
    name = f"target-{uuid4()}"
    head = f"{method} {target} HTTP/1.1\r\nhost: x\r\nx-request-id: {name}\r\nconnection: close\r\n\r\n"
    (response,) = exchange(service.url, head.encode(), targets=((method, path),))
    pattern = re.compile(rf"{name} (.*) \S+ms$", re.MULTILINE)
    (line,) = eventually(lambda: pattern.findall(service.log.read_text()))
    return response, line
