"""Results: makes the response of an operation from the value that its function has returned."""

import re
from hashlib import blake2b
from typing import Any

from starlette.types import Scope

from session_service.api.headers import IfNoneMatch, names_tag
from session_service.api.health import Health, Liveness, Readiness, ServiceVersion
from session_service.api.responses import (
    Response,
    StreamedResponse,
    encode_with_id,
    session_headers,
    time_headers,
)
from session_service.sessions import codec
from session_service.sessions.erasure import ErasureReport
from session_service.sessions.events import FeedPage
from session_service.sessions.exports import Export
from session_service.sessions.models import EncodedSession, History, ReadPage, StartResult
from session_service.sessions.order_models import OrderReport

Result = (
    EncodedSession
    | StartResult
    | ReadPage
    | History
    | FeedPage
    | Export
    | OrderReport
    | ErasureReport
    | Health
    | Liveness
    | Readiness
    | ServiceVersion
    | None
)

_EXPORT_TYPES = {"csv": b"text/csv; charset=utf-8", "ndjson": b"application/x-ndjson"}
_NO_STORE = (b"cache-control", b"no-store")
_MINIMAL = re.compile(r'(^|,)\s*return="?minimal"?\s*($|[,;])', re.IGNORECASE)


def response_of(result: Result, scope: Scope, given: dict[str, Any], sessions_path: bytes) -> Response:
    """Return the response; `given` has the parameters of the request, by their names in snake_case.

    `sessions_path` is the path of a session without its id.
    """
    match result:
        case EncodedSession():
            response = _session_response(result, given.get("if_none_match"), given.get("prefer"))
        case StartResult():
            scope["session_id"] = result.session.id
            response = _start_response(result, sessions_path)
        case ReadPage():
            response = _page_response(result, given.get("if_none_match"))
        case FeedPage() | OrderReport() | ErasureReport():
            response = Response(200, [_NO_STORE], codec.encode(result))
        case Export():
            response = _export_response(result)
        case History():
            response = Response(200, [*time_headers(result), _NO_STORE], codec.encode(result.page))
        case None:
            response = Response(204, [_NO_STORE])
        case _:
            response = Response(200, [_NO_STORE], encode_with_id(result, scope["request_id"]))
    return response


def _start_response(started: StartResult, sessions_path: bytes) -> Response:
    session = started.session
    headers = session_headers(session)
    if not started.new:
        return Response(200, headers, session.body)
    location = (b"location", sessions_path + str(session.id).encode())
    return Response(201, [*headers, location], session.body)


def _export_response(export: Export) -> Response:
    name = f'attachment; filename="answers.{export.form}"'.encode()
    media_type = _EXPORT_TYPES[export.form]
    headers = [_NO_STORE, (b"content-disposition", name)]
    return StreamedResponse(200, headers, media_type=media_type, export=export)


def _session_response(
    session: EncodedSession, if_none_match: IfNoneMatch | None, prefer: str | None
) -> Response:
    headers = session_headers(session)
    if if_none_match is not None and if_none_match.matches(session.version):
        return Response(304, headers)
    if prefer is not None and _MINIMAL.search(prefer):
        return Response(204, [*headers, (b"preference-applied", b"return=minimal")])
    return Response(200, headers, session.body)


def _page_response(read: ReadPage, if_none_match: str | None) -> Response:
    """Return the page; 304 if the header names its ETag, which is the digest of its bytes."""
    body = codec.encode(read.page)
    etag = f'"{blake2b(body, digest_size=16).hexdigest()}"'
    now = codec.timestamp_of(read.read_at).encode()
    headers = [(b"etag", etag.encode()), (b"session-now", now), _NO_STORE]
    if if_none_match is not None and names_tag(if_none_match, etag):
        return Response(304, headers)
    return Response(200, headers, body)
