"""Handles the requests of an operation: authenticates, decodes, validates, calls its function, encodes."""

import inspect
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from attrs import frozen
from starlette.types import Scope

from session_service.api.auth.authorization import authorize
from session_service.api.auth.principal import Authenticator, Principal
from session_service.api.contract import ContractError, Operation, snake
from session_service.api.errors import UnsupportedMediaTypeError, ValidationError
from session_service.api.operations import Services
from session_service.api.request import trace_id_of
from session_service.api.responses import Response
from session_service.api.results import Result, response_of
from session_service.api.validation import Input, plain_names
from session_service.sessions import codec
from session_service.sessions.models import Provenance, StartResult

Function = Callable[..., Awaitable[Result]]
Values = dict[str, Any]

# Success statuses by result type, if not only 200. A declared header adds the status that it requests.
_SUCCESSES = {StartResult: {200, 201}, None: {204}}
_SUCCESS_OF_HEADER = {"prefer": 204, "if_none_match": 304}
# Headers that the endpoint may apply to the response of a function without a parameter for them.
_APPLIED = {"prefer", "if_none_match"}
_NOT_JSON = (
    "must be I-JSON (RFC 7493): JSON in UTF-8, without a byte order mark, duplicate names, lone surrogates, "
    "numbers beyond the range of a double, and more than 1024 levels"
)

_ENCODED = re.compile(rb"([!-$&-~]|%[0-9A-Fa-f]{2})*")
_JSON = re.compile(rb'application/json(\s*;(\s*charset=("utf-?8"|utf-?8))?)?', re.IGNORECASE)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")


@frozen
class Access:
    """The authentication and the rate limit of secured operations."""

    authenticator: Authenticator
    limit_rate: Callable[[Principal], Awaitable[None]]


class Endpoint:
    """Route of an operation; raises ContractError if the operation and its function differ."""

    def __init__(
        self,
        operation: Operation,
        function: Function,
        services: Services,
        access: Access,
        root_path: str = "",
    ) -> None:
        # Unsecured operations are about the service itself, such as health probes: they bypass load shedding.
        self.sheddable = operation.secured
        self.operation = operation.name
        self._operation = operation
        self._function = function
        self._services = services
        self._access = access
        self._sessions_path = f"{root_path}/api/sessions/".encode()
        types = _types(operation, function)
        self._body_type = types.get("body")
        self._has_provenance = "provenance" in types
        self._has_principal = types.pop("principal", None) is not None
        self._applied = _APPLIED & operation.names - types.keys()
        # Python name and structuring function of each parameter, by its name in the contract.
        self._arguments = {
            name: (snake(name), codec.structurer(types.get(snake(name), str)))
            for kind in operation.parameters.values()
            for name in kind.schema["properties"]
        }
        headers = operation.parameters["header"].schema["properties"]
        self._headers = {name.lower().encode(): name for name in headers}

    async def handle(self, scope: Scope, path: Values) -> Response:
        """Return the response to a request, whose `body` is in the scope; raise ServiceError for an error."""
        principal = await self._authenticate(scope) if self._operation.secured else None
        arguments = self._parameters(scope, path)
        if self._operation.body is not None:
            arguments["body"] = self._body(scope, arguments)
        if principal is not None:
            scope["session_id"] = arguments.get("id")
            authorized = await self._authorize(principal, arguments.get("id"))
            self._identify(arguments, authorized, scope)
        applied = {name: arguments.pop(name, None) for name in self._applied}
        result = await self._function(self._services, **arguments)
        return response_of(result, scope, {**arguments, **applied}, self._sessions_path)

    async def _authenticate(self, scope: Scope) -> Principal:
        """Return the principal of the request, and count the request against its rate limit."""
        principal = await self._access.authenticator.authenticate(scope)
        scope["caller"] = principal.key
        await self._access.limit_rate(principal)
        return principal

    async def _authorize(self, principal: Principal, session_id: UUID | None) -> Principal:
        """Return the principal with its reach in this operation; raise ForbiddenError if it has none."""
        find_user = self._services.sessions.find_user
        return await authorize(principal, self._operation.access, session_id, find_user)

    def _identify(self, arguments: Values, principal: Principal, scope: Scope) -> None:
        """Add the principal and the provenance of the request, as far as the function takes them."""
        if self._has_principal:
            arguments["principal"] = principal
        if self._has_provenance:
            client_id = arguments.pop("client_id", None)
            arguments["provenance"] = Provenance(
                principal.actor, client_id, scope["request_id"], trace_id_of(scope)
            )

    def _parameters(self, scope: Scope, path: Values) -> Values:
        kinds = self._operation.parameters
        query = _query(scope, kinds["query"]) if scope["query_string"] else {}
        header = _headers(scope, self._headers)
        violations = [
            *kinds["path"].violations(path),
            *kinds["query"].violations(query),
            *kinds["header"].violations(header),
        ]
        if violations:
            raise ValidationError(violations)
        arguments = {}
        for name, value in (path | query | header).items():
            argument, structure = self._arguments[name]
            arguments[argument] = structure(value)
        return arguments

    def _body(self, scope: Scope, parameters: Values) -> Any:
        content: bytes = scope["body"]
        if not content:
            if self._operation.body_required:
                raise ValidationError([{"path": "body", "message": "must be there"}])
            return None
        _check_media_type(scope)
        try:
            value = codec.parse(content)
        except ValueError:
            raise ValidationError([{"path": "body", "message": _NOT_JSON}]) from None
        if value is None and not self._operation.body_required:
            return None
        declared = self._operation.body
        assert declared is not None
        violations = declared.violations(value, len(content))
        if violations:
            raise ValidationError(violations)
        # A null for an optional field means that the field is left out.
        given = {
            name: field for name, field in value.items() if field is not None or name in declared.required
        }
        for name, header in self._operation.needed_headers.items():
            if name in given and snake(header) not in parameters:
                raise ValidationError([{"path": "header", "message": f"must have {header} with {name}"}])
        return codec.structure(given, self._body_type)


