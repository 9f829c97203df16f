"""What every request meets on its way in and out: ids, log lines, unknown paths and methods, lost clients."""

import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from dev.reaper import ROOT
from session_service.api import request
from session_service.traffic import load_shedding
from tests.conftest import Urls
from tests.support.conformance import PATHS
from tests.support.inspection import listens, unread, waiting_for_locks
from tests.support.service import Service, await_reply, free_port, judged, running
from tests.support.waiting import LIMIT, eventually

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")


@pytest.mark.parametrize("request_id", ["a", "Az09._-", "x" * 128])
def test_a_fit_request_id_comes_back(service: Service, request_id: str) -> None:
    """A client's own request id is on the reply and in an error's body."""
    reply = service.client.get("/nowhere", headers={"x-request-id": request_id})
    assert reply.headers["x-request-id"] == reply.json()["requestId"] == request_id


@pytest.mark.parametrize("given", [[], [""], ["x" * 129], ["a b"], ["a\x7f"], ["a/b"], ["one", "two"]])
def test_an_unfit_request_id_is_replaced(service: Service, given: list[str]) -> None:
    """Without an id of its own, with one that could do harm, or with two, a request gets a new one."""
    headers = [("x-request-id", value) for value in given]
    assert UUID(service.client.get("/health", headers=headers).headers["x-request-id"]).version == 4


def test_each_request_is_one_line_in_the_log(migrated: Urls) -> None:
    """A request is logged by id, method, path, status and duration; nothing in it makes a second line.

    Its query is not logged: it names users.
    """
    with running(migrated) as service:
        service.client.get("/health", headers={"x-request-id": "logged"})
        forged = "/api/sessions/%0d%0a[session-service]%1b[31m\u00fc?user_id=learner"
        service.client.get(forged, headers={"x-request-id": "sly"})
        line = b'POST /api/sessions/start"\\<> HTTP/1.1'
        raw = line + b"\r\nhost: x\r\nx-request-id: rude\r\ncontent-length: 0\r\n\r\n"
        _send(service, raw)
        # Its end is when it has written everything.
        service.process.terminate()
        assert service.process.wait(LIMIT) == 0
        lines = service.log.read_text().splitlines()
    at = {line.split()[1]: line for line in lines if line.startswith("[session-service] ")}
    assert re.fullmatch(r"\[session-service\] logged GET /health 200 \d+\.\d+ms", at["logged"])
    assert " GET /api/sessions/%0d%0a%5Bsession-service%5D%1b%5B31m%C3%BC 400 " in at["sly"]
    assert " POST /api/sessions/start%22%5C%3C%3E 405 " in at["rude"]
    assert "learner" not in "".join(lines)


def test_a_log_that_nobody_reads_holds_up_no_request(migrated: Urls) -> None:
    """With its output full the service goes on, and can be ended."""
    port = free_port()
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "session_service"],
        cwd=ROOT,
        env={**os.environ, **migrated, "PORT": str(port)},
        stdout=writer,
    )
    os.close(writer)
    try:
        with judged(f"http://127.0.0.1:{port}") as client:
            await_reply(f"http://127.0.0.1:{port}", process)
            long = "/nowhere?" + 1000 * "x"
            assert {client.get(long).status_code for _ in range(300)} == {404}
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
    with os.fdopen(reader, "rb") as log:
        assert b"/nowhere" in log.read()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/sessions/",
        "/health/",
        "/health%0A",
        "/api/sessions/start%0a",
        "//health",
        "/api/sessions/start/x",
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_404_for_a_path_that_the_contract_does_not_have(service: Service, path: str, method: str) -> None:
    """Whatever the method, an unknown path is told as one."""
    assert service.client.request(method, service.url + path).status_code == 404


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
def test_405_with_what_the_path_takes(service: Service, path: str, method: str) -> None:
    """A method that a path does not take is refused, with the ones that it does take in Allow."""
    taken = PATHS[path].keys() | ({"HEAD"} if "GET" in PATHS[path] else set())
    reply = service.client.request(method, path.replace("{id}", str(uuid4())))
    if method in taken:
        assert reply.status_code != 405
    else:
        assert reply.status_code == 405
        assert set(reply.headers["allow"].split(", ")) == taken


def test_start_is_no_session_id(service: Service) -> None:
    """A path without parameters goes before one with them."""
    assert service.client.get("/api/sessions/start").status_code == 405


