"""The one request path: read, validate, type, handle, encode."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from session_service import wire
from session_service.contract import ContractError, Operation
from session_service.errors import MethodNotAllowedError, UnsupportedMediaTypeError, ValidationError
from session_service.models import Health, Reply, Snapshot
from session_service.sessions import Context

Handler = Callable[..., Awaitable[Snapshot | Reply | Health]]


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
        result = await self._handler(self._ctx, **arguments)
        return _response(self._operation.success, result)

    def _parameters(self, scope: Scope) -> dict[str, Any]:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = {"path": scope["path_params"], "query": dict(query)}
        kinds = self._operation.parameters
        faults = [fault for kind, values in given.items() for fault in kinds[kind].faults(values)]
        if faults:
            raise ValidationError(faults)
        values = given["path"] | given["query"]
        return {name: wire.structure(value, self._types[name]) for name, value in values.items()}

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
            raise ValidationError([{"path": "body", "message": "has to be JSON"}]) from None
        assert self._operation.body is not None
        faults = self._operation.body.faults(value)
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
    """Return the types of the handler's parameters, which have to be the operation's."""
    signature = inspect.signature(handler)
    types = {name: parameter.annotation for name, parameter in signature.parameters.items() if name != "ctx"}
    if types.keys() != operation.names:
        raise ContractError(f"{operation.id} takes {sorted(operation.names)}, its handler {sorted(types)}")
    return types


def _check_media_type(scope: Scope) -> None:
    headers = dict(scope["headers"])
    kind, _, parameter = headers.get(b"content-type", b"").lower().partition(b";")
    plain = kind.strip() == b"application/json" and parameter.strip(b' "') in (b"", b"charset=utf-8")
    if not plain or b"content-encoding" in headers:
        raise UnsupportedMediaTypeError


def _response(status: int, result: Snapshot | Reply | Health) -> Response:
    if isinstance(result, Health):
        return Response(wire.encode_health(result), status, {"cache-control": "no-store"}, "application/json")
    reply = result if isinstance(result, Reply) else Reply(result, {})
    headers = session_headers(reply.value) | reply.headers
    return Response(reply.value.body, status, headers, "application/json")
