"""The one request path: read, validate, type, handle, encode."""

import inspect
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope

from session_service.api.contract import ContractError, Input, Operation, plain_names, snake
from session_service.api.responses import Headers, Reply
from session_service.sessions import codec
from session_service.sessions.errors import UnsupportedMediaTypeError, ValidationError
from session_service.sessions.models import (
    Caller,
    Health,
    Liveness,
    Readiness,
    Seen,
    SessionPage,
    Snapshot,
    Started,
)
from session_service.sessions.service import Context

Value = Started | SessionPage | Health | Liveness | Readiness
Handler = Callable[..., Awaitable[Snapshot | Value]]
Values = dict[str, Any]

# What a handler's result may be answered with, where it is not 200 alone; 204 and 304 come with the headers
# that ask for them.
_SUCCESSES = {Started: {200, 201}}
_ASKED_FOR = {"prefer": 204, "if_none_match": 304}

_ENCODED = re.compile(rb"([!-$&-~]|%[0-9A-Fa-f]{2})*")
_JSON = re.compile(rb'application/json(\s*;(\s*charset=("utf-?8"|utf-?8))?)?', re.IGNORECASE)
_MINIMAL = re.compile(r'(^|,)\s*return="?minimal"?\s*($|[,;])', re.IGNORECASE)


class Endpoint:
    """One operation with its handler."""

    def __init__(self, operation: Operation, handler: Handler, ctx: Context, root_path: str = "") -> None:
        # What is for no caller in particular is about the service itself.
        self.urgent = not operation.secured
        self._operation = operation
        self._handler = handler
        self._ctx = ctx
        self._sessions = f"{root_path}/api/sessions/".encode()
        types = _types(operation, handler)
        self._body_type = types.get("body")
        # By its name in the contract: what a parameter is called in Python, and what makes its value.
        self._arguments = {
            name: (snake(name), codec.structurer(types.get(snake(name), str)))
            for kind in operation.parameters.values()
            for name in kind.schema["properties"]
        }
        headers = operation.parameters["header"].schema["properties"]
        self._headers = {name.lower().encode(): name for name in headers}

    async def answer(self, scope: Scope, path: Values) -> Reply:
        """Return the reply to a request whose body is in the scope; raise the contract's errors."""
        caller = await self._callers(scope) if self._operation.secured else ()
        arguments = self._parameters(scope, path)
        if self._operation.body is not None:
            arguments["body"] = self._body(scope)
        prefer = arguments.pop("prefer", None)
        result = await self._handler(self._ctx, *caller, **arguments)
        if isinstance(result, Snapshot):
            return _session_reply(result, arguments.get("if_none_match"), prefer)
        if isinstance(result, Started):
            return self._started(result)
        return Reply(200, [(b"cache-control", b"no-store")], codec.encode(result))

    def _started(self, started: Started) -> Reply:
        session = started.session
        headers = session_headers(session)
        if not started.new:
            return Reply(200, headers, session.body)
        location = (b"location", self._sessions + str(session.id).encode())
        return Reply(201, [*headers, location], session.body)

    async def _callers(self, scope: Scope) -> tuple[Caller]:
        """Return who asks, and count the request as its."""
        caller = await self._ctx.callers.identify(scope)
        await self._ctx.limits.spend(caller)
        return (caller,)

    def _parameters(self, scope: Scope, path: Values) -> Values:
        kinds = self._operation.parameters
        query = _query(scope, kinds["query"]) if scope["query_string"] else {}
        header = _headers(scope, self._headers)
        faults = kinds["path"].faults(path) + kinds["query"].faults(query) + kinds["header"].faults(header)
        if faults:
            raise ValidationError(faults)
        arguments = {}
        for name, value in (path | query | header).items():
            argument, structure = self._arguments[name]
            arguments[argument] = structure(value)
        return arguments

    def _body(self, scope: Scope) -> Any:
        content: bytes = scope["body"]
        if not content:
            if self._operation.body_required:
                raise ValidationError([{"path": "body", "message": "must be there"}])
            return None
        _check_media_type(scope)
        try:
            value = codec.parse(content)
        except ValueError:
            raise ValidationError([{"path": "body", "message": "must be I-JSON (RFC 7493)"}]) from None
        assert self._operation.body is not None
        faults = self._operation.body.faults(value, len(content))
        if faults:
            raise ValidationError(faults)
        return codec.structure(value, self._body_type)


def session_headers(session: Snapshot) -> Headers:
    """Return the headers of every reply that carries one session."""
    return [(b"etag", b'"%d"' % session.version), (b"cache-control", b"private, no-cache")]


def _types(operation: Operation, handler: Handler) -> dict[str, Any]:
    """Return the types of the handler's parameters, which have to be the operation's.

    `Prefer` is about the reply's form: the endpoint itself sees to it.
    """
    signature = inspect.signature(handler)
    types = {name: parameter.annotation for name, parameter in signature.parameters.items() if name != "ctx"}
    if (types.pop("caller", None) is not None) != operation.secured:
        raise ContractError(f"{operation.id} and its handler differ in whether there is a caller")
    names = operation.names - {"prefer"}
    if types.keys() != names:
        raise ContractError(f"{operation.id} takes {sorted(names)}, its handler {sorted(types)}")
    answers = _SUCCESSES.get(signature.return_annotation, {200})
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
        raise ValidationError([{"path": "query", "message": "must be percent-encoded UTF-8"}])
    query = dict(pairs)
    if len(query) != len(pairs):
        repeated = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
        raise ValidationError([{"path": "query", "message": f"has twice: {plain_names(repeated)}"}])
    kinds = declared.schema["properties"]
    whole = {name for name in query if kinds.get(name, {}).get("type") == "integer"}
    return {
        name: int(text) if name in whole and re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", text) else text
        for name, text in query.items()
    }


def _headers(scope: Scope, declared: dict[bytes, str]) -> dict[str, str]:
    """Return the headers that the operation declares, a repeated one as its list (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        name = declared.get(key)
        if name is not None:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _check_media_type(scope: Scope) -> None:
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    encodings = {value.strip().lower() for name, value in scope["headers"] if name == b"content-encoding"}
    if encodings - {b"identity"}:
        raise UnsupportedMediaTypeError("The body must not have a content encoding.")
    if len(types) != 1 or not _JSON.fullmatch(types[0].strip()):
        raise UnsupportedMediaTypeError("The body must have the content type application/json.")


def _session_reply(session: Snapshot, seen: Seen | None, prefer: str | None) -> Reply:
    headers = session_headers(session)
    if seen is not None and seen.has(session.version):
        return Reply(304, headers)
    if prefer is not None and _MINIMAL.search(prefer):
        return Reply(204, [*headers, (b"preference-applied", b"return=minimal")])
    return Reply(200, headers, session.body)
