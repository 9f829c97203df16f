"""What every request passes on its way in and every reply on its way out: id, limits, deadline, log line."""

import asyncio
import logging
import re
from random import getrandbits
from time import perf_counter
from typing import Any, cast
from urllib.parse import quote

from attrs import define, evolve, field
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from session_service.api.cors import Cors
from session_service.api.endpoint import session_headers
from session_service.api.health import Vitals
from session_service.api.responses import Reply
from session_service.api.router import Answers, Routes
from session_service.server.logging import AccessLog, outline
from session_service.sessions import codec
from session_service.sessions.errors import (
    HeadersTooLargeError,
    InternalServerError,
    MethodNotAllowedError,
    PayloadTooLargeError,
    RefusedError,
    RequestTimeoutError,
    ServiceError,
    ServiceNotReadyError,
    ServiceUnavailableError,
    ServiceUnhealthyError,
    UnauthenticatedError,
    UriTooLongError,
    ValidationError,
)
from session_service.sessions.models import request_id
from session_service.traffic.deadlines import Deadlines
from session_service.traffic.load_shedding import PAUSE, Crowd

TARGET_LIMIT = 4 * 1024  # bytes of path and query
BODY_LIMIT = 256 * 1024  # bytes
BODY_SECONDS = 10.0  # for a body to arrive
REPLY_SECONDS = 5.0  # for a reply, once the request is there
WORK_LIMIT = 1000  # requests at work, those included whose time for a reply is over
# Bytes of all bodies at work, and as many again of those that arrive: parsed they take several times that.
BODIES_LIMIT = 32 * 1024 * 1024
SMALL_BODY = 16 * 1024  # bytes that always find room to arrive: slow large bodies do not crowd out saves

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_HARMLESS = re.compile(rb"[A-Za-z0-9/_.-]*")

_log = logging.getLogger(__name__)


class Edge:
    """The application, as a server sees it."""

    def __init__(
        self, routes: Routes, access: AccessLog, health: Vitals, cors: Cors | None, lifespan: ASGIApp
    ) -> None:
        self._routes = routes
        self._access = access
        self._health = health
        self._cors = cors
        self._lifespan = lifespan
        self._arriving = 0
        self._bodies = 0
        self._at_work = 0
        self._crowd = Crowd()
        self._arrivals = Deadlines(BODY_SECONDS, _give_up)
        self._replies = Deadlines(REPLY_SECONDS, Exchange.answer_late)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        exchange = Exchange(scope, send, self._access, self._cors, _identity(scope))
        request_id.set(exchange.identity)
        try:
            scope["body"] = await self._read(scope, receive)
        except ClientDisconnect:
            _log.info("request %s was given up by its client", exchange.identity)
            exchange.log(0)
        except RequestTimeoutError as error:
            await exchange.answer(error_reply(error))
            await _drain(receive)
        except ServiceError as error:
            await exchange.answer(error_reply(error))
        else:
            await self._reply_in_time(exchange)

    def refuse(self, status: int) -> tuple[Reply, str]:
        """Return the reply to what the server takes for no request, with the id that it is logged under."""
        identity = _new_identity()
        request_id.set(identity)
        self._access.add(f"[session-service] {identity} - - {status} 0.0ms\n")
        return error_reply(_refusal(status)), identity

    def drain(self) -> None:
        """Tell those who ask that no more requests are wanted."""
        self._health.drain()

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body of a request; raise the contract's errors, and ClientDisconnect."""
        if not any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"]):
            return b""
        reading = cast("asyncio.Task[None]", asyncio.current_task())
        arrival = self._arrivals.begin(reading)
        try:
            return await self._read_body(receive)
        except asyncio.CancelledError:
            if not arrival.missed:
                raise
            reading.uncancel()
            raise RequestTimeoutError from None
        finally:
            arrival.meet()

    async def _read_body(self, receive: Receive) -> bytes:
        """Return the whole body; raise an error of the contract, once it is read, if there is no room for it.

        It is read to its end on every path, so that the connection can go on.
        """
        chunks: list[bytes] = []
        size = 0
        fits = more = True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(chunk)
                crowded = size > SMALL_BODY and self._arriving + len(chunk) > BODIES_LIMIT
                fits = fits and not crowded and size <= BODY_LIMIT
                if fits:
                    chunks.append(chunk)
                    self._arriving += len(chunk)
        finally:
            self._arriving -= sum(map(len, chunks))
        if size > BODY_LIMIT:
            raise PayloadTooLargeError(f"The body has over {BODY_LIMIT} bytes.")
        if not fits:
            raise ServiceUnavailableError("not_applied")
        return b"".join(chunks)

    async def _reply_in_time(self, exchange: "Exchange") -> None:
        """Answer the request, with what comes of it or when its time is over.

        What is under way then goes on to its end: a write that is cancelled half-way is no less unknown, and
        psycopg takes ten seconds to cancel a statement of a database that stands still.
        """
        deadline = self._replies.begin(exchange)
        try:
            reply = await self._answer(exchange.scope)
        finally:
            deadline.meet()
        await exchange.answer(reply)
        if exchange.late:
            await exchange.late

    async def _answer(self, scope: Scope) -> Reply:
        """Return the reply to a request that is there."""
        try:
            _check_target(scope)
            endpoint, path = self._routes.find(scope["method"], scope["path"])
            if endpoint.urgent:
                return await endpoint.answer(scope, path)
            return await self._work(endpoint, scope, path)
        except MethodNotAllowedError as error:
            asked = self._cors.preflight(scope, error.allow) if self._cors else None
            return asked or error_reply(error)
        except UnauthenticatedError as error:
            _log.info("request %s is unauthenticated: %s", request_id.get(), error.reason)
            return error_reply(error)
        except ServiceError as error:
            return error_reply(error)
        except Exception as error:  # noqa: BLE001 - a bug, too, gets a reply
            _log.error("request %s failed\n%s", request_id.get(), outline(error))
            return error_reply(InternalServerError())

    async def _work(self, endpoint: Answers, scope: Scope, path: dict[str, Any]) -> Reply:
        """Count the request as at work; refuse it if it and the others would be too much."""
        size = len(scope["body"])
        if self._at_work >= WORK_LIMIT or self._bodies + size > BODIES_LIMIT:
            # It would stay in memory for as long as the reply takes.
            scope["body"] = b""
            error = ServiceUnavailableError("not_applied", self._crowd.turn_away())
            return evolve(error_reply(error), pause=PAUSE)
        self._at_work += 1
        self._bodies += size
        try:
            return await endpoint.answer(scope, path)
        finally:
            self._at_work -= 1
            self._bodies -= size