def test_a_connection_goes_on_after_a_refused_body(service: Service) -> None:
    """A body that is too large is read to its end, so that its connection is neither lost nor stuck."""
    headers = {"content-type": "application/json"}
    paths = ["/nowhere", "/docs", "/health", "/api/sessions/start", f"/api/sessions/{uuid4()}/progress"]
    with ThreadPoolExecutor(8) as clients:
        sent = [
            clients.submit(service.client.post, path, content=b" " * 2_000_000, headers=headers)
            for path in paths * 10
        ]
        assert {reply.result().status_code for reply in sent} == {413}
    assert service.client.get("/health").status_code == 200


def test_slow_large_bodies_crowd_out_no_save(migrated: Urls) -> None:
    """Bodies that arrive share a bounded room, which the saves of learners do not need."""
    with running(migrated) as service, ExitStack() as stack:
        session = service.start()
        url = urlsplit(service.url)
        size = request.MAX_BODY_BYTES
        for _ in range(load_shedding.MAX_BODY_MEMORY // size):
            connection = stack.enter_context(socket.create_connection((url.hostname or "", url.port or 0)))
            connection.sendall(_head(session["id"]) + b"content-length: %d\r\n\r\n" % size + bytes(size - 1))
        large = {"1": "x" * 9_999, "2": "x" * 9_999}
        eventually(lambda: unread(service.url) == 0)
        assert service.save_many(session["id"], large).status_code == 503
        assert service.save(session["id"], 1, "x" * 9_999).status_code == 200


def test_half_a_body_is_not_executed(service: Service) -> None:
    """A client that goes away within a body has asked for nothing, even if what came is whole JSON."""
    session = service.start()
    body = b'{"question_id": 1, "answer": "half"}'
    head = _head(session["id"])
    _send(service, head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(body), body))
    _send(service, head + b"content-length: 1000\r\n\r\n" + body)
    assert service.read(session["id"]).json() == session


def test_a_write_whose_client_is_gone_is_finished(service: Service, database: psycopg.Connection) -> None:
    """A client that goes away before the reply does not undo its write."""
    session = service.start()
    body = b'{"question_id": 1, "answer": "kept"}'
    head = _head(session["id"])
    with database.transaction():
        database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
        _send(service, head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
    query = "select answers, version from quiz_sessions where id = %s"
    eventually(lambda: database.execute(query, [session["id"]]).fetchone() == ({"1": "kept"}, 2))


def test_sigterm_lets_requests_end(migrated: Urls, database: psycopg.Connection) -> None:
    """A request under way when the service is told to stop gets its reply; then the service ends."""
    with running(migrated) as service, ThreadPoolExecutor(1) as clients:
        session = service.start()
        with database.transaction():
            database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
            waiting = clients.submit(service.save, session["id"], 1, "in flight")
            eventually(lambda: waiting_for_locks(database.info.dsn))
            service.process.terminate()
            eventually(lambda: not listens(service.url))
            assert not waiting.done()
        assert waiting.result().json()["answers"] == {"1": "in flight"}
        assert service.process.wait(LIMIT) == 0


@pytest.mark.parametrize("secret", ["canary-user", "canary-answer", "canary-field", "canary-query"])
def test_no_error_repeats_what_was_sent(service: Service, secret: str) -> None:
    """No value that a client sent comes back in an error, and no name that is not plain."""
    name = f"{secret}!"
    bodies = [
        {"user_id": [secret], "quiz_id": secret},
        {name: 1},
        {"answer": {name: secret}, "version": secret},
    ]
    session_id = service.start()["id"]
    for path in ("start", secret, f"{session_id}/progress", f"{session_id}/complete"):
        for body in bodies:
            for method in ("POST", "PUT"):
                reply = service.client.request(
                    method, f"/api/sessions/{path}", json=body, params={name: secret}
                )
                assert reply.status_code >= 400
                assert secret not in json.dumps(reply.json())
                assert secret not in str(reply.headers)


def _head(session_id: object) -> bytes:
    """Return the head of a save up to where its framing goes."""
    line = f"PUT /api/sessions/{session_id}/progress HTTP/1.1"
    return f"{line}\r\nhost: x\r\ncontent-type: application/json\r\n".encode()


def _send(service: Service, raw: bytes) -> None:
    """Send bytes and go away without waiting for a reply, once they have been read."""
    url = urlsplit(service.url)
    with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
        connection.sendall(raw)
        eventually(lambda: unread(service.url) == 0)
