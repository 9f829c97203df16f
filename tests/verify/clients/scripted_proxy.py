"""An HTTP proxy that answers requests with scripted replies: a gateway's, a portal's, the service's errors.

A program scripts it over HTTP: `PUT /script` with `{"steps": [{"reply": name, "headers": {...}}, ...]}` sets
the replies to the next requests, one each. `GET /script` returns the requests since then, as
`[{"method", "path", "key", "body"}, ...]`. Requests after the last step are forwarded.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from attrs import evolve, frozen

from tests.support.conformance import DOCUMENT
from tests.support.service import judged

# Headers of one connection (RFC 9110, 7.6.1), and those that each side writes.
_HOP = {"connection", "content-length", "content-encoding", "date", "host", "keep-alive", "transfer-encoding"}
_HTML = {"content-type": "text/html"}
_JSON = {"content-type": "application/json"}


@frozen
class Canned:
    """A reply that the proxy gives by itself."""

    status: int
    headers: dict[str, str]
    body: bytes


def _page(status: int) -> Canned:
    return Canned(status, _HTML, b"<html><h1>Please wait</h1></html>")


def _json(status: int, value: object) -> Canned:
    return Canned(status, _JSON, json.dumps(value).encode())


def _error(name: str) -> Canned:
    """Return the contract's own example of an error."""
    (example, *_) = DOCUMENT["components"]["responses"][name]["content"]["application/json"][
        "examples"
    ].values()
    if "$ref" in example:
        example = DOCUMENT["components"]["examples"][example["$ref"].rsplit("/", 1)[1]]
    return _json(example["value"]["statusCode"], example["value"])


# Replies after which a client repeats its request: a new try may succeed, or the service did not write them.
TRANSIENT = {
    **{
        f"{status} page": _page(status)
        for status in (200, 201, 400, 401, 403, 404, 408, 409, 410, 413, 422, 429, 500, 502, 503, 504, 520)
    },
    **{
        name: _error(name)
        for name in (
            "UnauthenticatedError",
            "ForbiddenError",
            "RouteNotFoundError",
            "MethodNotAllowedError",
            "RequestTimeoutError",
            "UriTooLongError",
            "UnsupportedMediaTypeError",
            "IdempotencyKeyReusedError",
            "RateLimitedError",
            "HeadersTooLargeError",
            "InternalServerError",
            "ServiceUnavailableError",
            # Each has the session of somebody else.
            "SessionConflictError",
            "SessionExpiredError",
            "SessionCompletedError",
        )
    },
    "redirect": Canned(302, {"location": "/portal", **_HTML}, b""),
    "no content": Canned(204, {}, b""),
    "empty": Canned(200, _JSON, b""),
    "broken JSON": Canned(200, _JSON, b'{"id": "0b8f6c1e-5d0a-4c55-9d1c-'),
    "deep JSON": Canned(200, _JSON, b"[" * 100_000),
    "broken encoding": Canned(
        200, {"content-encoding": "gzip", **_JSON}, gzip.compress(b"{}")[:-9] + b"?" * 9
    ),
    "no text": Canned(200, _JSON, b"\xff\xfe\xfd"),
    "another JSON": _json(200, {"status": "ok", "items": 3}),
    "a list": _json(200, [1, 2]),
    "null": _json(200, None),
    "another session": _json(200, DOCUMENT["components"]["examples"]["SessionInProgress"]["value"]),
    "another end": _json(200, DOCUMENT["components"]["examples"]["SessionCompleted"]["value"]),
    "409 without a session": _json(409, {"errorCode": "SESSION_CONFLICT", "statusCode": 409}),
    "410 without a session": _json(410, {"errorCode": "SESSION_EXPIRED", "statusCode": 410, "session": None}),
    "404 of a gateway": _json(404, {"errorCode": "SESSION_NOT_FOUND"}),
    "413 of a gateway": _json(413, {"message": "Request Too Long"}),
    "502 with a bad date": Canned(502, {"date": "yesterday", "retry-after": "soon", **_HTML}, b""),
}
REPLIES = {**TRANSIENT, "SessionNotFoundError": _error("SessionNotFoundError")}


class ScriptedProxy(ThreadingHTTPServer):
    """The proxy: `url` is its address, `steps` are the replies to the next requests."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.client = judged(upstream)
        self.violations: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.requests: list[dict[str, str]] = []
        self.released = Event()


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The library calls a method named after the request's.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/script":
            self._script(body)
            return
        request = {"method": self.command, "path": self.path, "key": self.headers.get("idempotency-key", "")}
        self.server.requests.append({**request, "body": body.decode()})
        step: dict[str, Any] = self.server.steps.pop(0) if self.server.steps else {"reply": "pass"}
        match step["reply"]:
            case "silence":
                self.server.released.wait()
                self.close_connection = True
            case "lost request":
                self.close_connection = True
            case "lost reply":
                self._forward(body)
                self.close_connection = True
            case "torn reply":
                self._write(self._forward(body), torn=True)
            case "pass":
                self._write(self._forward(body))
            case name:
                canned = REPLIES[name]
                self._write(evolve(canned, headers=canned.headers | step.get("headers", {})))

    def _script(self, body: bytes) -> None:
        if self.command == "PUT":
            self.server.steps = json.loads(body)["steps"]
            self.server.requests = []
        self._write(_json(200, self.server.requests))

    def _forward(self, body: bytes) -> Canned:
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP]
        try:
            reply = self.server.client.request(self.command, self.path, headers=headers, content=body)
        except AssertionError as error:
            self.server.violations.append(str(error))
            raise
        kept = {name: value for name, value in reply.headers.items() if name not in _HOP - {"date"}}
        return Canned(reply.status_code, kept, reply.content)

    def _write(self, reply: Canned, *, torn: bool = False) -> None:
        self.send_response_only(reply.status)
        for name, value in {"date": self.date_time_string(), **reply.headers}.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if torn else reply.body)
        self.close_connection = self.close_connection or torn


@contextmanager
def scripted(upstream: str) -> Iterator[ScriptedProxy]:
    """Run the proxy before a service; fail in the end if a reply that it forwarded was not the contract's."""
    with ScriptedProxy(upstream) as proxy:
        Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            proxy.shutdown()
            proxy.client.close()
        assert proxy.violations == []