@define(eq=False)
class Exchange:
    """A request and the one reply that it gets."""

    scope: Scope
    _send: Send
    _access: AccessLog
    _cors: Cors | None
    identity: str
    _started: float = field(factory=perf_counter)
    _answered: bool = False
    late: asyncio.Task[None] | None = None

    async def answer(self, reply: Reply) -> None:
        """Send the reply, unless there has been one."""
        if self._answered:
            return
        self._answered = True
        if self._cors:
            reply = self._cors.shared(self.scope, reply)
        try:
            await reply.send(self._send, self.identity)
        finally:
            self.log(reply.status)
        if reply.pause:
            await reply.end(self._send)

    def answer_late(self) -> None:
        """Have it said that nothing has come of the request in time."""
        # The timer is everybody's.
        request_id.set(self.identity)
        reads = self.scope["method"] in {"GET", "HEAD"}
        error = ServiceUnavailableError("not_applied" if reads else "unknown")
        self.late = asyncio.create_task(self.answer(error_reply(error)))

    def log(self, status: int) -> None:
        """Log the request as one line."""
        milliseconds = (perf_counter() - self._started) * 1000
        line = f"{self.identity} {self.scope['method']} {_path(self.scope)} {status} {milliseconds:.1f}ms"
        self._access.add(f"[session-service] {line}\n")


def error_reply(error: ServiceError) -> Reply:
    """Return the reply that the contract declares for the error."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers().items()]
    if isinstance(error, RefusedError):
        headers += session_headers(error.session)
    else:
        headers.append((b"cache-control", b"no-store"))
    if isinstance(error, ServiceUnhealthyError | ServiceNotReadyError):
        return Reply(error.status, headers, codec.encode(error.told))
    return Reply(error.status, headers, codec.encode_error(_fields(error) | error.fields()))


def _fields(error: ServiceError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": error.message,
        "errorCode": error.code,
        "statusCode": error.status,
        "requestId": request_id.get(),
    }


def _refusal(status: int) -> ServiceError:
    if status == RequestTimeoutError.status:
        return RequestTimeoutError()
    if status == HeadersTooLargeError.status:
        return HeadersTooLargeError()
    if status == ServiceUnavailableError.status:
        return ServiceUnavailableError("not_applied")
    return ValidationError([{"path": "request", "message": "must be HTTP/1.1 (RFC 9112)"}])


def _give_up(reading: asyncio.Task[None]) -> None:
    reading.cancel()


def _check_target(scope: Scope) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_LIMIT:
        raise UriTooLongError


async def _drain(receive: Receive) -> None:
    """Take what still comes until the server has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _identity(scope: Scope) -> str:
    """Return the client's own request id if it is the only one and well-formed, else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return str(given[0], "ascii")
    return _new_identity()


def _new_identity() -> str:
    # A UUID v4 that nobody gains by guessing: the system's randomness and the class cost five times as much.
    digits = f"{getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _path(scope: Scope) -> str:
    """Return the path as it was sent, with whatever could forge a log line escaped.

    The query is left out: it names users.
    """
    raw: bytes = scope["raw_path"]
    return raw.decode() if _HARMLESS.fullmatch(raw) else quote(raw, safe="/=%:@!$'()*+,;~")
