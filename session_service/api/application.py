"""The ASGI application: request id, deadlines, load shedding, error responses and the access log."""

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from attrs import define, field
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from session_service import metrics
from session_service.api.access_log import AccessLog, Entry
from session_service.api.cors import Cors
from session_service.api.errors import (
    HeadersTooLargeError,
    InternalServerError,
    MethodNotAllowedError,
    RequestTimeoutError,
    UnauthenticatedError,
    UriTooLongError,
    ValidationError,
)
from session_service.api.request import BodyReader, discard_body, new_request_id, request_id_of
from session_service.api.responses import Response, StreamedResponse, error_response
from session_service.api.router import Route, Router
from session_service.sessions.errors import ServiceError, ServiceUnavailableError
from session_service.traffic.batching import queued
from session_service.traffic.deadlines import Deadlines
from session_service.traffic.load_shedding import LoadShedder

MAX_TARGET_BYTES = 4 * 1024  # bytes of path and query
REQUEST_TIMEOUT = 5.0  # seconds from the arrival of the whole request to the response

_log = logging.getLogger(__name__)


class Application:
    """Sends one response to each request, and logs it as one line."""

    def __init__(
        self,
        router: Router,
        *,
        access_log: AccessLog,
        begin_shutdown: Callable[[], None],
        cors: Cors | None,
        lifespan: ASGIApp,
    ) -> None:
        self._router = router
        self._access_log = access_log
        self._cors = cors
        self._lifespan = lifespan
        self._bodies = BodyReader()
        self._load_shedder = LoadShedder()
        self._deadlines = Deadlines(REQUEST_TIMEOUT, Exchange.time_out)
        self.begin_shutdown = begin_shutdown
        """Begins graceful shutdown: readiness fails from now on."""
        self.trace: Callable[[Entry], None] | None = None
        """Makes the span of a request that has ended."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        scope["request_id"] = request_id_of(scope)
        queued.set(0.0)
        exchange = Exchange(scope, receive, send, self._record, self._cors)
        try:
            scope["body"] = await self._bodies.read(scope, receive)
        except ClientDisconnect:
            _log.info("request %s was given up by its client", exchange.request_id)
            exchange.log(0)
        except RequestTimeoutError as error:
            await exchange.fail(error)
            await discard_body(receive)
        except ServiceError as error:
            await exchange.fail(error)
        else:
            await self._respond_in_time(exchange)

    def reject(self, status: int) -> tuple[Response, str]:
        """Return an early error response with this status and its new request id, and log it."""
        request_id = new_request_id()
        self._access_log.add_rejected(request_id, status)
        error = _early_error(status)
        metrics.request_seconds.observe(0.0, "none", str(status))
        if error.reason:
            metrics.rejected_requests.add(error.reason)
        return error_response(error, request_id), request_id

    def _record(self, entry: Entry) -> None:
        """Count a request that has ended, log it, and trace it."""
        metrics.request_seconds.observe(
            entry.duration, entry.scope.get("operation", "none"), str(entry.status)
        )
        self._access_log.add(entry)
        if self.trace:
            self.trace(entry)

    async def _respond_in_time(self, exchange: "Exchange") -> None:
        """Send the response, or a 503 when the deadline passes.

        The work continues: cancelling it would leave the outcome of a write as unknown as before, and psycopg
        takes ten seconds to cancel a statement of a database that does not respond.
        """
        deadline = self._deadlines.begin(exchange)
        try:
            response = await self._respond(exchange.scope)
        finally:
            deadline.meet()
        await exchange.respond(response)
        if exchange.late_response:
            await exchange.late_response

    async def _respond(self, scope: Scope) -> Response:
        """Return the response to a request that has arrived completely."""
        try:
            _check_target(scope)
            route, path = self._router.find(scope["method"], scope["path"])
            scope["operation"] = route.operation
            if not route.sheddable:
                return await route.handle(scope, path)
            return await self._handle_in_flight(route, scope, path)
        except MethodNotAllowedError as error:
            preflight = self._cors.preflight(scope, error.allow) if self._cors else None
            return preflight or error_response(error, scope["request_id"])
        except UnauthenticatedError as error:
            _log.info("request %s is unauthenticated: %s", scope["request_id"], error.reason)
            return error_response(error, scope["request_id"])
        except ServiceError as error:
            return error_response(error, scope["request_id"])
        except Exception as error:  # noqa: BLE001 - a bug, too, gets a response
            _log.error("request %s failed", scope["request_id"], exc_info=error)
            return error_response(InternalServerError(), scope["request_id"])

    async def _handle_in_flight(self, route: Route, scope: Scope, path: dict[str, Any]) -> Response:
        """Handle the request unless it is shed."""
        try:
            with self._load_shedder.admit(len(scope["body"])):
                return await route.handle(scope, path)
        except ServiceUnavailableError as error:
            if error.shed:
                # The scope lives for as long as the connection is held, and would keep the body in memory.
                scope["body"] = b""
            raise


@define(eq=False)
class Exchange:
    """A request and its response: sends and logs at most one."""

    scope: Scope
    _receive: Receive
    _send: Send
    _record: Callable[[Entry], None]
    _cors: Cors | None
    _started: float = field(factory=perf_counter)
    _has_response: bool = False
    late_response: asyncio.Task[None] | None = None

    @property
    def request_id(self) -> str:
        """The id of the request in the access log and in the response."""
        request_id: str = self.scope["request_id"]
        return request_id

    async def respond(self, response: Response) -> None:
        """Send the response, unless one was sent before."""
        if self._has_response:
            if isinstance(response, StreamedResponse):
                await response.export.close()
            return
        self._has_response = True
        if self._cors:
            response = self._cors.shared(self.scope, response)
        try:
            if isinstance(response, StreamedResponse):
                await self._stream(response)
            else:
                await response.send(self._send, self.request_id)
        finally:
            self.log(response.status)
            if response.reason:
                metrics.rejected_requests.add(response.reason)
        if response.hold_connection:
            await response.release_connection(self._send)

    async def _stream(self, response: StreamedResponse) -> None:
        """Send the response; log why it is unfinished, which tells the server to reset the connection."""
        try:
            await response.stream(self.scope["method"], self._receive, self._send, self.request_id)
        except ClientDisconnect:
            _log.info("request %s was given up by its client", self.request_id)
        except ServiceError as error:
            _log.warning("request %s was broken off: %s", self.request_id, error)
        except Exception as error:  # noqa: BLE001 - a bug must not leave a response that looks whole
            _log.error("request %s was broken off", self.request_id, exc_info=error)

    async def fail(self, error: ServiceError) -> None:
        """Send the response of the error, unless one was sent before."""
        await self.respond(error_response(error, self.request_id))

    def time_out(self) -> None:
        """Send 503: the deadline has passed without a response."""
        reads = self.scope["method"] in {"GET", "HEAD"}
        error = ServiceUnavailableError("not_applied" if reads else "unknown", reason="deadline")
        self.late_response = asyncio.create_task(self.fail(error))

    def log(self, status: int) -> None:
        """Record the request with its status."""
        self._record(Entry(self.scope, status, perf_counter() - self._started, queued.get()))


def _early_error(status: int) -> ServiceError:
    if status == RequestTimeoutError.status:
        return RequestTimeoutError()
    if status == HeadersTooLargeError.status:
        return HeadersTooLargeError()
    if status == ServiceUnavailableError.status:
        return ServiceUnavailableError("not_applied", reason="connections")
    return ValidationError([{"path": "request", "message": "must be HTTP/1.1 (RFC 9112)"}])


def _check_target(scope: Scope) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        raise UriTooLongError
