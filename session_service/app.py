"""The ASGI application: lifespan, the contract's routes, request id, log line, error replies."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import getmembers, isfunction
from random import getrandbits
from time import perf_counter
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from session_service import contract, docs, handlers, migrations, queries, sessions, sql, wire
from session_service.cache import Cache
from session_service.contract import ContractError
from session_service.endpoint import Endpoint, session_headers
from session_service.errors import (
    InternalServerError,
    PayloadTooLargeError,
    RefusedError,
    ServiceError,
    ServiceUnavailableError,
    ServiceUnhealthyError,
)
from session_service.log import AccessLog
from session_service.migrations import MigrationError
from session_service.models import request_id
from session_service.reply import Reply
from session_service.routes import Answers, Routes
from session_service.sessions import Context
from session_service.settings import SettingError, Settings
from session_service.store import Store

BODY_LIMIT = 256 * 1024  # bytes
BODIES_LIMIT = (
    32 * 1024 * 1024
)  # bytes of all bodies at work: parsed and in batches they take several times that
SWEEP_PAUSE = 2.0  # seconds between rounds of the sweeper

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

_HARMLESS = re.compile(rb"[A-Za-z0-9/_.?&=-]*")

_log = logging.getLogger(__name__)


def build(settings: Settings) -> ASGIApp:
    """Return the application; raise ContractError if the contract and the handlers do not fit together."""
    pool = sql.pool(settings.database_url, settings.database_pool_size, queries.configure)
    cache = Cache(settings.redis_url, settings.cache_seconds, settings.batch_size)
    ctx = Context(pool, cache, Store(pool, cache, settings))
    access = AccessLog()

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
            access.start()
            try:
                yield
            finally:
                access.stop()
                sweeper.cancel()

    return Edge(_routes(ctx), access, Router(lifespan=lifespan))


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

    def __init__(self, routes: Routes, access: AccessLog, lifespan: ASGIApp) -> None:
        self._routes = routes
        self._access = access
        self._lifespan = lifespan
        self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        started = perf_counter()
        identity = _identity(scope)
        request_id.set(identity)
        status = 0
        try:
            reply = await self._admit(scope, receive)
            status = reply.status
            await reply.send(send, identity)
        except ClientDisconnect:
            _log.info("request %s was given up by its client", identity)
        finally:
            milliseconds = (perf_counter() - started) * 1000
            line = f"{identity} {scope['method']} {_url(scope)} {status} {milliseconds:.1f}ms"
            self._access.add(f"[session-service] {line}\n")

    async def _admit(self, scope: Scope, receive: Receive) -> Reply:
        """Return the reply to a request, or a refusal if its body and those at work would be too much."""
        try:
            body = await _read_body(receive)
        except PayloadTooLargeError as error:
            return error_reply(error)
        if self._bodies + len(body) > BODIES_LIMIT:
            return error_reply(ServiceUnavailableError("not_applied"))
        self._bodies += len(body)
        try:
            scope["body"] = body
            return await self._answer(scope)
        finally:
            self._bodies -= len(body)

    async def _answer(self, scope: Scope) -> Reply:
        try:
            endpoint, path = self._routes.find(scope["method"], scope["path"])
            return await endpoint.answer(scope, path)
        except ServiceError as error:
            return error_reply(error)
        except Exception:  # noqa: BLE001 - a bug, too, gets a reply
            _log.exception("request %s failed", request_id.get())
            return error_reply(InternalServerError())


def error_reply(error: ServiceError) -> Reply:
    """Return the reply that the contract declares for the error."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers().items()]
    if isinstance(error, RefusedError):
        headers += session_headers(error.session)
    else:
        headers.append((b"cache-control", b"no-store"))
    if isinstance(error, ServiceUnhealthyError):
        return Reply(error.status, headers, wire.encode(error.health))
    return Reply(error.status, headers, wire.encode_error(_fields(error) | error.fields()))


def _fields(error: ServiceError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "message": error.message,
        "errorCode": error.code,
        "statusCode": error.status,
        "requestId": request_id.get(),
    }


def _routes(ctx: Context) -> Routes:
    """Return the paths of the contract, and those of the files about it."""
    operations = contract.load()
    found = {
        name: function for name, function in getmembers(handlers, isfunction) if not name.startswith("_")
    }
    differing = found.keys() ^ {operation.id for operation in operations}
    if differing:
        raise ContractError(f"operations without a handler, or the other way round: {sorted(differing)}")
    paths: dict[str, dict[str, Answers]] = {path: {"GET": file} for path, file in docs.files().items()}
    for operation in operations:
        endpoint = Endpoint(operation, found[operation.id], ctx)
        paths.setdefault(operation.path, {})[operation.method] = endpoint
    return Routes(paths)


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
    # A UUID v4 that nobody gains by guessing: the system's randomness and the class cost five times as much.
    digits = f"{getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _url(scope: Scope) -> str:
    """Return path and query as they were sent, with whatever could forge a log line escaped."""
    raw: bytes = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    if _HARMLESS.fullmatch(raw):
        return raw.decode()
    return quote(raw, safe="/?&=%:@!$'()*+,;~")
