"""Loads openapi.yaml as operations with compiled JSON Schema validators, which define valid requests."""

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from jsonschema_rs import ValidationError, ValidationErrorKind, Validator, validator_for

FILE = Path(__file__).parents[2] / "openapi.yaml"
FULL_REPORT_LIMIT = 1024  # size of the largest value whose violations are all reported, in bytes

_METHODS = ("get", "put", "post", "patch", "delete")
_MESSAGES = {
    "type": "must be of type {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} entries",
    "maxProperties": "must have at most {} entries",
    "format": "must be a {}",
}
_MAX_SHOWN_NAMES = 10  # unknown names that a message repeats


class ContractError(Exception):
    """A difference between the contract and the code that implements it, found at startup."""


@frozen
class Input:
    """A validated part of a request: all path, query or header parameters, or the body.

    `place` is `path`, `query`, `header` or `body`. `names` are the property names of the contract: a reported
    path consists of these, never of a client's own names. `optional` is true if no parameter is required.
    """

    place: str
    schema: Mapping[str, Any]
    validator: Validator
    names: frozenset[str]
    optional: bool

    def violations(self, value: object, size: int = 0) -> list[dict[str, str]]:
        """Return `path` and `message` of each violation; no message repeats a part of the value.

        `size` is the length of the value's JSON text in bytes. The time to find all violations grows with the
        square of their number: for a value of more than 1 KiB only the first one is reported.
        """
        if not value and self.optional:
            return []
        try:
            if self.validator.is_valid(value):
                return []
            if size <= FULL_REPORT_LIMIT:
                found = [self._violation(error) for error in self.validator.iter_errors(value)]
                # A name that violates two rules of its schema has the same message twice: the description.
                return [item for place, item in enumerate(found) if item not in found[:place]]
            self.validator.validate(value)
        except ValidationError as error:
            return [self._violation(error)]
        except ValueError:
            # The validator's recursion limit is lower than the parser's.
            pass
        return [{"path": self.place, "message": "is nested too deeply"}]

    def _violation(self, error: ValidationError) -> dict[str, str]:
        """Return the path and the message of an error, without names or values of the client."""
        error = _inner_error(error)
        steps = [str(step) for step in error.instance_path]
        known = takewhile(lambda step: step in self.names or re.fullmatch("[0-9]{1,10}", step), steps)
        return {"path": ".".join([self.place, *known]), "message": self._message(error)}

    def _message(self, error: ValidationError) -> str:
        """Return the message for the violated rule, with its limit."""
        match error.kind:
            case ValidationErrorKind.AdditionalProperties(unexpected=names):
                return f"has unknown names: {plain_names(names)}"
            case ValidationErrorKind.PropertyNames(error=inner):
                return f"has a wrong key ({plain_names([str(inner.instance)])}), which {self._form(inner)}"
            case ValidationErrorKind.OneOfNotValid(context=forms):
                return f"must be of type {' or '.join(_types(forms))}"
            case ValidationErrorKind.Required(property=name):
                return f"must have {name}"
            case ValidationErrorKind.Enum(options=choices):
                return f"must be one of {', '.join(map(str, choices))}"
            case _:
                return self._limit_message(error)

    def _limit_message(self, error: ValidationError) -> str:
        """Return the message for a violated limit or pattern."""
        keyword = str(error.schema_path[-1])
        if keyword == "pattern":
            return self._form(error)
        message = _MESSAGES.get(keyword, "does not fit the contract").format(self._schema(error)[keyword])
        for one, unit in (("1 characters", "1 character"), ("1 items", "1 item"), ("1 entries", "1 entry")):
            message = message.replace(f"least {one}", f"least {unit}")
        return message

    def _form(self, error: ValidationError) -> str:
        """Return the description of the violated schema: it is clearer to people than its pattern."""
        return f"must match: {' '.join(self._schema(error)['description'].split()).rstrip('.')}"

    def _schema(self, error: ValidationError) -> Mapping[str, Any]:
        """Return the violated schema."""
        node: Any = self.schema
        for step in error.schema_path[:-1]:
            node = node[step]
        schema: Mapping[str, Any] = node
        return schema


