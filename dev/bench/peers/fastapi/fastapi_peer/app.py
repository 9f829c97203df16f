"""The application: lifespan, request id and log line, error replies, health."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import perf_counter
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from sqlalchemy import text, update
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from fastapi_peer import cache
from fastapi_peer.database import Base, QuizSession, engine
from fastapi_peer.errors import ServiceError, error_response
from fastapi_peer.routes import Database, router

BODY_LIMIT = 256 * 1024  # bytes
SWEEP_PAUSE = 2.0  # seconds

_log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the table, and expire sessions for as long as the service runs."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    sweeper = asyncio.create_task(sweep())
    yield
    sweeper.cancel()
    await cache.redis.aclose()
    await engine.dispose()


async def sweep() -> None:
    """Store `expired` in the sessions whose time is over, again and again."""
    while True:
        await asyncio.sleep(SWEEP_PAUSE)
        now = datetime.now(UTC)
        due = (QuizSession.status == "in_progress", QuizSession.expires_at <= now)
        try:
            async with engine.begin() as connection:
                await connection.execute(
                    update(QuizSession).where(*due).values(status="expired", updated_at=now)
                )
        except (SQLAlchemyError, OSError):
            _log.exception("sessions were not expired")


app = FastAPI(title="Session Service", lifespan=lifespan)
app.include_router(router)


@app.middleware("http")
async def identify(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Give the request its id, and write its line to the log."""
    started = perf_counter()
    given = request.headers.get("x-request-id", "")
    request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", given) else str(uuid4())
    request.state.request_id = request_id
    response: Response
    try:
        if int(request.headers.get("content-length", "0")) > BODY_LIMIT:
            response = error_response(request, ServiceError("PAYLOAD_TOO_LARGE"))
        else:
            response = await call_next(request)
    except Exception:  # noqa: BLE001 - a bug, too, gets a reply
        _log.exception("request %s failed", request_id)
        response = error_response(request, ServiceError("INTERNAL_SERVER_ERROR"))
    response.headers["x-request-id"] = request_id
    ms = (perf_counter() - started) * 1000
    line = "[fastapi-peer] %s %s %s %d %.1fms"
    _log.info(line, request_id, request.method, request.url.path, response.status_code, ms)
    return response


@app.exception_handler(ServiceError)
async def on_service_error(request: Request, error: ServiceError) -> Response:
    """Answer with the error's own reply."""
    return error_response(request, error)


@app.exception_handler(RequestValidationError)
async def on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    """Answer 400 with the places that do not fit."""
    details = [{"path": ".".join(map(str, e["loc"])), "message": e["msg"]} for e in error.errors()]
    return error_response(request, ServiceError("VALIDATION_ERROR", details=details))


@app.exception_handler(HTTPException)
async def on_http_error(request: Request, error: HTTPException) -> Response:
    """Answer what the framework refuses in the contract's form."""
    codes = {404: "ROUTE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
    if error.status_code in codes:
        return error_response(request, ServiceError(codes[error.status_code], dict(error.headers or {})))
    details = [{"path": "body", "message": error.detail}]
    return error_response(request, ServiceError("VALIDATION_ERROR", details=details))


@app.get("/health")
async def health(request: Request, db: Database) -> JSONResponse:
    """Ask how the service is."""
    postgres = redis = "up"
    try:
        await cache.redis.ping()
    except RedisError:
        redis = "down"
    try:
        await db.execute(text("select 1"))
    except (SQLAlchemyError, OSError):
        postgres = "down"
    body = {
        "status": "unhealthy" if postgres == "down" else "degraded" if redis == "down" else "healthy",
        "service": "session-service",
        "checks": {"postgres": postgres, "redis": redis},
        "timestamp": datetime.now(UTC).isoformat(),
        "requestId": request.state.request_id,
    }
    return JSONResponse(body, 200 if postgres == "up" else 503)
