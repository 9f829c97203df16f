"""The one request path: read, validate, type, handle, encode."""

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from session_service import wire
from session_service.contract import ContractError, Input, Operation, snake
from session_service.errors import MethodNotAllowedError, UnsupportedMediaTypeError, ValidationError
from session_service.models import Health, Seen, SessionPage, Snapshot, Started
from session_service.sessions import Context

Handler = Callable[..., Awaitable[Snapshot | Started | SessionPage | Health]]

# What a handler's result may be answered with; 204 and 304 come with the headers that ask for them.
_SUCCESSES = {Snapshot: {200}, Started: {200, 201}, SessionPage: {200}, Health: {200}}
_ASKED_FOR = {"prefer": 204, "if_none_match": 304}

_ENCODED = re.compile(rb"([!-$&-~]|%[0-9A-Fa-f]{2})*")
_JSON = re.compile(rb'application/json(\s*;(\s*charset=("utf-8"|utf-8))?)?', re.IGNORECASE)


class Endpoint:
    """One operation with its handler."""

    def __init__(self, operation: Operation, handler: Handler, ctx: Context) -> None:
        self._operation = operation
        self._handler = handler
        self._ctx = ctx
        self._types = _types(operation, handler)

    async def answer(self, scope: Scope) -> Response:
        """Return the reply to a request whose body is in the scope; raise the contract's errors."""
        arguments = self._parameters(scope)
        if self._operation.body is not None:
            arguments["body"] = self._body(scope)
        prefer = arguments.pop("prefer", "")
        result = await self._handler(self._ctx, **arguments)
        if isinstance(result, Snapshot):
            return self._session_response(result, arguments.get("if_none_match"), prefer)
        return _response(result)

    def _parameters(self, scope: Scope) -> dict[str, Any]:
        kinds = self._operation.parameters
        given = {"path": scope["path_params"], "query": _query(scope, kinds["query"])}
        given["header"] = _headers(scope, kinds["header"])
        faults = [fault for kind, values in given.items() for fault in kinds[kind].faults(values)]
        if faults:
            raise ValidationError(faults)
        values = {snake(name): value for kind in given.values() for name, value in kind.items()}
        return {name: wire.structure(value, self._types.get(name, str)) for name, value in values.items()}

    def _session_response(self, session: Snapshot, seen: Seen | None, prefer: str) -> Response:
        headers = session_headers(session)
        if seen is not None and seen.has(session.version):
            return Response(None, 304, headers)
        if re.search(r'(^|,)\s*return="?minimal"?\s*($|[,;])', prefer, re.IGNORECASE):
            return Response(None, 204, headers | {"preference-applied": "return=minimal"})
        return Response(session.body, 200, headers, "application/json")

    def _body(self, scope: Scope) -> Any:
        content: bytes = scope["body"]
        if not content:
            if self._operation.body_required:
                raise ValidationError([{"path": "body", "message": "has to be there"}])
            return None
        _check_media_type(scope)
        try:
            value = wire.parse(content)
        except ValueError:
            raise ValidationError([{"path": "body", "message": "has to be I-JSON (RFC 7493)"}]) from None
        assert self._operation.body is not None
        faults = self._operation.body.faults(value, len(content))
        if faults:
            raise ValidationError(faults)
        return wire.structure(value, self._types["body"])


class Resource:
    """One path of the contract; it takes every method, so that 405 and Allow are the service's own."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = endpoints | ({"HEAD": endpoints["GET"]} if "GET" in endpoints else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            raise MethodNotAllowedError(", ".join(self._endpoints))
        response = await endpoint.answer(scope)
        await response(scope, receive, send)


def session_headers(session: Snapshot) -> dict[str, str]:
    """Return the headers of every reply that carries one session."""
    return {"etag": f'"{session.version}"', "cache-control": "private, no-cache"}


def _types(operation: Operation, handler: Handler) -> dict[str, Any]:
    """Return the types of the handler's parameters, which have to be the operation's.

    `Prefer` is about the reply's form: the endpoint itself sees to it.
    """
    signature = inspect.signature(handler)
    types = {name: parameter.annotation for name, parameter in signature.parameters.items() if name != "ctx"}
    names = operation.names - {"prefer"}
    if types.keys() != names:
        raise ContractError(f"{operation.id} takes {sorted(names)}, its handler {sorted(types)}")
    answers = _SUCCESSES[signature.return_annotation]
    answers = answers | {status for name, status in _ASKED_FOR.items() if name in operation.names}
    if answers != operation.successes:
        raise ContractError(f"{operation.id} declares {sorted(operation.successes)}, not {sorted(answers)}")
    return types


def _query(scope: Scope, declared: Input) -> dict[str, Any]:
    """Return the query with what the contract calls an integer, and is written as one, as an integer."""
    raw: bytes = scope["query_string"]
    fits = _ENCODED.fullmatch(raw) is not None
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        fits = False
    if not fits:
        raise ValidationError([{"path": "query", "message": "has to be UTF-8 with percent-encoding"}])
    query = dict(pairs)
    if len(query) != len(pairs):
        raise ValidationError([{"path": "query", "message": "has a parameter twice"}])
    kinds = declared.schema["properties"]
    whole = {name for name in query if kinds.get(name, {}).get("type") == "integer"}
    return {
        name: int(text) if name in whole and re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", text) else text
        for name, text in query.items()
    }


def _headers(scope: Scope, declared: Input) -> dict[str, str]:
    """Return the headers that the operation declares, a repeated one as its list (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name in declared.schema["properties"]:
        values = [value.decode("latin-1") for key, value in scope["headers"] if key == name.lower().encode()]
        if values:
            found[name] = ", ".join(values)
    return found


def _check_media_type(scope: Scope) -> None:
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    encoded = any(name == b"content-encoding" for name, _ in scope["headers"])
    if encoded or len(types) != 1 or not _JSON.fullmatch(types[0].strip()):
        raise UnsupportedMediaTypeError


def _response(result: Started | SessionPage | Health) -> Response:
    if isinstance(result, Started):
        session = result.session
        headers = session_headers(session)
        if result.new:
            headers["location"] = f"/api/sessions/{session.id}"
        return Response(session.body, 201 if result.new else 200, headers, "application/json")
    return Response(wire.encode(result), 200, {"cache-control": "no-store"}, "application/json")
