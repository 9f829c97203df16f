"""A proxy with scripted responses: those of gateways and captive portals, and the service's errors.

A program scripts it over HTTP: `PUT /script` with `{"steps": [{"reply": name, "headers": {...}}, ...]}` sets
the responses to the next requests, one each. `GET /script` returns the requests since then, as
`[{"method", "path", "key", "body"}, ...]`. Requests after the last step are forwarded.

`PUT /backup` with `{"id": session}` remembers the session's row. `PUT /restore` puts it back, as if the
database were restored; with `"fence": true` its version is then a million higher.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import psycopg
from attrs import evolve, frozen
from psycopg.types.json import Jsonb
from redis import Redis

from tests.conftest import Urls
from tests.support.conformance import DOCUMENT
from tests.support.service import validated_client

# Hop-by-hop headers (RFC 9110, 7.6.1), and those that each side sets.
_HOP = {"connection", "content-length", "content-encoding", "date", "host", "keep-alive", "transfer-encoding"}
_HTML = {"content-type": "text/html"}
_JSON = {"content-type": "application/json"}


@frozen
class ScriptedResponse:
    """A response that the proxy sends by itself."""

    status: int
    headers: dict[str, str]
    body: bytes


def _page(status: int) -> ScriptedResponse:
    return ScriptedResponse(status, _HTML, b"<html><h1>Please wait</h1></html>")


def _json(status: int, value: object) -> ScriptedResponse:
    return ScriptedResponse(status, _JSON, json.dumps(value).encode())


def _error(name: str) -> ScriptedResponse:
    """Return the contract's example of an error."""
    components = DOCUMENT["components"]
    if name in components["examples"]:
        example = components["examples"][name]
    else:
        (content,) = components["responses"][name]["content"].values()
        (example, *_) = content["examples"].values()
    return _json(example["value"]["statusCode"], example["value"])


# Responses after which a client repeats its request: transient errors, and those of something else.
TRANSIENT = {
    **{
        f"{status} page": _page(status)
        for status in (
            200,
            201,
            400,
            401,
            403,
            404,
            408,
            409,
            410,
            413,
            422,
            423,
            429,
            500,
            502,
            503,
            504,
            520,
        )
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
            # Each has another session.
            "SessionConflictError",
            "SessionPausedError",
            "SessionExpiredError",
            "SessionCompletedError",
        )
    },
    "redirect": ScriptedResponse(302, {"location": "/portal", **_HTML}, b""),
    "no content": ScriptedResponse(204, {}, b""),
    "empty": ScriptedResponse(200, _JSON, b""),
    "broken JSON": ScriptedResponse(200, _JSON, b'{"id": "0b8f6c1e-5d0a-4c55-9d1c-'),
    "deep JSON": ScriptedResponse(200, _JSON, b"[" * 100_000),
    "broken encoding": ScriptedResponse(
        200, {"content-encoding": "gzip", **_JSON}, gzip.compress(b"{}")[:-9] + b"?" * 9
    ),
    "no text": ScriptedResponse(200, _JSON, b"\xff\xfe\xfd"),
    "another JSON": _json(200, {"status": "ok", "items": 3}),
    "a list": _json(200, [1, 2]),
    "null": _json(200, None),
    "another session": _json(200, DOCUMENT["components"]["examples"]["SessionInProgress"]["value"]),
    "another end": _json(200, DOCUMENT["components"]["examples"]["SessionCompleted"]["value"]),
    "409 without a session": _json(409, {"errorCode": "SESSION_CONFLICT", "statusCode": 409}),
    "410 without a session": _json(410, {"errorCode": "SESSION_EXPIRED", "statusCode": 410, "session": None}),
    "423 without a session": _json(423, {"errorCode": "SESSION_PAUSED", "statusCode": 423}),
    "404 of a gateway": _json(404, {"errorCode": "SESSION_NOT_FOUND"}),
    "413 of a gateway": _json(413, {"message": "Request Too Long"}),
    "502 with a bad date": ScriptedResponse(502, {"date": "yesterday", "retry-after": "soon", **_HTML}, b""),
}
REPLIES = {**TRANSIENT, "SessionNotFoundError": _error("SessionNotFoundError")}


class ScriptedProxy(ThreadingHTTPServer):
    """The proxy: `url` is its address, `steps` are the responses to the next requests."""

    daemon_threads = True

    def __init__(self, upstream: str, urls: Urls) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.urls = urls
        self.backup: Any = None
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.client = validated_client(upstream)
        self.violations: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.requests: list[dict[str, str]] = []
        self.released = Event()


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes

    def __getattr__(self, name: str) -> Callable[[], None]:
        # http.server calls do_<method>.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        controls = {"/script": self._script, "/backup": self._back_up, "/restore": self._restore}
        if self.path in controls:
            controls[self.path](body)
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
                scripted_response = REPLIES[name]
                self._write(
                    evolve(scripted_response, headers=scripted_response.headers | step.get("headers", {}))
                )

    def _script(self, body: bytes) -> None:
        if self.command == "PUT":
            self.server.steps = json.loads(body)["steps"]
            self.server.requests = []
        self._write(_json(200, self.server.requests))

    def _back_up(self, body: bytes) -> None:
        with psycopg.connect(self.server.urls["MIGRATION_DATABASE_URL"]) as database:
            row = "select to_jsonb(s) from quiz_sessions as s where id = %s"
            (self.server.backup,) = database.execute(row, [json.loads(body)["id"]]).fetchone() or (None,)
        self._write(_json(200, self.server.backup["version"]))

    def _restore(self, body: bytes) -> None:
        wanted, row = json.loads(body), self.server.backup
        fenced = row | {"version": row["version"] + 1_000_000 * wanted["fence"]}
        with psycopg.connect(self.server.urls["MIGRATION_DATABASE_URL"]) as database:
            database.execute("delete from quiz_sessions where id = %s", [wanted["id"]])
            later = "delete from session_events where session_id = %s and version > %s"
            database.execute(later, [wanted["id"], row["version"]])
            put = "insert into quiz_sessions select * from jsonb_populate_record(null::quiz_sessions, %s)"
            database.execute(put, [Jsonb(fenced)])
        with Redis.from_url(self.server.urls["REDIS_URL"]) as cache:
            cache.delete(f"session:{wanted['id']}")
        self._write(_json(200, fenced["version"]))

    def _forward(self, body: bytes) -> ScriptedResponse:
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP]
        try:
            response = self.server.client.request(self.command, self.path, headers=headers, content=body)
        except AssertionError as error:
            self.server.violations.append(str(error))
            raise
        kept = {name: value for name, value in response.headers.items() if name not in _HOP - {"date"}}
        return ScriptedResponse(response.status_code, kept, response.content)

    def _write(self, response: ScriptedResponse, *, torn: bool = False) -> None:
        self.send_response_only(response.status)
        for name, value in {"date": self.date_time_string(), **response.headers}.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body[: len(response.body) // 2] if torn else response.body)
        self.close_connection = self.close_connection or torn


@contextmanager
def scripted(upstream: str, urls: Urls) -> Iterator[ScriptedProxy]:
    """Run the proxy before a service; fail at the end if a forwarded response violates the contract."""
    with ScriptedProxy(upstream, urls) as proxy:
        Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            proxy.shutdown()
            proxy.client.close()
        assert proxy.violations == []