@frozen
class Operation:
    """An operation of the contract; `id` is its operationId in snake_case.

    `parameters` are the inputs by `path`, `query` and `header`. `successes` are the declared statuses below
    400. `secured` operations authenticate their requests if AUTH is set.
    """

    id: str
    path: str
    method: str
    parameters: Mapping[str, Input]
    body: Input | None
    body_required: bool
    successes: frozenset[int]
    secured: bool

    @property
    def names(self) -> set[str]:
        """The names of all parameters in snake_case, and `body` if there is one."""
        names = {snake(name) for kind in self.parameters.values() for name in kind.schema["properties"]}
        return names | {"body"} if self.body else names


def read(file: Path = FILE) -> dict[str, Any]:
    """Return the contract as a document, with its references."""
    return parse(file.read_text())


def parse(text: str) -> dict[str, Any]:
    """Parse the YAML text of the contract."""
    document: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return document


def load(file: Path = FILE) -> list[Operation]:
    """Return the operations in the contract's order."""
    document = read(file)
    return [
        _operation(document, path, method, item[method], item.get("parameters", []))
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]


def snake(name: str) -> str:
    """Return a name of the contract in snake_case: getSession as get_session, If-Match as if_match."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower().replace("-", "_")


def plain_names(names: Iterable[str]) -> str:
    """Return client-supplied names as text that is safe in logs and pages.

    The text has at most 10 names, of letters, digits, `_` and `-` only, and the number of the others.
    """
    listed = list(names)
    plain = [name for name in listed if re.fullmatch("[A-Za-z0-9_-]{1,64}", name)][:_MAX_SHOWN_NAMES]
    others = len(listed) - len(plain)
    return ", ".join(
        [*plain, *([f"{others} more" if plain else f"{others} that cannot be shown"] if others else [])]
    )


def _inner_error(error: ValidationError) -> ValidationError:
    """Return the error within the one alternative of `oneOf` that has the value's type, if there is one."""
    if isinstance(error.kind, ValidationErrorKind.OneOfNotValid):
        forms = [form for form in error.kind.context if not _types([form])]
        if len(forms) == 1:
            return _inner_error(forms[0][0])
    return error


def _types(forms: Iterable[list[ValidationError]]) -> list[str]:
    """Return the types that the alternatives require, without those that the value has."""
    kinds = [error.kind for form in forms for error in form[:1]]
    return [name for kind in kinds if isinstance(kind, ValidationErrorKind.Type) for name in kind.types]


def _operation(
    document: dict[str, Any], path: str, method: str, spec: dict[str, Any], shared: list[dict[str, Any]]
) -> Operation:
    listed = [_resolved(document, parameter) for parameter in shared + spec.get("parameters", [])]
    body = spec.get("requestBody")
    return Operation(
        id=snake(spec["operationId"]),
        path=path,
        method=method.upper(),
        parameters={kind: _parameters(document, kind, listed) for kind in ("path", "query", "header")},
        body=_input(document, "body", body["content"]["application/json"]["schema"]) if body else None,
        body_required=bool(body and body.get("required")),
        successes=frozenset(int(status) for status in spec["responses"] if status < "4"),
        secured=bool(spec.get("security", document["security"])),
    )


def _parameters(document: dict[str, Any], kind: str, listed: list[dict[str, Any]]) -> Input:
    """Return the operation's parameters of a kind as one object schema; unknown names are violations."""
    listed = [parameter for parameter in listed if parameter["in"] == kind]
    schema = {
        "type": "object",
        # Requests have many headers that no operation declares.
        "additionalProperties": kind == "header",
        "required": [parameter["name"] for parameter in listed if parameter.get("required")],
        "properties": {parameter["name"]: _resolved(document, parameter["schema"]) for parameter in listed},
    }
    return _input(document, kind, schema)


def _input(document: dict[str, Any], place: str, schema: dict[str, Any]) -> Input:
    whole = {**schema, "components": document["components"]}
    objects = [whole, *document["components"]["schemas"].values()]
    names = frozenset(name for described in objects for name in described.get("properties", ()))
    optional = place != "body" and not whole["required"]
    return Input(place, whole, validator_for(whole, validate_formats=True), names, optional)


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return the target of a local $ref, or the node itself."""
    while "$ref" in node:
        steps = node["$ref"].removeprefix("#/").split("/")
        node = document
        for step in steps:
            node = node[step]
    return node
