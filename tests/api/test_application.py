"""Tests of the ASGI application: request ids, access log, unknown paths and methods, lost clients."""

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
from tests.support.inspection import unread
from tests.support.service import Service, await_serving, free_port, running, validated_client
from tests.support.waiting import LIMIT, eventually

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")


@pytest.mark.parametrize("request_id", ["a", "Az09._-", "x" * 128])
def test_a_valid_request_id_is_returned(service: Service, request_id: str) -> None:
    """A valid x-request-id of a client is in the response's header and in an error's body."""
    response = service.client.get("/nowhere", headers={"x-request-id": request_id})
    assert response.headers["x-request-id"] == response.json()["requestId"] == request_id


@pytest.mark.parametrize("given", [[], [""], ["x" * 129], ["a b"], ["a\x7f"], ["a/b"], ["one", "two"]])
def test_an_invalid_request_id_is_replaced(service: Service, given: list[str]) -> None:
    """A missing, invalid or repeated x-request-id is replaced by a new UUID."""
    headers = [("x-request-id", value) for value in given]
    assert UUID(service.client.get("/health", headers=headers).headers["x-request-id"]).version == 4


def test_the_access_log_has_one_line_per_request(migrated: Urls) -> None:
    """The access log has one line per request: id, method, path, status and duration, without the query.

    Control characters in a path are percent-encoded: a path cannot forge a second line.
    """
    with running(migrated) as service:
        service.client.get("/health", headers={"x-request-id": "logged"})
        forged = "/api/sessions/%0d%0a[session-service]%1b[31m\u00fc?user_id=learner"
        service.client.get(forged, headers={"x-request-id": "sly"})
        line = b'POST /api/sessions/start"\\<> HTTP/1.1'
        raw = line + b"\r\nhost: x\r\nx-request-id: rude\r\ncontent-length: 0\r\n\r\n"
        _send(service, raw)
        # The log is complete only after the exit.
        service.process.terminate()
        assert service.process.wait(LIMIT) == 0
        lines = service.log.read_text().splitlines()
    at = {line.split()[1]: line for line in lines if line.startswith("[session-service] ")}
    assert re.fullmatch(r"\[session-service\] logged GET /health 200 \d+\.\d+ms", at["logged"])
    assert " GET /api/sessions/%0d%0a%5Bsession-service%5D%1b%5B31m%C3%BC 400 " in at["sly"]
    assert " POST /api/sessions/start%22%5C%3C%3E 405 " in at["rude"]
    assert "learner" not in "".join(lines)


def test_a_blocked_log_delays_no_request(migrated: Urls) -> None:
    """While the pipe of the log is full, the service still responds and still shuts down."""
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
        with validated_client(f"http://127.0.0.1:{port}") as client:
            await_serving(f"http://127.0.0.1:{port}", process)
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
def test_404_for_an_unknown_path(service: Service, path: str, method: str) -> None:
    """With any method, a path that is not in the contract is 404."""
    assert service.client.request(method, service.url + path).status_code == 404


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
def test_405_lists_the_allowed_methods(service: Service, path: str, method: str) -> None:
    """A method that a path does not have is 405; Allow lists the methods that it has."""
    taken = PATHS[path].keys() | ({"HEAD"} if "GET" in PATHS[path] else set())
    response = service.client.request(method, path.replace("{id}", str(uuid4())))
    if method in taken:
        assert response.status_code != 405
    else:
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == taken


def test_a_path_without_parameters_has_precedence(service: Service) -> None:
    """A path without parameters has precedence over one with parameters."""
    assert service.client.get("/api/sessions/start").status_code == 405


def test_keep_alive_after_413(service: Service) -> None:
    """A body that is too large is 413 and read to its end; the connection stays usable."""
    headers = {"content-type": "application/json"}
    paths = ["/nowhere", "/docs", "/health", "/api/sessions/start", f"/api/sessions/{uuid4()}/progress"]
    with ThreadPoolExecutor(8) as clients:
        sent = [
            clients.submit(service.client.post, path, content=b" " * 2_000_000, headers=headers)
            for path in paths * 10
        ]
        assert {response.result().status_code for response in sent} == {413}
    assert service.client.get("/health").status_code == 200


def test_slow_large_bodies_do_not_block_saves(migrated: Urls) -> None:
    """Slow large bodies share a memory limit; a small save succeeds while that memory is used up."""
    with running(migrated) as service, ExitStack() as stack:
        session = service.start()
        url = urlsplit(service.url)
        size = request.MAX_BODY_BYTES
        for _ in range(load_shedding.MAX_BODY_MEMORY // size):
            connection = stack.enter_context(socket.create_connection((url.hostname or "", url.port or 0)))
            connection.sendall(
                _save_headers(session["id"]) + b"content-length: %d\r\n\r\n" % size + bytes(size - 1)
            )
        large = {"1": "x" * 9_999, "2": "x" * 9_999}
        eventually(lambda: unread(service.url) == 0)
        assert service.save_many(session["id"], large).status_code == 503
        assert service.save(session["id"], 1, "x" * 9_999).status_code == 200


def test_an_incomplete_body_has_no_effect(service: Service) -> None:
    """A request whose client disconnects within the body has no effect, even if the part is valid JSON."""
    session = service.start()
    body = b'{"question_id": 1, "answer": "half"}'
    head = _save_headers(session["id"])
    _send(service, head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(body), body))
    _send(service, head + b"content-length: 1000\r\n\r\n" + body)
    finished = re.compile(rf" PUT /api/sessions/{session['id']}/\S+ \d+ ")
    eventually(lambda: len(finished.findall(service.log.read_text())) == 2)
    assert service.read(session["id"]).json() == session


def test_a_write_completes_after_its_client_disconnects(
    service: Service, database: psycopg.Connection
) -> None:
    """A write is completed although its client disconnects before the response."""
    session = service.start()
    body = b'{"question_id": 1, "answer": "kept"}'
    head = _save_headers(session["id"])
    with database.transaction():
        database.execute("select from quiz_sessions where id = %s for update", [session["id"]])
        _send(service, head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
    query = "select answers, version from quiz_sessions where id = %s"
    eventually(lambda: database.execute(query, [session["id"]]).fetchone() == ({"1": "kept"}, 2))


@pytest.mark.parametrize("secret", ["canary-user", "canary-answer", "canary-field", "canary-query"])
def test_errors_do_not_repeat_request_values(service: Service, secret: str) -> None:
    """An error repeats no value that a client sent, and no field name with special characters."""
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
                response = service.client.request(
                    method, f"/api/sessions/{path}", json=body, params={name: secret}
                )
                assert response.status_code >= 400
                assert secret not in json.dumps(response.json())
                assert secret not in str(response.headers)


def _save_headers(session_id: object) -> bytes:
    """Return the headers of a save, without those of its framing and without the empty line."""
    line = f"PUT /api/sessions/{session_id}/progress HTTP/1.1"
    return f"{line}\r\nhost: x\r\ncontent-type: application/json\r\n".encode()


def _send(service: Service, raw: bytes) -> None:
    """Send bytes and disconnect without waiting for a response, once the service has read them."""
    url = urlsplit(service.url)
    with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
        connection.sendall(raw)
        eventually(lambda: unread(service.url) == 0)