def _types(operation: Operation, function: Function) -> dict[str, Any]:
    """Return the types of the function's parameters; raise ContractError if the operation declares others.

    Functions need none for a header that the endpoint applies to the response. They have
    `provenance`, which the endpoint makes from `Client-Id` and the principal, for `client_id`; only with it
    a secured operation may do without `principal`.
    """
    signature = inspect.signature(function)
    types = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    del types["services"]
    if types.keys().isdisjoint(("principal", "provenance")) == operation.secured:
        raise ContractError(f"{operation.id} and its function differ in whether there is a principal")
    applied = _APPLIED - types.keys()
    names = {"provenance" if name == "client_id" else name for name in operation.names - applied}
    if types.keys() - {"principal"} != names:
        raise ContractError(f"{operation.id} takes {sorted(names)}, its function {sorted(types)}")
    successes = _SUCCESSES.get(signature.return_annotation, {200})
    successes = successes | {status for name, status in _SUCCESS_OF_HEADER.items() if name in operation.names}
    if successes != operation.successes:
        raise ContractError(f"{operation.id} declares {sorted(operation.successes)}, not {sorted(successes)}")
    return types


def _query(scope: Scope, declared: Input) -> dict[str, Any]:
    """Parse the query, with decimal numbers as int and values as list if the contract declares such types.

    Raise ValidationError if it is not percent-encoded UTF-8, or repeats the name of a single value.
    """
    raw: bytes = scope["query_string"]
    fits = _ENCODED.fullmatch(raw) is not None
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        fits = False
    if not fits:
        raise ValidationError([{"path": "query", "message": "must be percent-encoded UTF-8"}])
    kinds = {name: kind.get("type") for name, kind in declared.schema["properties"].items()}
    values: dict[str, Any] = {
        name: int(text) if kinds.get(name) == "integer" and _INTEGER.fullmatch(text) else text
        for name, text in pairs
    }
    if len(values) < len(pairs) or "array" in kinds.values():
        times = Counter(name for name, _ in pairs)
        lists = {name for name in values if kinds.get(name) == "array"}
        if repeated := [name for name in values if times[name] > 1 and name not in lists]:
            raise ValidationError([{"path": "query", "message": f"has twice: {plain_names(repeated)}"}])
        values |= {name: [text for other, text in pairs if other == name] for name in lists}
    return values


def _headers(scope: Scope, declared: dict[bytes, str]) -> dict[str, str]:
    """Return the headers that the operation declares, repeated ones joined by commas (RFC 9110, 5.3)."""
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
