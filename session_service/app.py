"""The ASGI application: lifespan, routes from the contract, request id, log line, error replies."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import getmembers, isfunction
from time import perf_counter
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_service import contract, docs, handlers, migrations, queries, sessions, sql, wire
from session_service.cache import Cache
from session_service.contract import ContractError
from session_service.endpoint import Endpoint, Resource, session_headers
from session_service.errors import (
    InternalServerError,
    PayloadTooLargeError,
    RefusedError,
    RouteNotFoundError,
    ServiceError,
    ServiceUnhealthyError,
)
from session_service.migrations import MigrationError
from session_service.models import request_id
from session_service.sessions import Context
from session_service.settings import SettingError, Settings
from session_service.store import Store

BODY_LIMIT = 256 * 1024  # bytes
SWEEP_PAUSE = 2.0  # seconds between rounds of the sweeper

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

_log = logging.getLogger(__name__)
_access = logging.getLogger("session_service.access")


def build(settings: Settings) -> ASGIApp:
    """Return the application; raise ContractError if the contract and the handlers do not fit together."""
    pool = sql.pool(settings.database_url, settings.database_pool_size, queries.configure)
    cache = Cache(settings.redis_url, settings.cache_seconds, settings.batch_size)
    ctx = Context(pool, cache, Store(pool, cache, settings))

    @asynccontextmanager
    async def lifespan(_: Router) -> AsyncIterator[None]:
        async with pool, cache:
            try:
                await sql.await_server(pool, seconds=30)
                await migrations.check(pool)
                await sessions.check_durability(ctx)
            except (ServiceError, MigrationError, SettingError) as error:
                _log.critical("session-service: cannot start: %s", error)
                raise
            sweeper = asyncio.create_task(_sweep(ctx))
            try:
                yield
            finally:
                sweeper.cancel()

    router = Router(_routes(ctx), redirect_slashes=False, default=_no_route, lifespan=lifespan)
    return Edge(router)


async def _sweep(ctx: Context) -> None:
    """Expire sessions for as long as the service runs; every instance does, and they share the work."""
    while True:
        await asyncio.sleep(SWEEP_PAUSE)
        try:
            await sessions.expire_sessions(ctx)
        except ServiceError as error:
            _log.warning("sessions were not expired: %s", error)
        except Exception:  # noqa: BLE001 - a round that fails is not the last one
            _log.exception("sessions were not expired")


class Edge:
    """What every request passes on its way in and every reply on its way out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        identity = _identity(scope)
        request_id.set(identity)
        status = 0

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", identity.encode()))
            await send(message)

        try:
            await self._reply(scope, receive, marked)
        finally:
            milliseconds = (perf_counter() - started) * 1000
            line = "[session-service] %s %s %s %d %.1fms"
            _access.info(line, identity, scope["method"], _url(scope), status, milliseconds)

    async def _reply(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope["body"] = await _read_body(receive)
            _check_path(scope)
            await self._app(scope, receive, send)
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
        except ClientDisconnect:
            _log.info("request %s was given up by its client", request_id.get())
        except Exception:  # noqa: BLE001 - a bug, too, gets a reply
            _log.exception("request %s failed", request_id.get())
            await error_response(InternalServerError())(scope, receive, send)


def error_response(error: ServiceError) -> Response:
    """Return the reply that the contract declares for the error."""
    headers = {"cache-control": "no-store"} | error.headers()
    if isinstance(error, RefusedError):
        headers |= session_headers(error.session)
    if isinstance(error, ServiceUnhealthyError):
        body = wire.encode(error.health)
    else:
        body = wire.encode_error(_fields(error) | error.fields())
    return Response(body, error.status, headers, "application/json")


def _fields(error: ServiceError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": error.message,
        "errorCode": error.code,
        "statusCode": error.status,
        "requestId": request_id.get(),
    }


def _routes(ctx: Context) -> list[Route]:
    """Return a route for each path, those without a parameter first, as OpenAPI matches them."""
    operations = contract.load()
    found = {
        name: function for name, function in getmembers(handlers, isfunction) if not name.startswith("_")
    }
    differing = found.keys() ^ {operation.id for operation in operations}
    if differing:
        raise ContractError(f"operations without a handler, or the other way round: {sorted(differing)}")
    resources: dict[str, dict[str, Endpoint]] = {}
    for operation in operations:
        endpoint = Endpoint(operation, found[operation.id], ctx)
        resources.setdefault(operation.path, {})[operation.method] = endpoint
    paths = sorted(resources, key=lambda path: path.count("{"))
    served = [Route(path, Resource(resources[path])) for path in paths]
    return served + [Route(path, file) for path, file in docs.files().items()]


async def _no_route(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RouteNotFoundError


def _check_path(scope: Scope) -> None:
    """Raise RouteNotFoundError for a path that ends in a line feed, which the router would not see."""
    if scope["path"].endswith("\n"):
        raise RouteNotFoundError


async def _read_body(receive: Receive) -> bytes:
    """Return the whole body; raise PayloadTooLargeError, once it is read, if it is over the limit.

    It is read to its end on every path: Hypercorn keeps a connection and its tasks for ever when an
    application answers while more than ten of its messages are waiting.
    """
    chunks = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(message.get("body", b""))
        if size <= BODY_LIMIT:
            chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    if size > BODY_LIMIT:
        raise PayloadTooLargeError
    return b"".join(chunks)


def _identity(scope: Scope) -> str:
    """Return the client's own request id if it is the only one and well-formed, else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return str(given[0], "ascii")
    return str(uuid4())


def _url(scope: Scope) -> str:
    """Return path and query as they were sent, with whatever could forge a log line escaped."""
    raw: bytes = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return quote(raw, safe="/?&=%:@!$'()*+,;~")
